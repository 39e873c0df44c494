/** The summary of a campaign for a terminal: a table of properties, what failed, and one verdict line. */
import {
  type CampaignResult,
  exitCodeOf,
  type FailureRecord,
  type Status,
} from '../properties/campaign-result.ts';
import { plural } from '../properties/campaign-verdict.ts';
import { boundLines } from './bounds.ts';
import { isReplayable, shellWord } from './case-file.ts';
import { type PropertyRow, propertyRows, totalsOf } from './summarize.ts';
import { grouped, type Paint, rate, seconds, table } from './text.ts';

const COLOUR = { passed: 'green', failed: 'red', skipped: 'dim', 'not run': 'yellow' } as const;
const HEAD = ['property', '', 'cases', 'compared', 'equal', 'rounding', 'divergent', 'skipped', 'cases/s'];

/** Lines of the summary. `caseFile` names the file of a failure, if one was written. */
export function terminalLines(
  result: CampaignResult,
  paint: Paint,
  caseFile: (f: FailureRecord) => string | undefined,
): string[] {
  const rows = propertyRows(result);
  const head = rows.length > 0 ? [HEAD] : [];
  const lines = table([...head, ...rows.map(cells)], [2, 3, 4, 5, 6, 7, 8]).map((line, i) =>
    i === 0
      ? paint('dim', line)
      : line.replace(/(passed|failed|skipped|not run)/, (s) => paint(COLOUR[s as Status], s)),
  );
  // After an early end most units lack cases; the verdict says so once.
  const early = result.stopped || result.interrupted;
  for (const row of rows.filter((r) => !early || r.status === 'skipped'))
    for (const reason of row.reasons) lines.push(paint('dim', `  ${row.property} ${row.status}: ${reason}`));
  lines.push(...boundLines(result).map((line) => paint('dim', line)));
  lines.push(...scopeLines(result, paint), ...missingLines(result, paint));
  for (const failure of result.failures) lines.push('', ...failureLines(failure, paint, caseFile(failure)));
  return [...lines, '', ...kernelLine(result), ...verdictLines(result, paint)];
}

function cells(row: PropertyRow): string[] {
  const { property, status, cases, compared, equal, rounding, divergent, skipped, cases_per_second } = row;
  if (cases === 0) return [property, status, '-', '-', '-', '-', '-', '-', '-'];
  const counts = [cases, compared, equal, rounding, divergent, skipped].map(grouped);
  return [property, status, ...counts, rate(cases_per_second)];
}

function scopeLines(result: CampaignResult, paint: Paint): string[] {
  const { scope } = result;
  if (scope === undefined) return [];
  const head = `small scope ${paint(COLOUR[scope.status], scope.status)}: all ${grouped(scope.cases)} inputs in ${seconds(scope.elapsed_s)}`;
  const parts = scope.parts.map(({ name, status, reason, enumerated, legal, failed }) => {
    if (reason !== undefined) return `  ${name} ${status}: ${reason}`;
    return `  ${name} ${status}: ${grouped(enumerated)} inputs, ${grouped(legal)} legal, ${grouped(failed)} failed`;
  });
  return [head, ...parts.map((line) => paint('dim', line))];
}

function missingLines(result: CampaignResult, paint: Paint): string[] {
  return Object.entries(result.missing).map(
    ([property, classes]) => `${paint('red', 'never reached')} by ${property}: ${classes.join('; ')}`,
  );
}

function failureLines(record: FailureRecord, paint: Paint, file: string | undefined): string[] {
  const { failure, count, model } = record;
  const { what, index, got, want } = failure.difference;
  const times = count > 1 ? `, ${grouped(count)} cases like it` : '';
  const at = index === undefined ? what : `${what}, element ${index}`;
  const lines = [
    `${paint('red', 'FAILED')} ${paint('bold', record.property)} on ${model}, case ${failure.case.index}${times}`,
    `  ${failure.message}`,
  ];
  // Most properties say the difference in their message.
  if (!failure.message.includes(what)) lines.push(`  ${at}: got ${got ?? '-'}, want ${want ?? '-'}`);
  const words = record.log?.trim();
  if (words)
    lines.push(
      ...words
        .split('\n')
        .slice(-4)
        .map((line) => paint('dim', `  | ${line}`)),
    );
  if (file !== undefined)
    lines.push(isReplayable(record) ? `  isobatch replay ${shellWord(file)}` : `  kept in ${file}`);
  return lines;
}

/** Which kernels ran, and if only the portable ones, why. */
function kernelLine({ kernels }: CampaignResult): string[] {
  if (kernels === undefined) return [];
  if ('path' in kernels.native) return [`kernels: ${kernels.isas.join(', ')}`];
  const why = kernels.native.unavailable;
  return [`kernels: portable TypeScript only (${why}): the same bits, slower, so fewer cases by default`];
}

function verdictLines(result: CampaignResult, paint: Paint): string[] {
  const t = totalsOf(result);
  const code = exitCodeOf(result);
  const colour = code === 0 ? 'green' : code === 1 ? 'red' : 'yellow';
  const parts = [
    t.cases > 0
      ? `${grouped(t.cases)} cases of ${t.mean_tokens.toFixed(1)} tokens (${grouped(t.cases_per_minute)} a minute)`
      : '',
    t.white > 0 ? `${grouped(t.white)} white-box cases (${grouped(t.white_per_minute)} a minute)` : '',
    `${grouped(t.compared)} elements compared`,
    `${result.settings.jobs} ${plural(result.settings.jobs, 'worker')}`,
    seconds(result.elapsed_s),
    `seed ${result.settings.seed}`,
  ];
  return [parts.filter(Boolean).join(', '), paint(colour, `${result.subject.name} ${result.verdict}`)];
}

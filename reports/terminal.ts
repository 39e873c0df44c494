/** The summary of a campaign for a terminal: a table of properties, what failed, and one verdict line. */
import {
  type CampaignResult,
  exitCodeOf,
  type FailureRecord,
  type Status,
} from '../properties/campaign-result.ts';
import { plural } from '../properties/campaign-verdict.ts';
import { type Group, groupsOf } from '../properties/groups.ts';
import { boundLines } from './bounds.ts';
import { isReplayable, shellWord } from './case-file.ts';
import { type PropertyRow, propertyRows, totalsOf } from './summarize.ts';
import { grouped, type Paint, rate, seconds, sentenceLines, table } from './text.ts';

const COLOUR = {
  passed: 'green',
  failed: 'red',
  skipped: 'dim',
  'not run': 'yellow',
  excused: 'yellow',
} as const;
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
      : line.replace(/(passed|failed|skipped|not run|excused)/, (s) => paint(COLOUR[s as Status], s)),
  );
  // After an early end most units lack cases; the verdict says so once.
  const early = result.stopped || result.interrupted;
  for (const row of rows.filter((r) => !early || r.status === 'skipped' || r.status === 'excused'))
    for (const reason of row.reasons) lines.push(paint('dim', `  ${row.property} ${row.status}: ${reason}`));
  lines.push(...sampleLines(result).map((line) => paint('dim', line)));
  lines.push(...boundLines(result).map((line) => paint('dim', line)));
  lines.push(...scopeLines(result, paint), ...missingLines(result, paint));
  for (const group of groupsOf(result.failures)) lines.push('', ...failureLines(group, paint, caseFile));
  lines.push(...excusedLines(result, paint));
  return [...lines, '', ...kernelLine(result), ...verdictLines(result, paint)];
}

/** What was looked at of large models. */
function sampleLines({ models }: CampaignResult): string[] {
  return models.flatMap(({ name, info, sample }) => {
    if (sample === undefined) return [];
    const { paths, length, sequences } = sample;
    const lists = `${paths} token lists of ${length} tokens, at most ${sequences} sequences at once`;
    return [`${name}, ${grouped(info.n_params)} parameters: a sample: ${lists}, K and V of one type`];
  });
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

type CaseFileOf = (f: FailureRecord) => string | undefined;

/** One failure: what, in one sentence; why, if that was found out; how to run it again. */
function failureLines({ first, also }: Group, paint: Paint, caseFile: CaseFileOf): string[] {
  const { failure, count, model } = first;
  const times = count > 1 ? `, ${grouped(count)} cases like it` : '';
  const number = failure.case.index < 0 ? 'small scope' : `case ${failure.case.index}`;
  const indented = (text: string) => sentenceLines(text, '  ');
  return [
    `${paint('red', 'FAILED')} ${paint('bold', first.property)} on ${model}, ${number}${times}`,
    ...indented(`${failure.message}${differenceIfUnsaid(first)}`),
    ...indented(failure.explanation?.sentence ?? ''),
    ...indented(failure.probe?.[0] ?? ''),
    ...indented(againstInWords(first)),
    ...lastWords(first, paint),
    ...indented(alsoInWords(first, also)),
    ...commandLines(first, caseFile(first)),
  ].filter((line) => line.trim() !== '');
}

/** Most properties say the difference in their message. */
function differenceIfUnsaid({ failure }: FailureRecord): string {
  const { what, index, got, want } = failure.difference;
  if (failure.message.includes(what)) return '';
  return `: ${what}${index === undefined ? '' : `, element ${index}`}: got ${got ?? '-'}, want ${want ?? '-'}`;
}

function againstInWords({ against }: FailureRecord): string {
  if (against === undefined) return '';
  const original =
    against.original === undefined ? '' : `; the case before it was made smaller: ${against.original}`;
  return `the other subject: ${against.shrunk}${original}`;
}

function lastWords({ log }: FailureRecord, paint: Paint): string[] {
  const words = log?.trim();
  if (!words) return [];
  return words
    .split('\n')
    .slice(-4)
    .map((line) => paint('dim', `  | ${line}`));
}

/** The others of a group: where each was found, without doubles. */
function alsoInWords(first: FailureRecord, also: readonly FailureRecord[]): string {
  const name = (f: FailureRecord) => `${f.property} on ${f.model}`;
  const where = [...new Set(also.map(name))].filter((other) => other !== name(first));
  if (where.length === 0) return '';
  const more = where.length > 6 ? `, and ${where.length - 6} more` : '';
  return `also found by: ${where.slice(0, 6).join(', ')}${more}`;
}

function commandLines(record: FailureRecord, file: string | undefined): string[] {
  if (file === undefined) return [];
  return [isReplayable(record) ? `  isobatch replay ${shellWord(file)}` : `  kept in ${file}`];
}

/** What failed and does not count, and entries of the list that are not true any more. */
function excusedLines(result: CampaignResult, paint: Paint): string[] {
  const lines = result.excused.flatMap(({ signature, count, known }) => {
    const times = count > 1 ? `, ${grouped(count)} cases` : '';
    if (known === undefined) return sentenceLines(`shared with ${result.against}: ${signature}${times}`);
    const link = known.link === undefined ? '' : ` (${known.link})`;
    return sentenceLines(`known: ${signature}${times}: ${known.reason}${link}`);
  });
  const gone = (result.known?.gone ?? []).map(({ entry, cases }) =>
    paint('yellow', `no longer fails: ${entry.signature}, in ${grouped(cases)} cases: ${entry.reason}`),
  );
  const unchecked = (result.known?.unchecked ?? []).map(({ signature }) =>
    paint('dim', `known, but not looked at in this run: ${signature}`),
  );
  const all = [...lines, ...gone, ...unchecked];
  return all.length > 0 ? ['', ...all] : [];
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

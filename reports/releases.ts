/**
 * The matrix in a terminal: a block for each architecture, a row for each property, a column for each release. Green
 * is the number of cases, red the number of different failures; what was not run is explained below, once a reason.
 */
import type { MatrixCell, ReleasesRecord } from './releases-record.ts';
import { grouped, type Paint, table, wrapped } from './text.ts';

/** Reasons by number, in the order in which they come up. */
class Notes {
  readonly texts: string[] = [];

  number(reasons: readonly string[]): string {
    if (reasons.length === 0) return '';
    const text = reasons.join('; ');
    if (!this.texts.includes(text)) this.texts.push(text);
    return `[${this.texts.indexOf(text) + 1}]`;
  }

  lines(): string[] {
    return this.texts.flatMap((text, i) => wrapped(`[${i + 1}] `, text.split(/\s+/)));
  }
}

/** What a cell shows. */
export function cellText(
  cell: MatrixCell | undefined,
  notes: { number(r: readonly string[]): string },
): string {
  if (cell === undefined) return '';
  const { status, cases, failures, reasons } = cell;
  if (status === 'passed') return grouped(cases);
  if (status === 'failed') return `FAIL ${Math.max(1, failures.length)}`;
  const mark = { 'not loaded': 'x', skipped: '-', 'not run': '?', excused: 'known' }[status];
  return `${mark}${notes.number(reasons)}`;
}

/** All blocks, the notes, and the failures with their case files. */
export function releasesLines(record: ReleasesRecord, paint: Paint): string[] {
  const notes = new Notes();
  const names = record.releases.map(({ name }) => name);
  const blocks = record.architectures.flatMap((arch) => [
    ...blockLines(record, arch, names, notes, paint),
    '',
  ]);
  const legend =
    'A number: cases that passed. FAIL n: n different failures. -: skipped, x: not loaded, ?: nothing compared';
  return [
    ...blocks,
    legend,
    ...notes.lines(),
    ...failureLines(record, paint),
    '',
    ...totalLines(record, paint),
  ];
}

function blockLines(
  record: ReleasesRecord,
  arch: string,
  names: readonly string[],
  notes: Notes,
  paint: Paint,
): string[] {
  const own = record.cells.filter((cell) => cell.arch === arch);
  const rows = record.properties.map((property) => [
    `  ${property}`,
    ...names.map((name) =>
      cellText(
        own.find((cell) => cell.release === name && cell.property === property),
        notes,
      ),
    ),
  ]);
  const columns = names.map((_, i) => i + 1);
  const [head = '', ...lines] = table([[arch, ...names], ...rows], columns);
  return [paint('bold', head), ...lines.map((line) => coloured(line, paint))];
}

/** Colours come last: they would count in the width of a column. */
function coloured(line: string, paint: Paint): string {
  const at = line.search(/\S/) + line.trimStart().search(/\s|$/);
  const cells = line
    .slice(at)
    .replaceAll(/FAIL \d+|(?<=^|\s)[\d,]+(?=\s|$)|(?<=\s)[-x?](?:\[\d+\])?(?=\s|$)/g, (text) =>
      paint(text.startsWith('FAIL') ? 'red' : /^\d/.test(text) ? 'green' : 'dim', text),
    );
  return line.slice(0, at) + cells;
}

function failureLines({ cells, releases }: ReleasesRecord, paint: Paint): string[] {
  const order = releases.map(({ name }) => name);
  const sorted = cells.toSorted((a, b) => order.indexOf(a.release) - order.indexOf(b.release));
  const lines = sorted.flatMap(({ release, failures }) =>
    failures.map(({ signature, count, case: file }) => {
      const times = count > 1 ? `, ${grouped(count)} cases` : '';
      return `${paint('red', release)} ${signature}${times}${file === undefined ? '' : `: ${file}`}`;
    }),
  );
  return lines.length === 0 ? [] : ['', ...lines];
}

function totalLines({ releases, cells, interrupted }: ReleasesRecord, paint: Paint): string[] {
  const cases = releases.reduce((sum, release) => sum + release.cases, 0);
  const ran = releases.filter((release) => release.cases > 0).length;
  const red = cells.filter((cell) => cell.status === 'failed').length;
  const verdict = red === 0 ? paint('green', 'no failure') : paint('red', `${red} red cells`);
  const cut = interrupted ? `${paint('yellow', 'interrupted')}: ` : '';
  return [`${cut}${grouped(cases)} cases on ${ran} of ${releases.length} releases, ${verdict}`];
}

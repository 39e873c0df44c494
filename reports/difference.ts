/** What differs first, in words: which element, both values with their bits, the bound that was missed. */
import type { Difference, Explanation } from '../properties/types.ts';
import { sentenceLines, table, wrapped } from './text.ts';

function bitsOf(value: number): string {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  return `0x${view.getUint32(0).toString(16).padStart(8, '0')}`;
}

/** Logits are float32; everything else that is compared is counted. */
function isReal(difference: Difference): boolean {
  const { got, want, what, index } = difference;
  const numbers = [got, want].filter((x) => typeof x === 'number');
  if (numbers.length === 0) return false;
  return (
    numbers.some((x) => !Number.isInteger(x)) || (index !== undefined && /logits|row|embedding/.test(what))
  );
}

/** Nine digits tell every float32 from its neighbours. */
function valueInWords(value: number | string | null | undefined, real: boolean): string {
  if (value === null) return 'not finite';
  if (typeof value !== 'number') return value ?? '-';
  return real ? `${Number(value.toPrecision(9))} (bits ${bitsOf(value)})` : String(value);
}

function offBy({ got, want }: Difference): string[] {
  if (typeof got !== 'number' || typeof want !== 'number') return [];
  if (got === 0) return ['  exactly zero: perhaps nothing was ever written there'];
  const size = Math.abs(got - want);
  const part = want === 0 ? '' : `, ${figure(size / Math.abs(want))} times the wanted value`;
  return [`  off by ${figure(size)}${part}`];
}

function figure(x: number | null): string {
  return x === null || !Number.isFinite(x) ? 'more than can be told' : String(Number(x.toPrecision(3)));
}

function missedLines({ missed }: Difference): string[] {
  if (missed === undefined) return [];
  const { bound, sigmas, worst_case, grade } = missed;
  const worst =
    worst_case === undefined ? '' : `, ${figure(worst_case)} times the worst that roundings can do at all`;
  const size = `${figure(sigmas)} standard deviations of the derived rounding error${worst}`;
  return [
    `  bound ${figure(bound)}: no correct subject is farther off by rounding`,
    ...wrapped('  size  ', size.split(' ')),
    `  grade ${grade}`,
  ];
}

/** `against` says what the wanted value is: "what the sequence says alone". */
export function differenceLines(difference: Difference, against?: string): string[] {
  const { what, index, got, want } = difference;
  const real = isReal(difference);
  const seen = what.replace(/^base history: /, 'in the other history: ');
  const where = `  ${seen}${index === undefined ? '' : `, element ${index}`}`;
  return [
    ...wrapped('', where.split(/(?<=\S) /)),
    ...wrapped('  got   ', [valueInWords(got, real)]),
    ...wrapped('  want  ', [`${valueInWords(want, real)}${against === undefined ? '' : `, ${against}`}`]),
    ...(real ? offBy(difference) : []),
    ...missedLines(difference),
    ...truthLines(difference),
  ];
}

const WRONG = {
  got: 'so the first value is wrong, and what it is compared with is right',
  want: 'so the first value is right, and what it is compared with is wrong',
  both: 'so both are wrong',
  neither: 'so both are within rounding of it, though they should be the same bits',
} as const;

function truthLines({ truth }: Difference): string[] {
  if (truth === undefined) return [];
  const { value, bound, wrong } = truth;
  const words = `the oracle says ${Number(value.toPrecision(9))}, give or take ${figure(bound)}: ${WRONG[wrong]}`;
  return wrapped('  ', words.split(' '));
}

export function explanationLines(explanation: Explanation): string[] {
  const { sentence, facts, runs, seconds, cut } = explanation;
  const rows = [['what', 'verdict', 'runs'], ...facts.map((f) => [f.what, f.verdict, String(f.runs)])];
  const time = `${runs} variations in ${seconds.toFixed(1)} s${cut ? '; the time was up before all were run' : ''}`;
  return [
    ...sentenceLines(sentence, '  '),
    ...(facts.length > 0 ? table(rows, [2]).map((line) => `  ${line}`) : []),
    `  (${time})`,
  ];
}

/** Where a difference was seen: a row, or a call. Properties of others may say it in words only. */
export function placeOf({ at, what }: Difference): { call: number; index?: number } | undefined {
  if (at !== undefined) return at;
  const row = /token (\d+) of call (\d+)/.exec(what);
  if (row !== null) return { call: Number(row[2]), index: Number(row[1]) };
  // What is said of the other history is not in this one.
  const call = what.startsWith('base history') ? null : /call (\d+)/.exec(what);
  return call === null ? undefined : { call: Number(call[1]) };
}

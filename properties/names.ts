/**
 * Errors for names that nobody knows: they repeat the name, suggest the nearest one, and list the others. Used for
 * options, commands, properties, models and faults alike.
 */
import { IsobatchError } from '../contract/errors.ts';

/** Number of insertions, removals, replacements and swaps of neighbours that turn one word into the other. */
export function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** The known name that is nearest, if it is near enough to be meant. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 2)) + 1;
  for (const candidate of known) {
    const d = distance(name, candidate);
    if (d < least) [best, least] = [candidate, d];
  }
  return best;
}

/** Kind `usage`: "unknown property solp; did you mean solo? Known are ...". */
export function unknownName(what: string, name: string, known: readonly string[]): IsobatchError {
  const guess = nearest(name, known);
  const hint = guess === undefined ? '' : `; did you mean ${guess}?`;
  const list = known.length === 0 ? 'There are none.' : `Known are ${known.join(', ')}.`;
  return new IsobatchError('usage', `unknown ${what} ${name}${hint || '.'} ${list}`, {
    name,
    nearest: guess,
    known,
  });
}

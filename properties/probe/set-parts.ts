/** What is wrong with the set of keys that one layer of attention saw, in parts of a sentence. */
import type { SeenSet } from '../../golden/probes/types.ts';
import type { Severity } from './findings.ts';
import type { Query } from './history.ts';
import { times, type Words } from './words.ts';

/** Parts of the sentence about one row; none if nothing is wrong. */
export interface Parts {
  /** The beginning of the sentence, if it is not that of all probes. */
  readonly start?: string;
  readonly text: readonly string[];
  readonly severity: Severity;
  /** What is wrong, whoever sees it; `NO_FAULT` where nothing is handed on to later queries. */
  readonly fault: string;
}

export const NO_FAULT = '';

/** Ids that are there and must not be, ids that are not there and must be, ids that are there too often. */
export function difference(sees: readonly number[], counts: ReadonlyMap<number, number>) {
  const wanted = new Set(sees);
  const wrong = [...counts.keys()].filter((id) => !wanted.has(id));
  const missing = sees.filter((id) => !counts.has(id));
  const often = [...counts].filter(([id, count]) => count > 1 && wanted.has(id));
  return { wrong, missing, often };
}

/** `who` begins each part where a row tells more than one thing. */
export function setParts(words: Words, query: Query, { counts, mass }: SeenSet, who = ''): Parts {
  const { wrong, missing, often } = difference(query.sees, counts);
  const text: string[] = [];
  if (counts.size === 0) text.push('saw nothing');
  else if (missing.length > 0) text.push(`did not see ${words.names(missing)}`);
  if (wrong.length > 0) text.push(`saw ${words.foreign(wrong, query).text}, which it must not`);
  for (const [id, count] of often) text.push(`saw ${words.name(id)} ${times(count)}`);
  let n = 0;
  for (const count of counts.values()) n += count;
  const empty = counts.size === 0 || mass === null ? 0 : Math.round(n / mass) - n;
  if (empty > 0) text.push(`saw ${empty === 1 ? 'a cell' : `${empty} cells`} without content`);
  if (empty < 0) text.push(`the sum of its attention weights is ${mass!.toPrecision(3)}, must be 1`);
  const severity = wrong.length > 0 || often.length > 0 || empty !== 0 ? 1 : 2;
  return { text: text.map((part) => who + part), severity, fault: NO_FAULT };
}

/**
 * Which of two answers of a subject is the wrong one: the oracle knows. Asked once, for the failure that is told; a
 * campaign compares the subject with itself and does not need to know.
 */
import { boundsBy } from './bounds-by.ts';
import { oracleRowsOf, rowKey } from './oracle-rows.ts';
import { unprofiled } from './profiles.ts';
import type { Difference, Env, Failure, Truth } from './types.ts';
import { DEFAULT_P, judge, widthOf } from './verdict.ts';

/** The difference with what the oracle says, if that can be derived for this subject and model. */
export function withTruth(env: Env, failure: Failure): Difference {
  const { difference } = failure;
  const truth = truthOf(env, failure);
  return truth === null ? difference : { ...difference, truth };
}

function truthOf(env: Env, { case: c, difference }: Failure): Truth | null {
  const { at, index, got, want, missed } = difference;
  if (c.script === undefined || at === undefined || index === undefined) return null;
  if (typeof got !== 'number' || typeof want !== 'number') return null;
  // `reference` has compared with the oracle already.
  if (c.property === 'reference' || (missed !== undefined && c.alone === undefined && c.base === undefined))
    return null;
  if (unprofiled(env.subject, c.script.params) !== null || boundsBy(env) !== 'oracle') return null;
  if ((c.script.params.pooling ?? 'none') !== 'none') return null;
  const row = oracleRowsOf(env, c.script).get(rowKey(at.call, at.index))?.carried;
  // Where a router may choose otherwise there are several truths.
  if (row === undefined || row.forks !== undefined) return null;
  const value = row.v[index]!;
  const bound = widthOf(env.p ?? DEFAULT_P) * Math.sqrt(row.s[index]!);
  const right = (answer: number) => judge(answer, value, bound) !== 'divergent';
  const wrong = right(got) ? (right(want) ? 'neither' : 'want') : right(want) ? 'got' : 'both';
  return { value, bound, wrong };
}

/**
 * Reads which ids a mean of codes is made of (spec: probes.md 1): the smallest multiset whose mean it is. Used wherever
 * keys with equal weights are summed and divided by their number: attention, and the normed state of RWKV.
 */
import { type Code, countsOf, idsOf, integersOf, sizeOf } from './codes.ts';
import { unreadable } from './construction.ts';
import type { SeenSet, Unreadable } from './types.ts';

/** Below this a weight or a mass is nothing. */
const NOTHING = 1e-6;

/** `seen` {n_dims}: the sum of codes over the number of keys; `mass`: the sum of the weights, in the same unit. */
export function readMean(seen: Float64Array, mass: number, code: Code): SeenSet | Unreadable {
  if (Math.abs(mass) < NOTHING && seen.every((x) => Math.abs(x) < NOTHING))
    return { counts: new Map(), mass: 0, margin: 0 };
  if (!(mass > NOTHING)) return unreadable(`the sum of its attention weights is ${mass}`);
  for (let n = 1; n <= 3 * idsOf(code); n++) {
    const sums = integersOf(seen, n / mass);
    if (sums === null || sizeOf(code, sums.integers) !== n) continue;
    return { counts: countsOf(code, sums.integers)!, mass, margin: sums.margin };
  }
  return unreadable('what it saw is not a mean of keys with equal weights');
}

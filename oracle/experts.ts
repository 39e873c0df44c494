/**
 * What a token's experts give together (spec: architectures.md 3 and 8): softmax over the logits of all experts, the
 * chosen ones' shares, renormalised to sum 1 or not, and the sum of the experts' rows with these weights. In the order of
 * their numbers.
 */
import { exponentialError } from './attention.ts';
import { scratch, softmax } from './math.ts';
import { type Site, U32 } from './rounding.ts';
import { productKind, sumError } from './sum.ts';

/** Whose shares sum up to 1: those of the `chosen` experts (renormalised), or of `all`. */
export type Shares = 'chosen' | 'all';

/** How what experts give is weighted: by shares, or not at all. */
export type Weighting = Shares | 'none';

/** The experts over whose shares a softmax is taken. */
export function sharing(logits: Float64Array, chosen: readonly number[], shares: Shares): readonly number[] {
  return shares === 'all' ? Array.from(logits, (_, e) => e) : chosen;
}

/**
 * Weights of the chosen experts. Renormalised, the sum over all experts cancels, but each share is rounded when it is
 * divided by it.
 */
export function expertWeights(
  logits: Float64Array,
  chosen: readonly number[],
  at?: Site,
  shares: Shares = 'chosen',
): Float64Array {
  const over = sharing(logits, chosen, shares);
  const [atShare, atSum] = [at?.step('share'), at?.step('sum')];
  const p = softmax(logits);
  const max = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const share = Float64Array.from(over, (e) => {
    if (!atShare) return p[e]!;
    const { b, sigma } = exponentialError(logits[e]! - max, p[e]!);
    const own = U32 * p[e]!;
    return atShare.after(e, p[e]!, b + own, Math.sqrt(sigma * sigma + (own * own) / 3));
  });
  let sum = 0;
  for (const p_e of share) {
    sum += p_e;
  }
  if (atSum) {
    const { b, variance } = sumError(share, share.length, { order: 'any' }, 'numbers');
    sum = atSum.after(0, sum, b, Math.sqrt(variance));
  }
  return Float64Array.from(chosen, (e) => roundedQuotient(share[over.indexOf(e)]! / sum, e, at));
}

function roundedQuotient(y: number, element: number, at: Site | undefined): number {
  return at ? at.after(element, y, U32 * Math.abs(y), (U32 * Math.abs(y)) / Math.sqrt(3)) : y;
}

/** sum_j weight_j rows_j; subjects add by rank or by number, so the order is taken for unknown. */
export function weightedSum(weight: Float64Array, rows: readonly Float64Array[], at?: Site): Float64Array {
  return rows[0]!.map((_, i) => {
    const term = scratch(rows.length);
    let sum = 0;
    for (let j = 0; j < rows.length; j++) {
      term[j] = weight[j]! * rows[j]![i]!;
      sum += term[j]!;
    }
    if (!at) return sum;
    const { b, variance } = sumError(term, rows.length, { order: 'any' }, productKind(at.profile));
    return at.after(i, sum, b, Math.sqrt(variance));
  });
}

/** The sum of rows as they are. One row is what it is. */
export function plainSum(rows: readonly Float64Array[], at?: Site): Float64Array {
  return rows[0]!.map((_, i) => {
    const term = Float64Array.from(rows, (row) => row[i]!);
    const sum = term.reduce((a, b) => a + b);
    if (!at) return sum;
    const { b, variance } = sumError(term, rows.length, { order: 'any' }, 'numbers');
    return at.after(i, sum, b, Math.sqrt(variance));
  });
}

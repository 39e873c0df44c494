/**
 * Attention with linear biases (spec: batching.md 6.1 and 6.5): a score falls with the distance of its key, in each head
 * by another slope.
 */
import { type Site, U32 } from './rounding.ts';

export interface Alibi {
  /** By head. */
  readonly slopes: readonly number[];
  /** How many positions each key is away from the query. */
  readonly away: readonly number[];
}

/**
 * slope_h = m0^(h+1) for h < L = 2^floor(log2 n_head), m0 = 2^(-max_bias / L); for the other heads m1^(2 (h - L) + 1) with
 * m1 = 2^(-max_bias / (2 L)).
 */
export function slopesOf(n_head: number, max_bias: number): number[] {
  const L = 2 ** Math.floor(Math.log2(n_head));
  const m0 = 2 ** (-max_bias / L);
  const m1 = 2 ** (-max_bias / (2 * L));
  return Array.from({ length: n_head }, (_, h) => (h < L ? m0 ** (h + 1) : m1 ** (2 * (h - L) + 1)));
}

/**
 * score - slope * distance. A subject makes the slope of a power, whose base may be off by one rounding for each factor
 * (powers of two are exact); then product and sum round.
 */
export function biasedRow(
  score: Float64Array,
  { slopes, away }: Alibi,
  head: number,
  at?: Site,
): Float64Array {
  const slope = slopes[head]!;
  const loose = Number.isInteger(Math.log2(slope)) ? 0 : (slopes.length + 2) * U32;
  return score.map((s, j) => {
    const bias = slope * away[j]!;
    const y = s - bias;
    if (at === undefined) return y;
    const b = (U32 + loose) * bias + U32 * Math.abs(y);
    const sigma = Math.sqrt(((U32 * bias) ** 2 + (loose * bias) ** 2 + (U32 * y) ** 2) / 3);
    return at.after(head * score.length + j, y, b, sigma, head);
  });
}

/**
 * How ids are written into a few dims (spec: probes.md 1): id -> dim `id mod n_dims`, weight 4^floor(id / n_dims). With
 * one digit a dim is one id and its sum the count; with five digits a sum holds five counts of 0..3, and never exceeds
 * 1023, so that it is exact even in half precision.
 */
export interface Code {
  readonly n_dims: number;
  readonly n_digits: 1 | 5;
}

const BASE = 4;
/** No sum of a correct engine is further than this from an integer; 33 times the worst that was measured. */
export const TOLERANCE = 0.005;

export function idsOf(code: Code): number {
  return code.n_dims * code.n_digits;
}

export function dimOf(code: Code, id: number): number {
  return id % code.n_dims;
}

export function weightOf(code: Code, id: number): number {
  return BASE ** Math.floor(id / code.n_dims);
}

/** The values times `n` as integers, and the largest distance from them; null beyond the tolerance or below zero. */
export function integersOf(values: Float64Array, n = 1): { integers: number[]; margin: number } | null {
  let margin = 0;
  const integers: number[] = [];
  for (const v of values) {
    const nearest = Math.round(v * n);
    const off = Math.abs(v * n - nearest);
    // Written so that NaN fails too.
    if (!(off <= TOLERANCE) || nearest < 0) return null;
    if (off > margin) margin = off;
    integers.push(nearest);
  }
  return { integers, margin };
}

/** Count of each id that the sums (n_dims) hold; null for a sum that no digits can have. */
export function countsOf(code: Code, sums: readonly number[]): Map<number, number> | null {
  const counts = new Map<number, number>();
  for (let d = 0; d < code.n_dims; d++) {
    let rest = sums[d]!;
    if (code.n_digits === 1) {
      if (rest > 0) counts.set(d, rest);
      continue;
    }
    for (let digit = 0; digit < code.n_digits; digit++) {
      const count = rest % BASE;
      if (count > 0) counts.set(digit * code.n_dims + d, count);
      rest = Math.floor(rest / BASE);
    }
    if (rest > 0) return null;
  }
  return counts;
}

/** How many ids the sums hold, each as often as it is there; infinite for a sum that no digits can have. */
export function sizeOf(code: Code, sums: readonly number[]): number {
  const counts = countsOf(code, sums);
  if (counts === null) return Number.POSITIVE_INFINITY;
  let n = 0;
  for (const count of counts.values()) n += count;
  return n;
}

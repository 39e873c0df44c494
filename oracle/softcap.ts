/** Softcap (spec: architectures.md 4): c tanh(x / c), which no number leaves. */
import { type Site, TINY32, U32 } from './rounding.ts';

/** 1 - tanh^2(x / c) */
export function slopeOfSoftcap(x: number, cap: number): number {
  return 1 - Math.tanh(x / cap) ** 2;
}

/**
 * Of a row. A quotient (or a product with 1 / c, which is rounded too), the tangent, which is good to five units, and a
 * product. `channel`: what draws see instead of an element (`Site.after`); `first` is the number of the first element.
 */
export function softcapRow(
  x: Float64Array,
  cap: number,
  at?: Site,
  first = 0,
  channel?: number,
): Float64Array {
  return x.map((xi, i) => {
    const y = cap * Math.tanh(xi / cap);
    if (at === undefined) return y;
    const unit = U32 * Math.abs(y);
    return at.after(first + i, y, 8 * unit + TINY32, 2 * unit + TINY32, channel);
  });
}

/**
 * How far two answers of an operator are apart. The unit is one ulp, the distance from a number to the next larger one
 * of the type, of a magnitude that the comparison names for each element: the result itself where every step is
 * relative to it, or the sum of the absolute values of the terms where terms cancel and the result can be anything.
 */
import type { ElementType } from './graph.ts';

export interface Distance {
  /** Largest |got - wanted|. */
  absolute: number;
  /** Largest |got - wanted| over the largest |wanted| of its row. */
  relative: number;
  /** Largest |got - wanted| in ulps of the magnitude. Infinity if a number is not finite on one side only. */
  ulps: number;
}

/** Digits after the first of the significand, and the exponent of the smallest normal number. */
const FORMAT = { float32: { digits: 23, emin: -126 }, float64: { digits: 52, emin: -1022 } };

/** The distance from |x| to the next larger number of the type. */
export function ulp(x: number, type: 'float32' | 'float64'): number {
  const { digits, emin } = FORMAT[type];
  return 2 ** (Math.max(exponent(Math.abs(x)), emin) - digits);
}

/** e with 2^e <= x < 2^(e+1); below every exponent for 0. */
function exponent(x: number): number {
  if (x === 0) return -2000;
  const e = Math.floor(Math.log2(x));
  // The logarithm is rounded: near a power of two it can be one off.
  return 2 ** e > x ? e - 1 : 2 ** (e + 1) <= x ? e + 1 : e;
}

/**
 * The distance of `got` from the rows of `wanted`, which lie one behind the other in it. A number that is not finite
 * must be the same on both sides, and NaN is never right.
 */
export function distance(
  got: Float64Array,
  wanted: readonly Float64Array[],
  magnitude: readonly Float64Array[],
  type: Extract<ElementType, 'float32' | 'float64'>,
): Distance {
  const n = wanted.reduce((sum, row) => sum + row.length, 0);
  if (n !== got.length) throw new RangeError(`${got.length} numbers, but the rows hold ${n}`);
  const result = { absolute: 0, relative: 0, ulps: 0 };
  let at = 0;
  for (let r = 0; r < wanted.length; r++) {
    const row = wanted[r]!;
    const top = row.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    for (let i = 0; i < row.length; i++, at++) {
      if (got[at] === row[i]) continue;
      const gap = Math.abs(got[at]! - row[i]!);
      const far = Number.isFinite(gap) ? gap : Infinity;
      result.absolute = Math.max(result.absolute, far);
      result.relative = Math.max(result.relative, top > 0 ? far / top : Infinity);
      result.ulps = Math.max(result.ulps, far / ulp(magnitude[r]![i]!, type));
    }
  }
  return result;
}

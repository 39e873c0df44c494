/** Operators that treat each number by itself. */
import { type Site, U32 } from './rounding.ts';

/** A row times a number that is a float32. By a power of two, or its negative, it is exact. */
export function scaled(x: Float64Array, factor: number, at?: Site): Float64Array {
  const y = x.map((xi) => xi * factor);
  if (at === undefined || Number.isInteger(Math.log2(Math.abs(factor)))) return y;
  return y.map((yi, i) => at.after(i, yi, U32 * Math.abs(yi), (U32 * Math.abs(yi)) / Math.sqrt(3)));
}

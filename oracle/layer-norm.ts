/**
 * LayerNorm in float64 (spec: architectures.md 0.2), as short as its formula: the mean is taken off, and the variance
 * is the biased one, over n and not n - 1. And the two norms of the heads of RWKV (architectures.md 9 and 10), which are
 * for equal parts of a row, one after the other.
 */
import { scratch } from './math.ts';
import { type Site, TINY32, U32 } from './rounding.ts';
import { productKind, sumError } from './sum.ts';

/** (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps), times w, plus b. All of one length. */
export function layerNorm(x: Float64Array, eps: number, w: Float64Array, b: Float64Array): Float64Array {
  return standardized(x, 1, eps).map((z, i) => z * w[i]! + b[i]!);
}

/** (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) for each of `n_part` equal parts of a row. */
export function standardized(x: Float64Array, n_part: number, eps: number, at?: Site): Float64Array {
  const n = x.length / n_part;
  const y = new Float64Array(x.length);
  for (let part = 0; part < n_part; part++) {
    const own = x.subarray(part * n, (part + 1) * n);
    let mean = own.reduce((sum, xi) => sum + xi, 0) / n;
    if (at) mean = roundedMean(own, mean, part, at.step('mean'));
    const squares = own.reduce((sum, xi) => sum + (xi - mean) ** 2, 0);
    let scale = 1 / Math.sqrt(squares / n + eps);
    if (at) scale = roundedScale(own, mean, scale, part, at.step('scale'));
    for (let i = 0; i < n; i++) y[part * n + i] = (own[i]! - mean) * scale;
  }
  // The difference and its product with the scale.
  return at
    ? y.map((yi, i) => at.after(i, yi, 2 * U32 * Math.abs(yi), U32 * Math.abs(yi) * Math.sqrt(2 / 3)))
    : y;
}

/** The sum, and its quotient. */
function roundedMean(x: Float64Array, mean: number, part: number, at: Site): number {
  const term = scratch(x.length);
  term.set(x);
  const { b, variance } = sumError(term, x.length, at.profile.rows, 'numbers');
  const own = U32 * Math.abs(mean);
  return at.after(part, mean, b / x.length + own, Math.sqrt(variance / x.length ** 2 + (own * own) / 3));
}

/** Half the error of the sum of squares, of which each difference is rounded too; then mean, eps, root and reciprocal. */
function roundedScale(x: Float64Array, mean: number, scale: number, part: number, at: Site): number {
  const n = x.length;
  const term = scratch(n);
  let [squares, fourths] = [0, 0];
  for (let i = 0; i < n; i++) {
    const square = (x[i]! - mean) ** 2;
    term[i] = square;
    squares += square;
    fourths += square * square;
  }
  const { b, variance } = sumError(term, n, at.profile.rows, productKind(at.profile));
  const relative = squares > 0 ? 1 / (2 * squares) : 0;
  const own = variance * relative * relative + (U32 * U32 * (2.5 + fourths * 4 * relative * relative)) / 3;
  return at.after(part, scale, scale * (b * relative + 4 * U32), scale * Math.sqrt(own));
}

/** x / max(sqrt(sum x^2), eps) for each of `n_part` equal parts of a row. */
export function unitParts(x: Float64Array, n_part: number, eps: number, at?: Site): Float64Array {
  const n = x.length / n_part;
  const y = new Float64Array(x.length);
  for (let part = 0; part < n_part; part++) {
    const own = x.subarray(part * n, (part + 1) * n);
    const squares = own.reduce((sum, xi) => sum + xi * xi, 0);
    let scale = 1 / Math.max(Math.sqrt(squares), eps);
    if (at) scale = roundedLength(own, squares, scale, part, at.step('scale'));
    for (let i = 0; i < n; i++) y[part * n + i] = own[i]! * scale;
  }
  return at
    ? y.map((yi, i) => at.after(i, yi, U32 * Math.abs(yi) + TINY32, (U32 * Math.abs(yi)) / Math.sqrt(3)))
    : y;
}

/** Half the error of the sum of squares, then root and reciprocal. */
function roundedLength(x: Float64Array, squares: number, scale: number, part: number, at: Site): number {
  const term = scratch(x.length);
  for (let i = 0; i < x.length; i++) term[i] = x[i]! * x[i]!;
  const { b, variance } = sumError(term, x.length, at.profile.rows, productKind(at.profile));
  const relative = squares > 0 ? 1 / (2 * squares) : 0;
  const own = variance * relative * relative + (2 * U32 * U32) / 3;
  return at.after(part, scale, scale * (b * relative + 2 * U32), scale * Math.sqrt(own));
}

/** The sum of each of `n_part` equal parts of a row, in every place of it. */
export function partSums(x: Float64Array, n_part: number, at?: Site): Float64Array {
  const n = x.length / n_part;
  const y = new Float64Array(x.length);
  for (let part = 0; part < n_part; part++) {
    const own = x.subarray(part * n, (part + 1) * n);
    let sum = own.reduce((total, xi) => total + xi, 0);
    if (at) {
      const term = scratch(n);
      term.set(own);
      const { b, variance } = sumError(term, n, at.profile.rows, 'numbers');
      sum = at.after(part, sum, b, Math.sqrt(variance));
    }
    y.fill(sum, part * n, (part + 1) * n);
  }
  return y;
}

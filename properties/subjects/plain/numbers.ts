/**
 * The arithmetic of an ordinary float32 program: every operation is rounded to float32, products and additions one
 * after the other (no fused multiply-add), sums in index order. Functions of the math library are taken in double and
 * rounded once.
 *
 * Rounding a double sum, product, quotient or root of float32 numbers to float32 gives the float32 operation: 53 bits
 * are more than twice 24 bits plus two.
 */
import { floatToHalf, halfToFloat } from '../../../model/f16.ts';

const f32 = Math.fround;

/** The half nearest to x, as a float32; infinite from 65520 on. */
export function roundToHalf(x: number): number {
  return halfToFloat(floatToHalf(x));
}

/** exp(x), as a float32. */
export function exp(x: number): number {
  return f32(Math.exp(x));
}

/** x / (1 + exp(-x)). */
export function silu(x: number): number {
  return f32(x / f32(1 + exp(-x)));
}

/** ln(1 + exp(x)), which is x itself above the threshold. */
export function softplus(x: number, threshold: number): number {
  return x > threshold ? x : f32(Math.log1p(exp(x)));
}

/**
 * y = W x: W has n_out rows of n_in weights. Each sum is one chain in index order; four chains run side by side only
 * because a processor can do so.
 */
export function matVec(y: Float32Array, w: Float32Array, x: Float32Array, n_in: number, n_out: number): void {
  let o = 0;
  for (; o + 4 <= n_out; o += 4) {
    const [r0, r1, r2, r3] = [o * n_in, (o + 1) * n_in, (o + 2) * n_in, (o + 3) * n_in];
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let i = 0; i < n_in; i++) {
      const xi = x[i]!;
      s0 = f32(s0 + f32(w[r0 + i]! * xi));
      s1 = f32(s1 + f32(w[r1 + i]! * xi));
      s2 = f32(s2 + f32(w[r2 + i]! * xi));
      s3 = f32(s3 + f32(w[r3 + i]! * xi));
    }
    y[o] = s0;
    y[o + 1] = s1;
    y[o + 2] = s2;
    y[o + 3] = s3;
  }
  for (; o < n_out; o++) y[o] = dot(w, o * n_in, x, 0, n_in);
}

/** Sum of a[ai + i] * b[bi + i] over n terms, in order. */
export function dot(a: Float32Array, ai: number, b: Float32Array, bi: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum = f32(sum + f32(a[ai + i]! * b[bi + i]!));
  return sum;
}

/** 1 / sqrt(mean(x^2) + eps) over n elements from `at`. */
function inverseRms(x: Float32Array, at: number, n: number, eps: number): number {
  const mean = f32(dot(x, at, x, at, n) / n);
  return f32(1 / f32(Math.sqrt(f32(mean + eps))));
}

/** y = x / rms(x) * weight. */
export function rmsNorm(y: Float32Array, x: Float32Array, weight: Float32Array, eps: number): void {
  const r = inverseRms(x, 0, weight.length, eps);
  for (let i = 0; i < weight.length; i++) y[i] = f32(f32(x[i]! * r) * weight[i]!);
}

/** Divides n elements from `at` by their rms, in place; no weights. */
export function rmsNormPlain(x: Float32Array, at: number, n: number, eps: number): void {
  const r = inverseRms(x, at, n, eps);
  for (let i = at; i < at + n; i++) x[i] = f32(x[i]! * r);
}

/** x += y. */
export function addTo(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] = f32(x[i]! + y[i]!);
}

/**
 * The operators of the forward passes in float64, each as short as its formula (spec: batching.md 11,
 * architectures.md 0.2). None writes to its operands.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { Tensor } from '../model/types.ts';
import { halfToNumber } from './half.ts';

export { halfToNumber } from './half.ts';

/** {n_in, n_out}: row o, of n_in numbers, makes output o. */
export interface Matrix {
  readonly n_in: number;
  readonly n_out: number;
  readonly data: Float64Array;
}

/** The elements of a tensor, exactly. */
export function elements(tensor: Tensor): Float64Array {
  return tensor.data instanceof Uint16Array
    ? Float64Array.from(tensor.data, halfToNumber)
    : new Float64Array(tensor.data);
}

export function matrix(tensor: Tensor): Matrix {
  return { n_in: tensor.ne[0]!, n_out: tensor.ne[1] ?? 1, data: elements(tensor) };
}

/** Row of a token in the embedding matrix. Throws `batch.token` if it has none. */
export function row(w: Matrix, token: number): Float64Array {
  if (!(Number.isInteger(token) && token >= 0 && token < w.n_out)) {
    throw new IsobatchError('batch.token', `token ${token} is not in 0..${w.n_out - 1}`, { token });
  }
  return w.data.slice(token * w.n_in, (token + 1) * w.n_in);
}

/** y_o = sum_i W_oi x_i */
export function matVec(w: Matrix, x: Float64Array): Float64Array {
  const { n_in, n_out, data } = w;
  const y = new Float64Array(n_out);
  for (let o = 0; o < n_out; o++) {
    let sum = 0;
    for (let i = 0; i < n_in; i++) {
      sum += data[o * n_in + i]! * x[i]!;
    }
    y[o] = sum;
  }
  return y;
}

export function add(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((ai, i) => ai + b[i]!);
}

/** Element by element. */
export function mul(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((ai, i) => ai * b[i]!);
}

/** x / sqrt(mean(x^2) + eps), times w if there are weights. */
export function rmsNorm(x: Float64Array, eps: number, w?: Float64Array): Float64Array {
  let squares = 0;
  for (const xi of x) {
    squares += xi * xi;
  }
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((xi, i) => xi * scale * (w ? w[i]! : 1));
}

/** x / (1 + e^-x) */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** ln(1 + e^dt); above 20 dt itself. */
export function softplus(dt: number): number {
  return dt > 20 ? dt : Math.log1p(Math.exp(dt));
}

export function softmax(x: Float64Array): Float64Array {
  let max = -Infinity;
  for (const xi of x) {
    max = Math.max(max, xi);
  }
  const e = x.map((xi) => Math.exp(xi - max));
  let sum = 0;
  for (const ei of e) {
    sum += ei;
  }
  return e.map((ei) => ei / sum);
}

export interface RopeShape {
  readonly n_embd_head: number;
  /** Channels of a head that are rotated, from its first on; the others are copied. */
  readonly n_rot: number;
  readonly freq_base: number;
  readonly freq_scale: number;
}

/** NORMAL: pair (2i, 2i+1) of each head turns by pos * freq_scale * base^(-2i/n_rot). */
export function rope(x: Float64Array, pos: number, shape: RopeShape): Float64Array {
  const { n_embd_head, n_rot, freq_base, freq_scale } = shape;
  const y = x.slice();
  for (let i = 0; 2 * i < n_rot; i++) {
    const angle = pos * freq_scale * freq_base ** ((-2 * i) / n_rot);
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    for (let a = 2 * i; a < x.length; a += n_embd_head) {
      y[a] = x[a]! * cos - x[a + 1]! * sin;
      y[a + 1] = x[a]! * sin + x[a + 1]! * cos;
    }
  }
  return y;
}

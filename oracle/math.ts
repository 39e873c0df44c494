/**
 * The operators of the forward passes in float64, each as short as its formula (spec: batching.md 11,
 * architectures.md 0.2). None writes to its operands.
 *
 * The last, optional parameter of each is where its result is rounded: with a `Site` an operator also says how far a
 * subject's float32 result may be from its own (spec: verdicts.md 5), and goes on with what the site makes of it.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { Tensor } from '../model/types.ts';
import { halfToNumber } from './half.ts';
import { type Site, TINY16, U16, U32 } from './rounding.ts';
import { productKind, sumError } from './sum.ts';

export { halfToNumber } from './half.ts';

/** {n_in, n_out}: row o, of n_in numbers, makes output o. */
export interface Matrix {
  readonly n_in: number;
  readonly n_out: number;
  readonly data: Float64Array;
  /** It is stored in F16. */
  readonly half?: boolean;
}

/** The elements of a tensor, exactly. */
export function elements(tensor: Tensor): Float64Array {
  const { data } = tensor;
  if (!(data instanceof Uint16Array)) return new Float64Array(data);
  const out = new Float64Array(data.length);
  for (let i = 0; i < data.length; i++) out[i] = halfToNumber(data[i]!);
  return out;
}

export function matrix(tensor: Tensor): Matrix {
  const half = tensor.data instanceof Uint16Array;
  return { n_in: tensor.ne[0]!, n_out: tensor.ne[1] ?? 1, data: elements(tensor), half };
}

/** Row of a token in the embedding matrix. Throws `batch.token` if it has none. */
export function row(w: Matrix, token: number): Float64Array {
  if (!(Number.isInteger(token) && token >= 0 && token < w.n_out)) {
    throw new IsobatchError('batch.token', `token ${token} is not in 0..${w.n_out - 1}`, { token });
  }
  return w.data.slice(token * w.n_in, (token + 1) * w.n_in);
}

/** Rows one behind the other. */
export function joined(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** y_o = sum_i W_oi x_i */
export function matVec(w: Matrix, x: Float64Array, at?: Site): Float64Array {
  const { n_in, n_out, data } = w;
  const input = at && casts(w, at.profile) ? noisyHalf(x, at.step('cast')) : x;
  const y = new Float64Array(n_out);
  for (let o = 0; o < n_out; o++) {
    let sum = 0;
    for (let i = 0; i < n_in; i++) {
      sum += data[o * n_in + i]! * input[i]!;
    }
    y[o] = at ? roundedProduct(w, input, o, sum, at) : sum;
  }
  return y;
}

/** With F16 weights a subject may round the activations to F16 first. */
export function casts({ half }: Matrix, { f16_activations }: Site['profile']): boolean {
  return half === true && f16_activations === 'F16';
}

/** SUM over the products. */
function roundedProduct({ n_in, data }: Matrix, x: Float64Array, o: number, y: number, at: Site): number {
  const term = scratch(n_in);
  for (let i = 0; i < n_in; i++) {
    term[i] = data[o * n_in + i]! * x[i]!;
  }
  const { b, variance } = sumError(term, n_in, at.profile.products, productKind(at.profile));
  return at.after(o, y, b, Math.sqrt(variance));
}

let terms = new Float64Array(1024);
/** Room for the terms of a sum. */
export function scratch(n: number): Float64Array {
  if (terms.length < n) terms = new Float64Array(2 * n);
  return terms;
}

/** Largest error of rounding to F16. */
export function halfError(x: number): number {
  return Math.max(U16 * Math.abs(x), TINY16);
}

/**
 * A row that a subject rounds to F16. A value near a border falls to either side, so the rounding is noise around the
 * exact value and not a step (spec: verdicts.md 6).
 */
export function noisyHalf(x: Float64Array, at: Site): Float64Array {
  return x.map((xi, i) => {
    const b = halfError(xi);
    return at.after(i, xi, b, b / Math.sqrt(3));
  });
}

/** Rounds each element of a row; `ulps` roundings of float32 at most, a standard deviation of `sigma` of them. */
function roundedRow(y: Float64Array, at: Site | undefined, ulps: number, sigma: number): Float64Array {
  return at ? y.map((yi, i) => at.after(i, yi, ulps * U32 * Math.abs(yi), sigma * U32 * Math.abs(yi))) : y;
}

/** Standard deviation of one rounding, in units of its largest error. */
const ONCE = 1 / Math.sqrt(3);

export function add(a: Float64Array, b: Float64Array, at?: Site): Float64Array {
  const y = a.map((ai, i) => ai + b[i]!);
  return roundedRow(y, at, 1, ONCE);
}

/** Element by element. */
export function mul(a: Float64Array, b: Float64Array, at?: Site): Float64Array {
  const y = a.map((ai, i) => ai * b[i]!);
  return roundedRow(y, at, 1, ONCE);
}

/** x / sqrt(mean(x^2) + eps), times w if there are weights. */
export function rmsNorm(x: Float64Array, eps: number, w?: Float64Array, at?: Site): Float64Array {
  let squares = 0;
  for (const xi of x) {
    squares += xi * xi;
  }
  let scale = 1 / Math.sqrt(squares / x.length + eps);
  if (at) scale = roundedScale(x, squares, scale, at.step('scale'));
  const y = x.map((xi, i) => xi * scale * (w ? w[i]! : 1));
  return w ? roundedRow(y, at, 2, Math.SQRT2 * ONCE) : roundedRow(y, at, 1, ONCE);
}

/** One error for the whole row: half of that of the sum of squares, then mean, eps, root and reciprocal. */
function roundedScale(x: Float64Array, squares: number, scale: number, at: Site): number {
  const term = scratch(x.length);
  for (let i = 0; i < x.length; i++) {
    term[i] = x[i]! * x[i]!;
  }
  const { b, variance } = sumError(term, x.length, at.profile.rows, productKind(at.profile));
  const relative = squares > 0 ? 1 / (2 * squares) : 0;
  return at.after(
    0,
    scale,
    scale * (b * relative + 3 * U32),
    scale * Math.sqrt(variance * relative * relative + (2.5 * U32 * U32) / 3),
  );
}

/** x / (1 + e^-x) */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** Of a row. */
export function siluRow(x: Float64Array, at?: Site): Float64Array {
  return roundedRow(x.map(silu), at, 5, 2);
}

/** ln(1 + e^dt); above 20 dt itself. */
export function softplus(dt: number): number {
  return dt > 20 ? dt : Math.log1p(Math.exp(dt));
}

/** Of a row. */
export function softplusRow(dt: Float64Array, at?: Site): Float64Array {
  const y = dt.map(softplus);
  if (at?.profile.softplus !== 'log') return roundedRow(y, at, 4, 2);
  // 1 + e^x is rounded to float32 before the logarithm: half a unit of 1, however small the result is.
  return y.map((yi, i) =>
    at.after(i, yi, U32 * (1 + 4 * Math.abs(yi)), U32 * Math.sqrt(1 / 3 + 4 * yi * yi)),
  );
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

/** Which channels of a head turn together: (2i, 2i+1), or (i, i + n_rot/2). */
export type RopeType = 'NORMAL' | 'NEOX';

export interface RopeShape {
  /** NORMAL if it is not given. */
  readonly type?: RopeType;
  readonly n_embd_head: number;
  /** Channels of a head that are rotated, from its first on; the others are copied. */
  readonly n_rot: number;
  readonly freq_base: number;
  readonly freq_scale: number;
}

/** The two channels of a head that are pair i. */
export function pairOf({ type, n_rot }: RopeShape, i: number): readonly [number, number] {
  return type === 'NEOX' ? [i, i + n_rot / 2] : [2 * i, 2 * i + 1];
}

/** Pair i of each head turns by pos * freq_scale * base^(-2i/n_rot). */
export function rope(x: Float64Array, pos: number, shape: RopeShape, at?: Site): Float64Array {
  const { n_embd_head, n_rot, freq_base, freq_scale } = shape;
  const y = x.slice();
  const [atAngle, atCos, atSin] = [at?.step('angle'), at?.step('cos'), at?.step('sin')];
  for (let i = 0; 2 * i < n_rot; i++) {
    const angle = roundedAngle(pos * freq_scale * freq_base ** ((-2 * i) / n_rot), i, atAngle);
    const cos = roundedTurn(Math.cos(angle), i, atCos);
    const sin = roundedTurn(Math.sin(angle), i, atSin);
    const [first, second] = pairOf(shape, i);
    for (let head = 0; head < x.length; head += n_embd_head) {
      const [a, b] = [head + first, head + second];
      y[a] = roundedPair(x[a]! * cos, -x[b]! * sin, a, at);
      y[b] = roundedPair(x[a]! * sin, x[b]! * cos, b, at);
    }
  }
  return y;
}

/** Error of an angle that is multiplied up in float32, channel by channel. */
function angleError(i: number, angle: number): { b: number; sigma: number } {
  const size = (i + 2) * U32 * Math.abs(angle);
  return { b: size, sigma: size / 3 };
}

function roundedAngle(angle: number, i: number, at: Site | undefined): number {
  if (at?.profile.rope !== 'F32') return angle;
  const { b, sigma } = angleError(i, angle);
  return at.after(i, angle, b, sigma);
}

function roundedTurn(y: number, i: number, at: Site | undefined): number {
  const size = U32 * Math.abs(y);
  return at ? at.after(i, y, size, size * ONCE) : y;
}

/** The sum of two products. */
function roundedPair(p: number, q: number, i: number, at: Site | undefined): number {
  const y = p + q;
  if (!at) return y;
  const b = U32 * (Math.abs(p) + Math.abs(q) + Math.abs(y));
  return at.after(i, y, b, U32 * ONCE * Math.sqrt(p * p + q * q + y * y));
}

/** What the bounded operators (`kernels-white.ts`) are put together from: values, each with how far it may be off. */
import type { BoundedOutput } from '../contract/operators.ts';
import type { RoundingProfile } from '../contract/subject.ts';
import { add, joined, type Matrix, matVec, mul, rmsNorm, siluRow } from './math.ts';
import { type Site, TINY32, U32 } from './rounding.ts';

/** Keeps what each step says. */
export class Kept implements Site {
  readonly profile: RoundingProfile;
  readonly b: number[] = [];
  readonly #steps = new Map<string, Kept>();

  constructor(profile: RoundingProfile) {
    this.profile = profile;
  }

  after(element: number, y: number, b: number): number {
    this.b[element] = b;
    return y;
  }

  step(name: string): Kept {
    let step = this.#steps.get(name);
    if (step === undefined) {
      step = new Kept(this.profile);
      this.#steps.set(name, step);
    }
    return step;
  }
}

/** Values and how far each may be off. */
export interface Row {
  readonly v: Float64Array;
  readonly e: Float64Array;
}

export function exact(v: ArrayLike<number>): Row {
  return { v: Float64Array.from(v), e: new Float64Array(v.length) };
}

/** The sum is off by what its terms are off. An addition loses nothing below the normal range. */
export function plus(x: Row, y: Row, profile: RoundingProfile): Row {
  const at = new Kept(profile);
  const v = add(x.v, y.v, at);
  const e = v.map((_, i) => (x.e[i]! + y.e[i]!) * (1 + U32) + at.b[i]!);
  return { v, e };
}

/** (x + dx)(y + dy) - x y = x dy + y dx + dx dy. */
export function times(x: Row, y: Row, profile: RoundingProfile): Row {
  const at = new Kept(profile);
  const v = mul(x.v, y.v, at);
  const e = v.map((_, i) => {
    const carried = Math.abs(x.v[i]!) * y.e[i]! + Math.abs(y.v[i]!) * x.e[i]! + x.e[i]! * y.e[i]!;
    return carried * (1 + U32) + at.b[i]! + TINY32;
  });
  return { v, e };
}

/** From here on e^-x is infinite in float32 and SiLU is zero; what is lost is below 88.8 e^-88.7 < 2^-121. */
const SILU_END = -88;

/** Taylor's formula, with the second derivative at most 1/2. */
export function silued(x: Row, profile: RoundingProfile): Row {
  const at = new Kept(profile);
  const v = siluRow(x.v, at);
  const e = v.map((_, i) => {
    const [xi, ei] = [x.v[i]!, x.e[i]!];
    const sigmoid = 1 / (1 + Math.exp(-xi));
    const slope = Math.abs(sigmoid * (1 + xi * (1 - sigmoid)));
    const lost = xi - ei < SILU_END ? 2 ** -121 : TINY32;
    return (slope * ei + (ei * ei) / 4) * (1 + 5 * U32) + at.b[i]! + lost;
  });
  return { v, e };
}

/**
 * An RMS norm. Its scale has one relative error g for the whole row: a product of powers of factors 1 + d whose
 * first-order errors sum up to `first`, (1 - 2 first)^(-1/2) - 1 <= g; each element's own products round too.
 *
 * Where the row is off by e, mean + eps changes by a share of `changed` at most, so the scale grows by (1 - changed)^(-1/2)
 * at most. And no element moves by more than |e| / sqrt(eps), which is what holds where the change is as large as the mean.
 */
export function normed(x: Row, eps: number, w: Float64Array | undefined, profile: RoundingProfile): Row {
  const at = new Kept(profile);
  const v = rmsNorm(x.v, eps, w, at);
  const n = v.length;
  let [squares, moved, distance] = [0, 0, 0];
  x.v.forEach((xi, i) => {
    const ei = x.e[i]!;
    squares += xi * xi;
    moved += 2 * Math.abs(xi) * ei + ei * ei;
    distance += ei * ei;
  });
  const mean = squares / n + eps;
  const scale = 1 / Math.sqrt(mean);
  const changed = moved / n / mean;
  const grown = 1 / Math.sqrt(1 - changed);
  const farthest = distance === 0 ? 0 : Math.sqrt(distance / eps);
  const first = at.step('scale').b[0]! / scale + TINY32 / (2 * mean);
  const g = first / (1 - 2 * first);
  const e = v.map((vi, i) => {
    const size = Math.abs(w?.[i] ?? 1);
    const near = (x.e[i]! * grown + Math.abs(x.v[i]!) * (grown - 1)) * scale;
    const carried = size * (changed < 1 ? Math.min(near, farthest) : farthest);
    const own = Math.abs(vi) * g + at.b[i]! * (1 + g) + (w ? 1 + size : 1) * TINY32;
    return carried * (1 + g) * (1 + 3 * U32) + own;
  });
  return { v, e };
}

export function rowsOf(data: Float32Array, n: number): Float64Array[] {
  const rows: Float64Array[] = [];
  for (let at = 0; at < data.length; at += n) rows.push(Float64Array.from(data.subarray(at, at + n)));
  return rows;
}

export function matrixOf(data: Float32Array, n_in: number, half: boolean): Matrix {
  return { n_in, n_out: data.length / n_in, data: Float64Array.from(data), half };
}

export function output(name: 'result' | 'state', n: number, rows: readonly Row[]): BoundedOutput {
  return { name, n, values: joined(rows.map(({ v }) => v)), bounds: joined(rows.map(({ e }) => e)) };
}

/** sum |w| dx of each output, for inputs that were rounded to F16 first. */
function castErrors({ n_in, n_out, data }: Matrix, at: Kept): Float64Array {
  const off = at.step('cast').b;
  const e = new Float64Array(n_out);
  if (off.length === 0) return e;
  for (let o = 0; o < n_out; o++)
    for (let i = 0; i < n_in; i++) e[o]! += Math.abs(data[o * n_in + i]!) * off[i]!;
  return e;
}

/** w x: sums carry the bound of their order. */
export function multiplied(w: Matrix, x: Float64Array, profile: RoundingProfile): Row {
  const at = new Kept(profile);
  const v = matVec(w, x, at);
  const cast = castErrors(w, at);
  const k = w.n_in;
  return { v, e: v.map((_, o) => at.b[o]! + cast[o]! * (1 + (k + 1) * U32) + k * TINY32) };
}

/** Below the normal range an exponential of float32 is good to 4 TINY32, and so is softplus there. */
export const LOST_EXP = 4 * TINY32;

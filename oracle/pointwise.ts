/**
 * Functions of single numbers, each with its slope and with how far a float32 program may be from it (spec: verdicts.md
 * 5; ReLU^2 and exp: architectures.md 0.2 and 9). They are operators of one kind: `apply` in `operators.ts`.
 */
import { type Site, TINY32, U32 } from './rounding.ts';

interface Pointwise {
  readonly f: (x: number) => number;
  /** Derivative at x, or the largest one within `reach` of x where it changes quickly. */
  readonly slope: (x: number, reach: number) => number;
  /** Largest error and standard deviation, in units of u times the value. */
  readonly b: number;
  readonly sigma: number;
}

const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

const FUNCTIONS = {
  tanh: { f: Math.tanh, slope: (x) => 1 - Math.tanh(x) ** 2, b: 5, sigma: 2 },
  sigmoid: { f: logistic, slope: (x) => logistic(x) * logistic(-x), b: 5, sigma: 2 },
  exp: { f: Math.exp, slope: Math.exp, b: 4, sigma: 2 },
  // What is a little below zero may be above.
  reluSquared: {
    f: (x) => Math.max(x, 0) ** 2,
    slope: (x, reach) => (x > -reach ? 2 * Math.abs(x) : 0),
    b: 2,
    sigma: 1,
  },
} as const satisfies Record<string, Pointwise>;

export type PointwiseName = keyof typeof FUNCTIONS;

/** The function of each number of a row. */
export function pointwise(name: PointwiseName, x: Float64Array, at?: Site): Float64Array {
  const { f, b, sigma } = FUNCTIONS[name];
  const y = x.map((xi) => f(xi));
  if (at === undefined) return y;
  return y.map((yi, i) => {
    const unit = U32 * Math.abs(yi);
    return at.after(i, yi, b * unit + TINY32, sigma * unit + TINY32);
  });
}

/** How much y moves if x does; `reach` is how far x may be off. */
export function slopeOf(name: PointwiseName, x: number, reach: number): number {
  return FUNCTIONS[name].slope(x, reach);
}

/** A row times a number that is a float32. By a power of two, or its negative, it is exact. */
export function scaled(x: Float64Array, factor: number, at?: Site): Float64Array {
  const y = x.map((xi) => xi * factor);
  if (at === undefined) return y;
  const unit = Number.isInteger(Math.log2(Math.abs(factor))) ? 0 : U32;
  return y.map((yi, i) => at.after(i, yi, unit * Math.abs(yi), (unit * Math.abs(yi)) / Math.sqrt(3)));
}

/** x + (to - x) by: a row on the way from one to another. Three roundings; the difference is one row for all ways. */
export function lerp(x: Float64Array, to: Float64Array, by: Float64Array, at?: Site): Float64Array {
  const y = x.map((xi, i) => xi + (to[i]! - xi) * by[i]!);
  if (at === undefined) return y;
  return y.map((yi, i) => {
    const way = Math.abs((to[i]! - x[i]!) * by[i]!);
    const b = U32 * (2 * way + Math.abs(yi));
    return at.after(i, yi, b, U32 * Math.sqrt((2 * way * way + yi * yi) / 3));
  });
}

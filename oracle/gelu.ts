/**
 * GELU in its tanh form (spec: architectures.md 0.2), and how far a subject may be from it, by the way in which it says
 * that it makes it (`RoundingProfile.gelu`).
 */
import { halfError } from './math.ts';
import { type Site, U32 } from './rounding.ts';

const K = Math.sqrt(2 / Math.PI);
const A = 0.044715;

/** y = k x (1 + a x^2), of which GELU takes the hyperbolic tangent. */
function inner(x: number): number {
  return K * x * (1 + A * x * x);
}

/** 1 / (1 + e^-2y) = (1 + tanh y) / 2 */
function share(y: number): number {
  return 1 / (1 + Math.exp(-2 * y));
}

/** x (1 + tanh y) / 2, without the cancellation where x is negative. */
export function gelu(x: number): number {
  return x * share(inner(x));
}

/** Derivative of GELU. */
export function slopeOfGelu(x: number): number {
  const y = inner(x);
  return share(y) + x * share(y) * share(-y) * 2 * K * (1 + 3 * A * x * x);
}

/** Of a row. */
export function geluRow(x: Float64Array, at?: Site): Float64Array {
  return x.map((xi, i) => {
    const y = gelu(xi);
    if (at === undefined) return y;
    const { b, sigma } = error(xi, y, at.profile.gelu);
    return at.after(i, y, b, sigma);
  });
}

/** A table ends here: beyond, GELU is x or 0, and nothing is rounded. Values near the border may be on either side. */
const TABLE_END = 10.01;

function error(x: number, v: number, how: Site['profile']['gelu']): { b: number; sigma: number } {
  if (how === 'F16 table') {
    if (Math.abs(x) > TABLE_END) return { b: Math.abs(x < 0 ? v : x - v), sigma: 0 };
    const [moved, own] = [Math.abs(slopeOfGelu(x)) * halfError(x), halfError(v)];
    return { b: moved + own, sigma: Math.sqrt((moved * moved + own * own) / 3) };
  }
  const y = inner(x);
  const slope = Math.abs(x) * share(y) * share(-y);
  // y has six roundings, which move 2y as much. A logistic function loses three units of its exponential, a tangent
  // five of itself, however much of it 1 + tanh y cancels. Then a sum and a product or quotient.
  const own = how === 'logistic' ? 3 * slope : 2.5 * Math.abs(x * Math.tanh(y));
  const b = U32 * (12 * slope * Math.abs(y) + own + 2 * Math.abs(v));
  return { b, sigma: 0.4 * b };
}

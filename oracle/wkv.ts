/**
 * The recurrences of RWKV-6 and RWKV-7 for one token (spec: batching.md 11, `rwkv_wkv6` and `rwkv_wkv7`). A head of n
 * channels keeps a matrix of n keys and n values. The given state is left as it is.
 */
import { scratch } from './math.ts';
import { type Site, TINY32, U32 } from './rounding.ts';
import { productKind, sumError } from './sum.ts';

/** What one token gives RWKV-6, each {n_head * n}; w is the share that each key keeps. */
export interface Wkv6Input<R> {
  readonly r: R;
  readonly k: R;
  readonly v: R;
  readonly w: R;
}

/** What one token gives RWKV-7; kappa is the removal key, of unit length in each head, iclr the rate of learning. */
export interface Wkv7Input<R> extends Wkv6Input<R> {
  readonly kappa: R;
  readonly iclr: R;
}

export interface WkvResult<R> {
  /** {n_head * n} */
  readonly y: R;
  readonly state: R;
}

/**
 * y_j = sum_i r_i (u_i k_i v_j + M_ij) with the old M, then M_ij = M_ij w_i + k_i v_j, in each head. `u` is the bonus of
 * the present token. Element (i, j) of head h is number (h n + i) n + j of the state.
 */
export function wkv6(
  state: Float64Array,
  { r, k, v, w }: Wkv6Input<Float64Array>,
  u: Float64Array,
  n_head: number,
  at?: Site,
): WkvResult<Float64Array> {
  const n = r.length / n_head;
  const y = new Float64Array(r.length);
  const next = new Float64Array(state.length);
  const atState = at?.step('state');
  for (let h = 0; h < n_head; h++) {
    for (let j = h * n; j < (h + 1) * n; j++) {
      const term = scratch(n);
      const own = { b: 0, variance: 0 };
      for (let i = h * n; i < (h + 1) * n; i++) {
        const place = i * n + (j - h * n);
        const [old, input, kept] = [state[place]!, k[i]! * v[j]!, state[place]! * w[i]!];
        const seen = u[i]! * input + old;
        term[i - h * n] = r[i]! * seen;
        y[j]! += r[i]! * seen;
        next[place] = kept + input;
        if (at === undefined) continue;
        // The input, the bonus and their sum with the state are rounded in each term.
        addError(own, r[i]!, [u[i]! * input, u[i]! * input, seen]);
        next[place] = roundedSum(place, [kept, input], atState!);
      }
      if (at) y[j] = roundedOutput(j, y[j]!, term, n, own, at);
    }
  }
  return { y, state: next };
}

/**
 * With a = -kappa and b = kappa iclr: s_i = sum_j a_j M_ij, M_ij = M_ij w_j + v_i k_j + s_i b_j, y_i = sum_j M_ij r_j with
 * the new M, in each head. Here i counts values and j keys: element (i, j) of head h is number (h n + i) n + j.
 */
export function wkv7(
  state: Float64Array,
  { r, w, k, v, kappa, iclr }: Wkv7Input<Float64Array>,
  n_head: number,
  at?: Site,
): WkvResult<Float64Array> {
  const n = r.length / n_head;
  const y = new Float64Array(r.length);
  const next = new Float64Array(state.length);
  const [atRemoved, atState] = [at?.step('removed'), at?.step('state')];
  for (let h = 0; h < n_head; h++) {
    for (let i = h * n; i < (h + 1) * n; i++) {
      const term = scratch(n);
      const row = i * n - h * n;
      let removed = 0;
      for (let j = h * n; j < (h + 1) * n; j++) {
        term[j - h * n] = -kappa[j]! * state[row + j]!;
        removed += term[j - h * n]!;
      }
      if (atRemoved) removed = roundedOutput(i, removed, term, n, { b: 0, variance: 0 }, atRemoved);
      for (let j = h * n; j < (h + 1) * n; j++) {
        const place = row + j;
        const parts = [state[place]! * w[j]!, v[i]! * k[j]!, removed * kappa[j]! * iclr[j]!] as const;
        next[place] = parts[0] + parts[1] + parts[2];
        // b, its product with s, and the sum of two before the third.
        if (atState)
          next[place] = roundedSum(place, [...parts, parts[2], parts[1] + parts[2]], atState, next[place]!);
        term[j - h * n] = next[place]! * r[j]!;
        y[i]! += term[j - h * n]!;
      }
      if (at) y[i] = roundedOutput(i, y[i]!, term, n, { b: 0, variance: 0 }, at);
    }
  }
  return { y, state: next };
}

interface Own {
  b: number;
  variance: number;
}

/** Adds the roundings of `sizes`, times a factor. */
function addError(own: Own, factor: number, sizes: readonly number[]): void {
  for (const size of sizes) {
    const error = U32 * Math.abs(factor * size);
    own.b += error;
    own.variance += (error * error) / 3;
  }
}

/** A sum whose parts and itself are rounded. */
function roundedSum(
  place: number,
  parts: readonly number[],
  at: Site,
  sum = parts.reduce((a, b) => a + b, 0),
): number {
  const own = { b: 0, variance: 0 };
  addError(own, 1, [...parts, sum]);
  return at.after(place, sum, own.b + TINY32, Math.sqrt(own.variance) + TINY32);
}

/** A sum of products, whose terms have errors of their own. */
function roundedOutput(
  element: number,
  y: number,
  term: Float64Array,
  n: number,
  own: Own,
  at: Site,
): number {
  const { b, variance } = sumError(term, n, at.profile.products, productKind(at.profile));
  return at.after(element, y, b + own.b, Math.sqrt(variance + own.variance));
}

/**
 * The selective scan of Mamba-2 (spec: batching.md 11, `ssm_scan` with one A per head). A head is d_inner / n_head
 * channels, one behind the other; head h takes B and C of group floor(h / (n_head / n_group)).
 */
import { scratch, softplusRow } from './math.ts';
import { type Site, TINY32, U32 } from './rounding.ts';
import type { ScanResult } from './ssm.ts';
import { productKind, sumError } from './sum.ts';

/** What one token gives the scan. */
export interface HeadScanInput {
  /** {d_inner} */
  readonly x: Float64Array;
  /** {n_head}, before softplus. */
  readonly dt: Float64Array;
  /** {d_state, n_group} */
  readonly B: Float64Array;
  /** {d_state, n_group} */
  readonly C: Float64Array;
}

/** Which head, and which group, a channel belongs to. */
export function placeOf(
  c: number,
  d_inner: number,
  n_head: number,
  n_group: number,
): { h: number; g: number } {
  const h = Math.floor(c / (d_inner / n_head));
  return { h, g: Math.floor(h / (n_head / n_group)) };
}

/**
 * Token by token: delta_h = softplus(dt_h), decay_h = exp(delta_h A_h), s_nc = s_nc decay_h + B_ng (x_c delta_h),
 * y_c = sum_n s_nc C_ng with the new s. A is {n_head}; a state is {d_state, d_inner}, element n + d_state * c, and the
 * given one is left as it is.
 */
export function ssmScanHeads(
  state: Float64Array,
  A: Float64Array,
  tokens: readonly HeadScanInput[],
  n_group: number,
  at?: Site,
): ScanResult {
  const s = state.slice();
  const [atDecay, atInput, atState] = [at?.step('decay'), at?.step('input'), at?.step('state')];
  const y = tokens.map(({ x, dt, B, C }) => {
    const d_state = B.length / n_group;
    const deltas = softplusRow(dt, at?.step('softplus'));
    const decays = deltas.map((delta, h) => decayOf(delta * A[h]!, h, atDecay));
    return x.map((xc, c) => {
      const { h, g } = placeOf(c, x.length, A.length, n_group);
      const input = inputOf(xc * deltas[h]!, c, atInput);
      const terms = scratch(d_state);
      let sum = 0;
      for (let n = 0; n < d_state; n++) {
        const i = n + d_state * c;
        const kept = s[i]! * decays[h]!;
        const fed = B[n + d_state * g]! * input;
        s[i] = atState ? roundedState(kept, fed, i, atState) : kept + fed;
        terms[n] = s[i]! * C[n + d_state * g]!;
        sum += terms[n]!;
      }
      if (!at) return sum;
      const { b, variance } = sumError(terms, d_state, at.profile.rows, productKind(at.profile));
      return at.after(c, sum, b, Math.sqrt(variance));
    });
  });
  return { y, state: s };
}

/** Rounded once a head: the exponent moves it by as much as it is large, the exponential by two units. */
function decayOf(exponent: number, h: number, at: Site | undefined): number {
  const y = Math.exp(exponent);
  const size = U32 * (Math.abs(exponent) + 2) * y;
  return at ? at.after(h, y, size, size / 2) : y;
}

/** x delta, rounded once for all states of a channel. */
function inputOf(y: number, c: number, at: Site | undefined): number {
  const size = U32 * Math.abs(y);
  return at ? at.after(c, y, size, size / Math.sqrt(3)) : y;
}

/** Two products and their sum. */
function roundedState(kept: number, fed: number, i: number, at: Site): number {
  const y = kept + fed;
  const b = U32 * (Math.abs(kept) + Math.abs(fed) + Math.abs(y)) + TINY32;
  return at.after(i, y, b, U32 * Math.sqrt((kept * kept + fed * fed + y * y) / 3) + TINY32);
}

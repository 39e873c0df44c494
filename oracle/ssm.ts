/**
 * The two operators of Mamba: a causal convolution over time and the selective scan (spec: batching.md 11, `ssm_conv`
 * and `ssm_scan` of Mamba-1). Time is an array of columns, one a token.
 */
import { type Matrix, scratch, softplusRow } from './math.ts';
import { type Site, TINY32, U32 } from './rounding.ts';
import { productKind, sumError } from './sum.ts';

/** out_t[c] = sum_k columns[t+k][c] w[k,c], for all t for which d_conv columns are there. w is {d_conv, n_channel}. */
export function ssmConv(columns: readonly Float64Array[], w: Matrix, at?: Site): Float64Array[] {
  const d_conv = w.n_in;
  const out: Float64Array[] = [];
  for (let t = 0; t + d_conv <= columns.length; t++) {
    const y = new Float64Array(w.n_out);
    for (let c = 0; c < w.n_out; c++) {
      const term = scratch(d_conv);
      for (let k = 0; k < d_conv; k++) {
        term[k] = columns[t + k]![c]! * w.data[c * d_conv + k]!;
        y[c]! += term[k]!;
      }
      if (at) {
        const { b, variance } = sumError(term, d_conv, { order: 'sequential' }, productKind(at.profile));
        y[c] = at.after(t * w.n_out + c, y[c]!, b, Math.sqrt(variance));
      }
    }
    out.push(y);
  }
  return out;
}

/** What one token gives the scan. */
export interface ScanInput {
  /** {d_inner} */
  readonly x: Float64Array;
  /** {d_inner}, before softplus. */
  readonly dt: Float64Array;
  /** {d_state} */
  readonly B: Float64Array;
  /** {d_state} */
  readonly C: Float64Array;
}

export interface ScanResult {
  /** {d_inner} for each token. */
  readonly y: Float64Array[];
  /** {d_state, d_inner}: element n + d_state * c. */
  readonly state: Float64Array;
}

/**
 * Token by token: delta = softplus(dt_c), s_nc = s_nc exp(delta A_nc) + B_n (x_c delta), y_c = sum_n s_nc C_n with the
 * new s. A is {d_state, d_inner}; the given state is left as it is.
 */
export function ssmScan(state: Float64Array, A: Matrix, tokens: readonly ScanInput[], at?: Site): ScanResult {
  const d_state = A.n_in;
  const d_inner = A.n_out;
  const s = state.slice();
  const atState = at?.step('state');
  const y = tokens.map(({ x, dt, B, C }) => {
    const out = new Float64Array(d_inner);
    const deltas = softplusRow(dt, at?.step('softplus'));
    for (let c = 0; c < d_inner; c++) {
      const delta = deltas[c]!;
      let sum = 0;
      for (let n = 0; n < d_state; n++) {
        const i = n + d_state * c;
        const kept = s[i]! * Math.exp(delta * A.data[i]!);
        const input = B[n]! * (x[c]! * delta);
        s[i] = kept + input;
        if (atState) s[i] = roundedState(kept, delta * A.data[i]!, input, i, atState);
        sum += s[i]! * C[n]!;
      }
      out[c] = at ? roundedOutput(s, C, c, sum, at) : sum;
    }
    return out;
  });
  return { y, state: s };
}

/** A state that decays by e^exponent and takes an input: the exponential, two products and the sum are rounded. */
function roundedState(kept: number, exponent: number, input: number, i: number, at: Site): number {
  const y = kept + input;
  const decay = Math.abs(kept) * (Math.abs(exponent) + 3);
  const b = U32 * (decay + 2 * Math.abs(input) + Math.abs(y)) + TINY32;
  const spread = Math.abs(kept) * (Math.abs(exponent) + 2);
  return at.after(i, y, b, (U32 / 2) * Math.sqrt(spread * spread + 2 * input * input + y * y) + TINY32);
}

function roundedOutput(s: Float64Array, C: Float64Array, c: number, y: number, at: Site): number {
  const term = scratch(C.length);
  for (let n = 0; n < C.length; n++) {
    term[n] = s[n + C.length * c]! * C[n]!;
  }
  const { b, variance } = sumError(term, C.length, at.profile.rows, productKind(at.profile));
  return at.after(c, y, b, Math.sqrt(variance));
}

/**
 * The two operators of Mamba: a causal convolution over time and the selective scan (spec: batching.md 11, `ssm_conv`
 * and `ssm_scan` of Mamba-1). Time is an array of columns, one a token.
 */
import { type Matrix, softplus } from './math.ts';

/** out_t[c] = sum_k columns[t+k][c] w[k,c], for all t for which d_conv columns are there. w is {d_conv, n_channel}. */
export function ssmConv(columns: readonly Float64Array[], w: Matrix): Float64Array[] {
  const d_conv = w.n_in;
  const out: Float64Array[] = [];
  for (let t = 0; t + d_conv <= columns.length; t++) {
    const y = new Float64Array(w.n_out);
    for (let c = 0; c < w.n_out; c++) {
      for (let k = 0; k < d_conv; k++) {
        y[c]! += columns[t + k]![c]! * w.data[c * d_conv + k]!;
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
export function ssmScan(state: Float64Array, A: Matrix, tokens: readonly ScanInput[]): ScanResult {
  const d_state = A.n_in;
  const d_inner = A.n_out;
  const s = state.slice();
  const y = tokens.map(({ x, dt, B, C }) => {
    const out = new Float64Array(d_inner);
    for (let c = 0; c < d_inner; c++) {
      const delta = softplus(dt[c]!);
      let sum = 0;
      for (let n = 0; n < d_state; n++) {
        const i = n + d_state * c;
        s[i] = s[i]! * Math.exp(delta * A.data[i]!) + B[n]! * (x[c]! * delta);
        sum += s[i]! * C[n]!;
      }
      out[c] = sum;
    }
    return out;
  });
  return { y, state: s };
}

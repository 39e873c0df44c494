/**
 * The operators of RWKV one by one, as plain arrays (`operators.ts`). Heads lie one behind the other: channel c of head h
 * is number h d + c of a row. Rows of a set of tokens stand together, set after set; states are null for zeros.
 */

/** (x - mean) / sqrt(variance + eps) * weight + bias for each of n_part parts of d channels; weight and bias for all. */
export interface LayerNormInput {
  readonly op: 'layerNorm';
  readonly n_part: number;
  readonly d: number;
  readonly rows: number;
  readonly eps: number;
  readonly x: Float32Array;
  readonly weight: Float32Array;
  readonly bias: Float32Array;
}

/** The row before each row of its set, for the first the state {n}. Also answers the new states, the last rows. */
export interface TokenShiftInput {
  readonly op: 'tokenShift';
  readonly n: number;
  readonly n_seq_tokens: number;
  readonly x: Float32Array;
  readonly states: readonly (Float32Array | null)[];
}

/** x + (to - x) by; `by` is weight {n}, or way {n, rows}, or their sum. At least one is there. */
export interface LerpInput {
  readonly op: 'lerp';
  readonly n: number;
  readonly rows: number;
  readonly x: Float32Array;
  readonly to: Float32Array;
  readonly weight: Float32Array | null;
  readonly way: Float32Array | null;
}

/** tanh, sigmoid, max(x, 0)^2, exp(-exp(x)), exp(c sigmoid(x)) with c the float32 nearest to -0.606531. */
export type PointwiseFunction = 'tanh' | 'sigmoid' | 'reluSquared' | 'decay6' | 'decay7';

export interface PointwiseInput {
  readonly op: 'pointwise';
  readonly f: PointwiseFunction;
  readonly n: number;
  readonly rows: number;
  readonly x: Float32Array;
}

/** (x + sigmoid(gate) y) scale; all {n, rows}, the scale a power of two. */
export interface GatedAddInput {
  readonly op: 'gatedAdd';
  readonly n: number;
  readonly rows: number;
  readonly gate: Float32Array;
  readonly y: Float32Array;
  readonly x: Float32Array;
  readonly scale: number;
}

interface Heads {
  readonly n_head: number;
  readonly d: number;
}

/** What both recurrences read of each token, {n_head d, tokens}, and the states {d, d, n_head} that they begin with. */
interface Recurrence extends Heads {
  readonly n_seq_tokens: number;
  readonly r: Float32Array;
  readonly w: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly states: readonly (Float32Array | null)[];
}

/** y_j = sum_i r_i (u_i k_i v_j + M_ij), then M_ij = M_ij w_i + k_i v_j; u is {n_head d}. Also answers the new states. */
export interface Wkv6OperatorInput extends Recurrence {
  readonly op: 'wkv6';
  readonly u: Float32Array;
}

/**
 * s_i = -sum_j kappa_j M_ij, M_ij = M_ij w_j + v_i k_j + s_i kappa_j iclr_j, y_i = sum_j M_ij r_j. Also answers the new
 * states.
 */
export interface Wkv7OperatorInput extends Recurrence {
  readonly op: 'wkv7';
  readonly kappa: Float32Array;
  readonly iclr: Float32Array;
}

/**
 * Of each row and head: kappa = (k scale) / max(|k scale|, 1e-12), then kappa iclr, then k (1 + (iclr - 1) share): three
 * rows behind each other. scale and share are {n_head d}.
 */
export interface Wkv7KeysInput extends Heads {
  readonly op: 'wkv7Keys';
  readonly rows: number;
  readonly k: Float32Array;
  readonly iclr: Float32Array;
  readonly scale: Float32Array;
  readonly share: Float32Array;
}

/** (y + v sum(k r rk)) g, the sum over the channels of a head; rk is {n_head d}, all else {n_head d, rows}. */
export interface Wkv7OutputInput extends Heads {
  readonly op: 'wkv7Output';
  readonly rows: number;
  readonly y: Float32Array;
  readonly r: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly g: Float32Array;
  readonly rk: Float32Array;
}

export type RwkvInput =
  | LayerNormInput
  | TokenShiftInput
  | LerpInput
  | PointwiseInput
  | GatedAddInput
  | Wkv6OperatorInput
  | Wkv7OperatorInput
  | Wkv7KeysInput
  | Wkv7OutputInput;

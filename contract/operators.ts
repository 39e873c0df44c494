/**
 * The operators of a forward pass one by one, as plain arrays: what a white-box property needs to compare the kernels
 * of an engine with the oracle's formulas (spec: verdicts.md 4). An operator here is what one kernel does in one go, so
 * a convolution comes with its bias and SiLU.
 *
 * Matrices and tables are rows of the input width, row-major; numbers of type F16 are given as the floats that they
 * stand for, so they lose nothing when they are stored.
 */
import type { RwkvInput } from './operators-rwkv.ts';
import type { RoundingProfile } from './subject.ts';

export type ElementType = 'F32' | 'F16';

/** Rows `tokens` of a table {n, n_vocab}. */
export interface EmbedInput {
  readonly op: 'embed';
  readonly n: number;
  readonly type: ElementType;
  readonly table: Float32Array;
  readonly tokens: readonly number[];
}

/** x / sqrt(mean(x^2) + eps), times `weight` {n} if there is one; x is {n, rows}. `eps` is a float32. */
export interface RmsNormInput {
  readonly op: 'rmsNorm';
  readonly n: number;
  readonly rows: number;
  readonly eps: number;
  readonly x: Float32Array;
  readonly weight: Float32Array | null;
}

/** As `RmsNormInput` of each head by itself, with one `weight` {n_embd_head} or none; x is {n_head * n_embd_head, rows}. */
export interface HeadNormInput {
  readonly op: 'headNorm';
  readonly n_head: number;
  readonly n_embd_head: number;
  readonly rows: number;
  readonly eps: number;
  readonly x: Float32Array;
  readonly weight: Float32Array | null;
}

/** w x, then + bias {n}, then + old {n, rows}, where given; x is {k, rows}, w {k, n}. */
export interface MatmulInput {
  readonly op: 'matmul';
  readonly k: number;
  readonly n: number;
  readonly rows: number;
  readonly type: ElementType;
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly bias: Float32Array | null;
  readonly old: Float32Array | null;
}

/**
 * Pairs of channels of each head, (2i, 2i+1) or (i, i + n_rot/2) for NEOX, 2i < n_rot, turned by
 * pos * freq_scale * freq_base^(-2i/n_rot).
 */
export interface RopeInput {
  readonly op: 'rope';
  readonly rope_type: 'NORMAL' | 'NEOX';
  readonly n_head: number;
  readonly n_embd_head: number;
  readonly n_rot: number;
  readonly freq_base: number;
  readonly freq_scale: number;
  readonly pos: readonly number[];
  readonly x: Float32Array;
}

/** Rows {n} stored in memory and read again. Throws `memory.overflow` for a value that F16 cannot hold. */
export interface KvStoreInput {
  readonly op: 'kvStore';
  readonly n: number;
  readonly rows: number;
  readonly type: ElementType;
  readonly x: Float32Array;
}

/**
 * Attention of each query over the keys [begin, end) of one list. q is {n_head * n_embd_head, queries}, k and v are
 * {n_head_kv * n_embd_head, keys} in memory of `type`. Keys ascend by position. An empty range gives zeros. Scores are
 * q k / sqrt(n_embd_head), and with a `softcap` c (a float32) c tanh(score / c). With `alibi` (the largest bias) a score falls by
 * the slope of its head (spec: batching.md 6.5) for each position between its key and the last one of the range.
 */
export interface AttentionInput {
  readonly op: 'attention';
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  readonly softcap?: number;
  readonly alibi?: number;
  readonly type: ElementType;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly pos: readonly number[];
  readonly ranges: readonly (readonly [number, number])[];
}

/** SiLU(gate) * up, element by element; both {n, rows}. */
export interface SiluMulInput {
  readonly op: 'siluMul';
  readonly n: number;
  readonly rows: number;
  readonly gate: Float32Array;
  readonly up: Float32Array;
}

/** GELU(gate) * up, element by element; both {n, rows}. */
export interface GeluMulInput {
  readonly op: 'geluMul';
  readonly n: number;
  readonly rows: number;
  readonly gate: Float32Array;
  readonly up: Float32Array;
}

/** Row r * times + s is row r of x {n, rows} times `by` {times, rows}. */
export interface TimesEachInput {
  readonly op: 'timesEach';
  readonly n: number;
  readonly rows: number;
  readonly times: number;
  readonly x: Float32Array;
  readonly by: Float32Array;
}

/** x {n, rows} times a float32. */
export interface ScaleRowsInput {
  readonly op: 'scaleRows';
  readonly n: number;
  readonly rows: number;
  readonly factor: number;
  readonly x: Float32Array;
}

/** old + the norm of x (`RmsNormInput`); old and x are {n, rows}, weight {n}. */
export interface NormAddInput {
  readonly op: 'normAdd';
  readonly n: number;
  readonly rows: number;
  readonly eps: number;
  readonly x: Float32Array;
  readonly weight: Float32Array;
  readonly old: Float32Array;
}

/** cap tanh(x / cap) of output rows x {n, rows}; `cap` is a float32. */
export interface CapOutputsInput {
  readonly op: 'capOutputs';
  readonly n: number;
  readonly rows: number;
  readonly cap: number;
  readonly x: Float32Array;
}

/**
 * The `n_used` largest of each row of logits {n_expert, rows}, ties to the lower number. Answers rows of 2 n_used: their
 * numbers, ascending, then the softmax of their logits, or their shares in the softmax of all logits, or the sigmoid of each.
 */
export interface RouteInput {
  readonly op: 'route';
  readonly n_expert: number;
  readonly n_used: number;
  readonly shares: 'chosen' | 'all' | 'sigmoid';
  readonly rows: number;
  readonly logits: Float32Array;
}

/**
 * Products with one matrix each: row r * n_used + s is w[experts[r][s]] x, where x is row r, or row r * n_used + s if
 * `per_slot`. w is {k, n, n_expert}; experts of a row are different and ascend.
 */
export interface ExpertMatmulInput {
  readonly op: 'expertMatmul';
  readonly k: number;
  readonly n: number;
  readonly n_expert: number;
  readonly type: ElementType;
  readonly per_slot: boolean;
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly experts: readonly (readonly number[])[];
}

/** old + sum_s weight_s x_s; x is {n, n_used, rows}, weights {n_used, rows} (null: all are 1), old {n, rows}. */
export interface ExpertSumInput {
  readonly op: 'expertSum';
  readonly n: number;
  readonly n_used: number;
  readonly rows: number;
  readonly x: Float32Array;
  readonly weights: Float32Array | null;
  readonly old: Float32Array;
}

/**
 * SiLU(causal convolution + bias) of n_seq_tokens tokens a set, set after set; x is {n, tokens}, w {d_conv, n}, a state
 * the last d_conv-1 columns {n}, oldest first, or null for zeros. Also answers the new states.
 */
export interface SsmConvInput {
  readonly op: 'ssmConv';
  readonly n: number;
  readonly d_conv: number;
  readonly n_seq_tokens: number;
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly bias: Float32Array;
  readonly states: readonly (Float32Array | null)[];
}

/**
 * Selective scan: delta = softplus(dt), s = s exp(delta A) + B (x delta), y = sum s C. x and dt are {n, tokens}, B and C
 * {d_state, tokens}, A and each state {d_state, n}; a state is null for zeros. Also answers the new states.
 */
export interface SsmScanInput {
  readonly op: 'ssmScan';
  readonly n: number;
  readonly d_state: number;
  readonly n_seq_tokens: number;
  readonly x: Float32Array;
  readonly dt: Float32Array;
  readonly B: Float32Array;
  readonly C: Float32Array;
  readonly A: Float32Array;
  readonly states: readonly (Float32Array | null)[];
}

/**
 * gate * causal convolution of b x, over n_seq_tokens tokens a set; b, gate and x are {n, tokens}, w {d_conv, n}, a state
 * the last d_conv-1 columns of b x, oldest first, or null for zeros. Also answers the new states.
 */
export interface ShortConvInput {
  readonly op: 'shortConv';
  readonly n: number;
  readonly d_conv: number;
  readonly n_seq_tokens: number;
  readonly b: Float32Array;
  readonly gate: Float32Array;
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly states: readonly (Float32Array | null)[];
}

/** (y + skip x) * SiLU(z); y, x and z are {n, rows}, skip {n}. */
export interface SsmGateInput {
  readonly op: 'ssmGate';
  readonly n: number;
  readonly rows: number;
  readonly y: Float32Array;
  readonly x: Float32Array;
  readonly z: Float32Array;
  readonly skip: Float32Array;
}

/**
 * Selective scan with one A per head: heads of d_head channels, head h with B and C of group floor(h / (n_head /
 * n_group)). x is {n_head * d_head, tokens}, dt {n_head, tokens}, B and C {d_state * n_group, tokens}, A {n_head}, each
 * state {d_state, n_head * d_head} or null for zeros. Also answers the new states.
 */
export interface SsmScanHeadsInput {
  readonly op: 'ssmScanHeads';
  readonly n_head: number;
  readonly d_head: number;
  readonly n_group: number;
  readonly d_state: number;
  readonly n_seq_tokens: number;
  readonly x: Float32Array;
  readonly dt: Float32Array;
  readonly B: Float32Array;
  readonly C: Float32Array;
  readonly A: Float32Array;
  readonly states: readonly (Float32Array | null)[];
}

/**
 * v = (y + skip x) * SiLU(z), then v / sqrt(mean(v^2) + eps) * weight, the mean over each of n_group groups of
 * neighbouring channels; y, x and z are {n, rows}, skip and weight {n}. `eps` is a float32.
 */
export interface SsmGateNormInput {
  readonly op: 'ssmGateNorm';
  readonly n: number;
  readonly n_group: number;
  readonly rows: number;
  readonly eps: number;
  readonly y: Float32Array;
  readonly x: Float32Array;
  readonly z: Float32Array;
  readonly skip: Float32Array;
  readonly weight: Float32Array;
}

export type OperatorInput =
  | EmbedInput
  | RmsNormInput
  | HeadNormInput
  | MatmulInput
  | RopeInput
  | KvStoreInput
  | AttentionInput
  | SiluMulInput
  | RouteInput
  | ExpertMatmulInput
  | ExpertSumInput
  | GeluMulInput
  | ScaleRowsInput
  | TimesEachInput
  | NormAddInput
  | CapOutputsInput
  | SsmConvInput
  | SsmScanInput
  | SsmGateInput
  | SsmScanHeadsInput
  | SsmGateNormInput
  | ShortConvInput
  | RwkvInput;

export type OperatorName = OperatorInput['op'];

/** The input of the operator of this name. */
export type InputOf<Op extends OperatorName> = Extract<OperatorInput, { op: Op }>;

/** Rows of n numbers that an operator answers. */
export interface OperatorOutput {
  /** What it is: the `result`, or the new `state` of each set. */
  readonly name: 'result' | 'state';
  readonly n: number;
  readonly values: Float32Array;
}

/** The kernels of an engine, by implementation. */
export interface KernelBox {
  /** Implementations that run here, at least one. */
  readonly isas: readonly string[];
  /** All implementations give the same bits. */
  readonly same_bits: boolean;
  /** Throws `memory.overflow` (see `KvStoreInput`), `usage` for an unknown implementation. */
  run(isa: string, input: OperatorInput): readonly OperatorOutput[];
}

/** Rows of n exact numbers, and how far from each a subject may be by rounding. */
export interface BoundedOutput {
  readonly name: 'result' | 'state';
  readonly n: number;
  readonly values: Float64Array;
  /** Largest error of each. */
  readonly bounds: Float64Array;
}

/** The operators of the oracle, with the rigorous bound of each element for a subject that rounds as it says. */
export interface BoundedOperators {
  /** Throws `memory.overflow` (see `KvStoreInput`). */
  run(profile: RoundingProfile, input: OperatorInput): readonly BoundedOutput[];
}

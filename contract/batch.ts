/**
 * The batch, in llama.cpp's words (`include/llama.h`): what a caller submits, and what it becomes after
 * completion. Everything that crosses a room of the house uses these records, and they are plain JSON.
 */

/** Names a sequence: 0 <= id < n_seq_max. */
export type SeqId = number;
/** Position of a token in its sequences, from 0. */
export type Pos = number;

/**
 * What the caller submits. Only `token` is required.
 *
 * `pos` missing: each sequence goes on where memory ends. `seq_id` missing: every token belongs to {0}.
 * `logits` missing: only the last token is an output.
 */
export interface Batch {
  readonly token: readonly number[];
  readonly pos?: readonly Pos[];
  readonly seq_id?: readonly (readonly SeqId[])[];
  readonly logits?: readonly boolean[];
}

/** A batch that was validated and completed: every field is there, ids of a token ascend. */
export interface CompleteBatch {
  readonly token: readonly number[];
  readonly pos: readonly Pos[];
  readonly seq_id: readonly (readonly SeqId[])[];
  readonly logits: readonly boolean[];
}

/**
 * How a batch is cut into ubatches.
 *
 * - `simple`: the next n_ubatch tokens in batch order.
 * - `equal`: PR 8526: most shared first, a shared group alone, then shortest first, equal lengths.
 * - `equal-batch`: the newer equal split, sets chosen in batch order.
 * - `equal-sequential`: as `equal-batch`, and the first ids of neighbouring sets are consecutive numbers.
 * - `sequence`: one exact sequence set a ubatch.
 * - `whole`: no sequence set is ever cut.
 */
export type SplitPolicy = 'simple' | 'equal' | 'equal-batch' | 'equal-sequential' | 'sequence' | 'whole';

export const SPLIT_POLICIES: readonly SplitPolicy[] = [
  'simple',
  'equal',
  'equal-batch',
  'equal-sequential',
  'sequence',
  'whole',
];

export interface SplitOptions {
  readonly policy: SplitPolicy;
  /** Most tokens in a ubatch, at least 1. */
  readonly n_ubatch: number;
  /** Tail rule of `equal-batch` and `equal-sequential`: this many last tokens of a set stay together; 0 is off. */
  readonly n_keep_tail?: number;
  /** `none` (default): never more than n_ubatch tokens, ties by batch index. `upstream`: as the releases do. */
  readonly quirks?: 'none' | 'upstream';
}

/** One ubatch: n_seqs sets of n_seq_tokens tokens each, stored set after set; `index` are batch indices. */
export interface Ubatch {
  /** False for `simple`, where n_seqs = n_tokens and n_seq_tokens = 1. */
  readonly equal_seqs: boolean;
  readonly n_seqs: number;
  readonly n_seq_tokens: number;
  readonly index: readonly number[];
}

/** What kind of memory a model has; decides the legal split policies. */
export type MemoryKind = 'attention' | 'recurrent' | 'hybrid' | 'none';

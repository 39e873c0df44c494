/**
 * What a white-box subject shows: its rules, one by one, without a model. The oracle and our engine both offer this
 * interface, so that a white property is a comparison of two of them.
 */
import type { CompleteBatch, Pos, SeqId, SplitOptions, SplitPolicy, Ubatch } from './batch.ts';
import type { BoundedOperators, KernelBox } from './operators.ts';
import type { Window } from './subject.ts';

/** Recurrent memory of n_seq_max slots: bookkeeping only, no state data (spec: batching.md 4). */
export interface SlotMemory {
  /**
   * Puts the states of sets X_0 .. X_{N-1} into contiguous slots head .. head+N-1, in that order.
   *
   * `last_pos[s]` is the last position of set s after the ubatch of n_seq_tokens tokens a set.
   */
  findSlot(
    sets: readonly (readonly SeqId[])[],
    n_seq_tokens: number,
    last_pos: readonly Pos[],
  ): SlotPlacement;
  /** False if refused (a part of a state cannot be removed); then nothing changed. seq -1: all sequences. */
  seqRm(seq: SeqId, p0: Pos, p1: Pos): boolean;
  seqCp(from: SeqId, to: SeqId): void;
  seqKeep(seq: SeqId): void;
  clear(): void;
  seqPosMin(seq: SeqId): Pos;
  seqPosMax(seq: SeqId): Pos;
  view(): SlotView;
}

/** The window [head, head+n) of slots that an ubatch touches. */
export interface SlotPlacement {
  readonly head: number;
  readonly n: number;
  /** For each slot of the window: the row in which its state lies before the ubatch, or -1 for the zero state. */
  readonly src0: readonly number[];
}

export interface SlotView {
  readonly head: number;
  readonly used: number;
  /** seq ascending; pos -1 if empty; src = row in which the state lies, -1 = zero state. */
  readonly cells: readonly { readonly pos: Pos; readonly src: number; readonly seq: readonly SeqId[] }[];
  /** By sequence id: its slot, or -1. */
  readonly tail: readonly number[];
}

/** Attention memory of n_ctx cells: bookkeeping only (spec: batching.md 5). */
export interface CellMemory {
  /** Puts tokens into free cells, not necessarily neighbours; null (and no change) if there are too few. */
  place(pos: readonly Pos[], sets: readonly (readonly SeqId[])[]): readonly number[] | null;
  seqRm(seq: SeqId, p0: Pos, p1: Pos): boolean;
  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void;
  seqKeep(seq: SeqId): void;
  clear(): void;
  seqPosMin(seq: SeqId): Pos;
  seqPosMax(seq: SeqId): Pos;
  view(): CellView;
  /** Cells that a query of this first-listed sequence at this position sees, by ascending position. */
  visible(seq: SeqId, pos: Pos): readonly number[];
}

export interface CellView {
  readonly head: number;
  readonly used: number;
  /** seq ascending; pos -1 if empty. */
  readonly cells: readonly { readonly pos: Pos; readonly seq: readonly SeqId[] }[];
}

/** Caches of one context, some with windows that forget. */
export interface CachesShape {
  /** The window of each cache, null for one that keeps everything. */
  readonly windows: readonly (Window | null)[];
  /** Cells of a cache that keeps everything. */
  readonly n_ctx: number;
  readonly n_batch: number;
  readonly n_seq_max: number;
}

/** What queries see in such caches, key by key (spec: batching.md 6.1 and 6.2). Tokens are names here, each given once. */
export interface WindowMemory {
  /**
   * For each cache and each token of the batch the tokens whose keys it sees, by position. `undone`: the batch fails at
   * its end, so that memory is then as it was before. Throws `memory.full`.
   */
  decode(
    batch: CompleteBatch,
    options: SplitOptions,
    undone: boolean,
  ): readonly (readonly (readonly number[])[])[];
  /** Throws `ops.partial` if the next token would see what a window has forgotten. seq -1: all sequences. */
  seqRm(seq: SeqId, p0: Pos, p1: Pos): void;
  /** `to` is empty. Throws `ops.partial` as `seqRm`. */
  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void;
  /** Throws `ops.range` if entries would change their order, and `ops.partial` as `seqRm`. */
  seqAdd(seq: SeqId, p0: Pos, p1: Pos, delta: number): void;
  /** Rounds down; refused as `seqAdd`. */
  seqDiv(seq: SeqId, p0: Pos, p1: Pos, divisor: number): void;
  seqKeep(seq: SeqId): void;
  clear(): void;
  /** From here on every cache remembers. */
  seqPosMin(seq: SeqId): Pos;
  seqPosMax(seq: SeqId): Pos;
}

export interface WhiteBox {
  /** Throws `batch.whole` or `batch.coupled` where the policy cannot cut the batch. */
  split(batch: CompleteBatch, options: SplitOptions): readonly Ubatch[];
  /**
   * Final place of outputs: for the k-th output in order of execution, its row in the caller's buffer
   * (spec: batching.md 3).
   */
  outputRows(batch: CompleteBatch, ubatches: readonly Ubatch[]): readonly number[];
  slots(n_slots: number): SlotMemory;
  cells(n_cells: number): CellMemory;
  windows(shape: CachesShape): WindowMemory;
  /** The kernels one by one, of a subject that shows them. */
  readonly kernels?: KernelBox;
  /** What the kernels must give, of the oracle. */
  readonly operators?: BoundedOperators;
}

/** What a subject in another process says of the rules that it shows. */
export interface RulesInfo {
  /** Policies that it can be asked to split by. */
  readonly policies: readonly SplitPolicy[];
  /** Its equal splits keep the tail of a set together if they are asked to. */
  readonly keep_tail: boolean;
  /** Which of the oracle's rules it is held to (`SplitOptions.quirks`). */
  readonly quirks: 'none' | 'upstream';
}

/** How a batch was split: the ubatches, and the batch index of each output in the order of execution. */
export interface ShownSplit {
  /** An index of -1 is a row that is no token of the batch. */
  readonly ubatches: readonly Ubatch[];
  readonly out_ids: readonly number[];
}

/**
 * The recurrent cells of a context as they lie between two calls, shown by a subject in another process. Row i of the
 * state tensors belongs to cell i. What a subject cannot tell is left out, and nothing is checked of it then.
 */
export interface ShownCells {
  /** seq ascending; pos -1 if empty; src: the row in which the state of the cell lies, -1 = the zero state. */
  readonly cells: readonly { readonly pos: Pos; readonly seq: readonly SeqId[]; readonly src?: number }[];
  /** By sequence id: its cell, or -1. */
  readonly tail: readonly number[];
  /** The subject's own count of cells in use. */
  readonly used?: number;
  /** The window of the last ubatch of the last decode: its sets lie in head .. , and src0 is where each state came from. */
  readonly last?: Omit<SlotPlacement, 'src0'> & Partial<Pick<SlotPlacement, 'src0'>>;
}

/** The rules of a subject in another process, asked one by one. */
export interface ShownRules extends RulesInfo {
  /** Throws `batch.coupled` where the policy cannot cut the batch, `refused` where the batch is not taken. */
  split(batch: CompleteBatch, options: SplitOptions): Promise<ShownSplit>;
}

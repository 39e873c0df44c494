/**
 * What a context asks of memory, whatever its kind. A context validates arguments; memory applies them. What may be
 * refused is asked first, of every cache, so that several caches change together or not at all.
 */
import type { OwnedMemory } from '../batch.ts';
import type { FlatBatch } from '../flat-batch.ts';
import type { Splitter } from '../split.ts';

/** Where memory writes what a ubatch needs. */
export interface UbatchTarget {
  /** Replaced by a larger buffer when the key lists need it. */
  index: Int32Array;
  /** Words of the index space in use: the next key list begins here. */
  indexEnd: number;
  readonly dims: Int32Array;
}

/** Where the positions of a sequence in [p0, p1) go. Ranges as everywhere: negative is 0, or the end. */
export interface Move {
  readonly p0: number;
  readonly p1: number;
  readonly to: (pos: number) => number;
}

/**
 * What a move does to the rows of one cache: row `to[j]` becomes what row `from[j]` holds (another one where it is
 * shared with a sequence that stays), its key turned by `delta[j]`.
 */
export interface MovedRows {
  /** Number of the cache in the network. */
  readonly cache: number;
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly delta: readonly number[];
}

export interface Memory extends OwnedMemory {
  /** Before a batch: throws `memory.full` if it cannot fit, and changes nothing then. */
  begin(batch: FlatBatch): void;
  /** Places ubatch u in the books and writes what the plan needs. */
  place(batch: FlatBatch, split: Splitter, u: number, target: UbatchTarget): void;
  /** The batch is done: what no later query can see may go. */
  commit(batch: FlatBatch): void;
  /** The batch failed: the books are as they were at `begin`. */
  rollback(): void;
  posMin(seq: number): number;
  /** Throws `ops.partial` if `seqRm` would be refused; changes nothing. */
  checkRm(seq: number, p0: number, p1: number): void;
  /** Only after `checkRm`. */
  seqRm(seq: number, p0: number, p1: number): void;
  /** Throws `ops.partial` if `seqCp` would be refused; changes nothing. */
  checkCp(from: number, to: number, p0: number, p1: number): void;
  /** Only after `checkCp`, and only into an empty sequence. */
  seqCp(from: number, to: number, p0: number, p1: number): void;
  /** Throws `ops.range` or `ops.partial` if a move would be refused for what it does to positions; changes nothing. */
  checkMove(seq: number, move: Move): void;
  /** What a move will do to rows. Only after `checkMove`. Throws `memory.full`; changes nothing. */
  planMove(seq: number, move: Move): MovedRows[];
  /** Only after `planMove` of the same move, with nothing in between. */
  move(seq: number, move: Move): void;
  seqKeep(seq: number): void;
  clear(): void;
}

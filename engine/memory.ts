/**
 * The two kinds of memory behind one interface: books (slots or cells) and what the plan must be told about them.
 * A context validates arguments; memory applies them.
 */
import { IsobatchError } from '../contract/errors.ts';
import { DIM } from '../native/plan.ts';
import type { OwnedMemory } from './batch.ts';
import { Cells } from './cells.ts';
import type { FlatBatch } from './flat-batch.ts';
import type { IndexLayout } from './layout.ts';
import { visibleEnd } from './mask.ts';
import { Slots } from './slots.ts';
import type { Splitter } from './split.ts';

/** Where memory writes what a ubatch needs. */
export interface UbatchTarget {
  /** Replaced by a larger buffer when the key lists need it. */
  index: Int32Array;
  readonly layout: IndexLayout;
  readonly dims: Int32Array;
}

export interface Memory extends OwnedMemory {
  /** Before a batch: throws `memory.full` if it cannot fit. */
  begin(batch: FlatBatch): void;
  /** Places ubatch u in the books and writes what the plan needs. */
  place(batch: FlatBatch, split: Splitter, u: number, target: UbatchTarget): void;
  /** The batch failed: the books are as they were at `begin`. */
  rollback(): void;
  posMin(seq: number): number;
  /** Throws `ops.partial` if refused. */
  seqRm(seq: number, p0: number, p1: number): void;
  seqCp(from: number, to: number, p0: number, p1: number): void;
  seqKeep(seq: number): void;
  clear(): void;
}

export class AttentionMemory implements Memory {
  readonly cells: Cells;
  /** Cells that this batch has taken, in order. */
  #taken: Int32Array;
  #n_taken = 0;
  #headBefore = 0;
  /** Queries of the ubatch by group: group of each sequence, tokens counted. */
  readonly #groupOf = new Int32Array(64);
  readonly #groupSeq = new Int32Array(64);

  constructor(n_ctx: number, n_batch: number) {
    this.cells = new Cells(n_ctx);
    this.#taken = new Int32Array(n_batch);
    this.#groupOf.fill(-1);
  }

  posMax(seq: number): number {
    return this.cells.seqPosMax(seq);
  }

  posMin(seq: number): number {
    return this.cells.seqPosMin(seq);
  }

  owned(seq: number): Int32Array {
    return this.cells.owned(seq);
  }

  begin(batch: FlatBatch): void {
    const free = this.cells.size - this.cells.used;
    if (batch.n_tokens > free) {
      throw new IsobatchError(
        'memory.full',
        `the batch has ${batch.n_tokens} tokens, but only ${free} of ${this.cells.size} cells are free`,
        {
          n_tokens: batch.n_tokens,
          free,
          n_ctx: this.cells.size,
        },
      );
    }
    if (this.#taken.length < batch.n_tokens) this.#taken = new Int32Array(batch.n_tokens);
    this.#n_taken = 0;
    this.#headBefore = this.cells.head;
  }

  place(batch: FlatBatch, split: Splitter, u: number, target: UbatchTarget): void {
    const begin = split.begin[u]!;
    const n = split.begin[u + 1]! - begin;
    if (!this.cells.find(n, this.#taken, this.#n_taken))
      throw new IsobatchError('internal', 'cells ran out within a batch');
    for (let j = 0; j < n; j++) {
      const i = split.index[begin + j]!;
      const set = batch.set[i]!;
      const cell = this.#taken[this.#n_taken++]!;
      this.cells.occupy(cell, batch.pos[i]!, batch.setLo[set]!, batch.setHi[set]!);
      target.index[target.layout.cells + j] = cell;
    }
    this.#group(batch, split, begin, n, target);
  }

  /** Queries with the same first-listed sequence share its list of keys: one group. */
  #group(batch: FlatBatch, split: Splitter, begin: number, n: number, target: UbatchTarget): void {
    const { layout } = target;
    const groups = this.#countGroups(batch, split, begin, n, target);
    const keys = this.#copyKeys(groups, target);
    const { index } = target;
    for (let j = 0; j < n; j++) {
      const i = split.index[begin + j]!;
      const seq = batch.setFirst[batch.set[i]!]!;
      const g = this.#groupOf[seq]!;
      const at = index[layout.groupQuery + g]!++;
      const first = index[layout.groupKey + g]!;
      index[layout.queryRow + at] = j;
      index[layout.queryBegin + at] = first;
      index[layout.queryEnd + at] = first + visibleEnd(this.cells, seq, batch.pos[i]!);
    }
    for (let g = groups; g > 0; g--) index[layout.groupQuery + g] = index[layout.groupQuery + g - 1]!;
    index[layout.groupQuery] = 0;
    for (let g = 0; g < groups; g++) this.#groupOf[this.#groupSeq[g]!] = -1;
    target.dims[DIM.groups] = groups;
    writePointers(target, keys);
  }

  /** Numbers the groups and leaves in groupQuery[g] where the queries of group g begin. */
  #countGroups(batch: FlatBatch, split: Splitter, begin: number, n: number, target: UbatchTarget): number {
    const { index, layout } = target;
    let groups = 0;
    for (let j = 0; j < n; j++) {
      const seq = batch.setFirst[batch.set[split.index[begin + j]!]!]!;
      if (this.#groupOf[seq]! < 0) {
        this.#groupOf[seq] = groups;
        this.#groupSeq[groups] = seq;
        index[layout.groupQuery + groups++] = 0;
      }
      index[layout.groupQuery + this.#groupOf[seq]!]!++;
    }
    let sum = 0;
    for (let g = 0; g < groups; g++) {
      const count = index[layout.groupQuery + g]!;
      index[layout.groupQuery + g] = sum;
      sum += count;
    }
    return groups;
  }

  /** Copies the key lists of the groups; returns how many keys there are. Grows the index space if it must. */
  #copyKeys(groups: number, target: UbatchTarget): number {
    let keys = 0;
    for (let g = 0; g < groups; g++) keys += this.cells.count[this.#groupSeq[g]!]!;
    const { layout } = target;
    if (layout.keys + 2 * keys > target.index.length) {
      const larger = new Int32Array(layout.keys + 4 * keys);
      larger.set(target.index);
      target.index = larger;
    }
    const { index } = target;
    let at = 0;
    for (let g = 0; g < groups; g++) {
      const seq = this.#groupSeq[g]!;
      index[layout.groupKey + g] = at;
      const list = this.cells.list[seq]!;
      for (let j = 0; j < this.cells.count[seq]!; j++, at++) {
        index[layout.keys + at] = list[j]!;
        index[layout.keys + keys + at] = this.cells.pos[list[j]!]!;
      }
    }
    index[layout.groupKey + groups] = at;
    return keys;
  }

  rollback(): void {
    this.cells.vacate(this.#taken, this.#n_taken, this.#headBefore);
    this.#n_taken = 0;
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.cells.seqRm(seq, p0, p1);
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.cells.seqCp(from, to, p0, p1);
  }

  seqKeep(seq: number): void {
    this.cells.seqKeep(seq);
  }

  clear(): void {
    this.cells.clear();
  }
}

/** The seven offsets that the attention kernels read. */
function writePointers({ index, layout }: UbatchTarget, keys: number): void {
  const at = layout.attention;
  index[at] = layout.groupKey;
  index[at + 1] = layout.groupQuery;
  index[at + 2] = layout.queryRow;
  index[at + 3] = layout.queryBegin;
  index[at + 4] = layout.queryEnd;
  index[at + 5] = layout.keys;
  index[at + 6] = layout.keys + keys;
}

export class RecurrentMemory implements Memory {
  readonly slots: Slots;
  readonly #lo: Int32Array;
  readonly #hi: Int32Array;
  readonly #lastPos: Int32Array;

  constructor(n_seq_max: number) {
    this.slots = new Slots(n_seq_max);
    this.#lo = new Int32Array(n_seq_max);
    this.#hi = new Int32Array(n_seq_max);
    this.#lastPos = new Int32Array(n_seq_max);
  }

  posMax(seq: number): number {
    return this.slots.seqPosMax(seq);
  }

  posMin(seq: number): number {
    return this.slots.seqPosMin(seq);
  }

  owned(seq: number): ArrayLike<unknown> {
    const slot = this.slots.tail[seq]!;
    return slot < 0 ? [] : [slot];
  }

  /** There is a slot for every sequence, so a legal batch always fits. */
  begin(): void {}

  place(batch: FlatBatch, split: Splitter, u: number, target: UbatchTarget): void {
    const n = split.nSeqs[u]!;
    const length = split.nSeqTokens[u]!;
    for (let s = 0; s < n; s++) {
      const i = split.index[split.begin[u]! + s * length + length - 1]!;
      const set = batch.set[i]!;
      this.#lo[s] = batch.setLo[set]!;
      this.#hi[s] = batch.setHi[set]!;
      this.#lastPos[s] = batch.pos[i]!;
    }
    this.slots.place(n, this.#lo, this.#hi, this.#lastPos);
    this.#writeStates(n, target);
  }

  /**
   * States that are computed on are read from their row directly, unless that row is one that this ubatch writes for
   * another slot; those, and states that only move, are gathered first. An empty slot in the window gets the zero
   * state, for the books say from now on that its state lies in its own row.
   */
  #writeStates(n: number, { index, layout, dims }: UbatchTarget): void {
    const { head, window, src0 } = this.slots;
    let moved = 0;
    let extra = 0;
    for (let i = 0; i < window; i++) {
      const row = head + i;
      const src = src0[i]!;
      const inWindow = src >= head && src < head + window;
      if (i < n) {
        index[layout.dstIds + i] = row;
        const direct = src === row || !inWindow;
        index[layout.srcIds + i] = direct ? src : -2 - moved;
        if (!direct) index[layout.movedIds + moved++] = src;
      } else if (src !== row) {
        index[layout.extraSrc + extra] = moved;
        index[layout.extraDst + extra++] = row;
        index[layout.movedIds + moved++] = src;
      }
    }
    dims[DIM.moved] = moved;
    dims[DIM.extra] = extra;
  }

  /** Nothing of a recurrent plan can fail. */
  rollback(): void {
    throw new IsobatchError('internal', 'recurrent memory cannot be rolled back');
  }

  seqRm(seq: number, p0: number, p1: number): void {
    if (this.slots.seqRm(seq, p0, p1)) return;
    const who =
      seq < 0 ? 'all sequences' : `sequence ${seq}, which ends at position ${this.slots.seqPosMax(seq)}`;
    throw new IsobatchError(
      'ops.partial',
      `recurrent memory cannot remove the part [${p0}, ${p1}) of ${who}`,
      { seq, p0, p1 },
    );
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    const last = this.slots.seqPosMax(from);
    const begin = Math.max(p0, 0);
    const end = p1 < 0 ? Infinity : p1;
    if (begin > last || begin >= end) return; // nothing to copy
    if (begin > 0 || end <= last) {
      throw new IsobatchError(
        'ops.partial',
        `recurrent memory cannot copy the part [${p0}, ${p1}) of sequence ${from}, which ends at position ${last}`,
        { from, to, p0, p1 },
      );
    }
    this.slots.seqCp(from, to);
  }

  seqKeep(seq: number): void {
    this.slots.seqKeep(seq);
  }

  clear(): void {
    this.slots.clear();
  }
}

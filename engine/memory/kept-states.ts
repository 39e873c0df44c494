/**
 * Recurrent memory that keeps the states of the last tokens of each sequence, so that these can be removed again (spec:
 * batching.md 4.4 and 4.5, INV-RS-16 and 17). A sequence has a list of states, last one first, each with the position of
 * its token and the row in which it lies. Rows are shared by copies and stay where they are: a removal only shortens a
 * list. What a batch that fails began with is held until the batch is done.
 */
import { IsobatchError } from '../../contract/errors.ts';
import { DIM } from '../../native/plan.ts';
import type { FlatBatch } from '../flat-batch.ts';
import type { RecurrentIndex } from '../layout.ts';
import { firstOf, has, isIn } from '../sets.ts';
import type { Splitter } from '../split.ts';
import type { Memory, Move, MovedRows, UbatchTarget } from './memory.ts';
import { checkStateMove, isEmptyRange, partRefused } from './recurrent.ts';

interface KeptState {
  readonly row: number;
  /** Position of its last token. */
  readonly pos: number;
}

/** The lists of all sequences, each in `most` places. */
interface StateLists {
  /** States of each sequence. */
  readonly count: Int32Array;
  readonly row: Int32Array;
  readonly pos: Int32Array;
}

export class KeptStates implements Memory {
  readonly #layout: RecurrentIndex;
  readonly #cache: number;
  /** States of a sequence at most. */
  readonly #most: number;
  readonly #now: StateLists;
  /** What the batch began with, while one runs. */
  readonly #before: StateLists;
  #inBatch = false;
  /** By row: lists that hold it. */
  readonly #refs: Int32Array;
  /** Where the last free row was found. */
  #next = -1;
  /** A list in the making, last state first. */
  readonly #row: Int32Array;
  readonly #pos: Int32Array;

  /** `cache`: its number in the network. */
  constructor(layout: RecurrentIndex, cache: number) {
    this.#layout = layout;
    this.#cache = cache;
    this.#most = layout.kept + 1;
    this.#now = emptyLists(layout.size, this.#most);
    this.#before = emptyLists(layout.size, this.#most);
    this.#refs = new Int32Array(layout.rows);
    this.#row = new Int32Array(this.#most);
    this.#pos = new Int32Array(this.#most);
  }

  posMax(seq: number): number {
    return this.#now.count[seq] === 0 ? -1 : this.#now.pos[seq * this.#most]!;
  }

  /** The same: a query sees the last state, and nothing else of the past (spec: batching.md 4.4). */
  posMin(seq: number): number {
    return this.posMax(seq);
  }

  owned(seq: number): ArrayLike<unknown> {
    return this.#now.count[seq] === 0 ? [] : [this.#now.row[seq * this.#most]];
  }

  /** A legal batch always fits. What it begins with is held if it can fail. */
  begin(): void {
    this.#endBatch();
    if (!this.#layout.spare) return;
    copyLists(this.#now, this.#before);
    this.#hold(this.#before, 1);
    this.#inBatch = true;
  }

  /** Also where another cache had no room, and the batch never began. */
  #endBatch(): void {
    if (this.#inBatch) this.#hold(this.#before, -1);
    this.#inBatch = false;
  }

  commit(): void {
    this.#endBatch();
  }

  rollback(): void {
    if (!this.#inBatch) throw new IsobatchError('internal', 'nothing of a recurrent plan can fail');
    this.#hold(this.#now, -1);
    copyLists(this.#before, this.#now);
    this.#hold(this.#now, 1);
    this.#endBatch();
  }

  /** Each of the last tokens of a set leaves a state, as many as are kept; what is older than these goes. */
  place(batch: FlatBatch, split: Splitter, u: number, { index, dims }: UbatchTarget): void {
    const length = split.nSeqTokens[u]!;
    const states = Math.min(length, this.#most);
    const { srcIds, dstIds } = this.#layout;
    for (let s = 0; s < split.nSeqs[u]!; s++) {
      const end = split.begin[u]! + (s + 1) * length;
      const set = batch.set[split.index[end - 1]!]!;
      const [lo, hi] = [batch.setLo[set]!, batch.setHi[set]!];
      const from = this.#shortest(lo, hi);
      let row = this.#now.count[from] === 0 ? -1 : this.#now.row[from * this.#most]!;
      for (let p = 0; p < states; p++) {
        index[srcIds + s * states + p] = row;
        row = this.#take();
        index[dstIds + s * states + p] = row;
        this.#row[states - 1 - p] = row;
        this.#pos[states - 1 - p] = batch.pos[split.index[end - states + p]!]!;
      }
      const n = this.#append(from, states);
      for (let q = firstOf(lo, hi); q < this.#layout.size; q++) if (has(lo, hi, q)) this.#put(q, n);
      this.#release(states);
    }
    dims[DIM.kept] = states - 1;
    dims[DIM.moved] = 0;
    dims[DIM.extra] = 0;
  }

  /** Of sequences that own one last state, the one that keeps the fewest before it: all of them keep those. */
  #shortest(lo: number, hi: number): number {
    const { count } = this.#now;
    let from = firstOf(lo, hi);
    for (let q = from + 1; q < this.#layout.size; q++)
      if (has(lo, hi, q) && count[q]! < count[from]!) from = q;
    return from;
  }

  /** A free row, held once for whoever takes it. There is one by the size of the cache (`RecurrentIndex.rows`). */
  #take(): number {
    for (let tried = 0; tried < this.#refs.length; tried++) {
      this.#next = this.#next + 1 < this.#refs.length ? this.#next + 1 : 0;
      if (this.#refs[this.#next] !== 0) continue;
      this.#refs[this.#next] = 1;
      return this.#next;
    }
    throw new IsobatchError('internal', 'there is no row left for a state');
  }

  /** Who took the first n rows in `#row` holds them no longer. */
  #release(n: number): void {
    for (let j = 0; j < n; j++) this.#refs[this.#row[j]!]!--;
  }

  /** Behind the n states in `#row` and `#pos` those of a sequence, as far as they are kept; answers how many there are. */
  #append(from: number, n: number): number {
    const { count, row, pos } = this.#now;
    const more = Math.min(count[from]!, this.#most - n);
    for (let j = 0; j < more; j++) {
      this.#row[n + j] = row[from * this.#most + j]!;
      this.#pos[n + j] = pos[from * this.#most + j]!;
    }
    return n + more;
  }

  /** The first n states in `#row` and `#pos` are those of a sequence from now on. */
  #put(seq: number, n: number): void {
    const { count, row, pos } = this.#now;
    const first = seq * this.#most;
    for (let j = 0; j < n; j++) this.#refs[this.#row[j]!]!++;
    for (let j = 0; j < count[seq]!; j++) this.#refs[row[first + j]!]!--;
    count[seq] = n;
    for (let j = 0; j < n; j++) {
      row[first + j] = this.#row[j]!;
      pos[first + j] = this.#pos[j]!;
    }
  }

  /** The states of a sequence, last one first. */
  #listOf(seq: number): KeptState[] {
    const { count, row, pos } = this.#now;
    const first = seq * this.#most;
    return Array.from({ length: count[seq]! }, (_, j) => ({ row: row[first + j]!, pos: pos[first + j]! }));
  }

  #set(seq: number, states: readonly KeptState[]): void {
    states.forEach((state, j) => {
      this.#row[j] = state.row;
      this.#pos[j] = state.pos;
    });
    this.#put(seq, states.length);
  }

  /** One more holder, or one less, of every row in the lists. */
  #hold({ count, row }: StateLists, by: 1 | -1): void {
    for (let q = 0; q < count.length; q++)
      for (let j = 0; j < count[q]!; j++) this.#refs[row[q * this.#most + j]!]! += by;
  }

  /** What a removal from p0 on leaves of the states of a sequence. */
  #statesBefore(seq: number, p0: number): KeptState[] {
    return this.#listOf(seq).filter(({ pos }) => pos < p0);
  }

  /** A suffix may go if the state of the token before it is kept; everything may. */
  checkRm(seq: number, p0: number, p1: number): void {
    const [begin, end] = [Math.max(p0, 0), p1 < 0 ? Infinity : p1];
    if (begin >= end || (begin === 0 && end === Infinity)) return;
    const last = seq < 0 ? Infinity : this.posMax(seq);
    if (last < begin || (begin === 0 && end > last)) return;
    if (seq >= 0 && end > last && this.#statesBefore(seq, begin).length > 0) return;
    throw partRefused('remove', seq, { p0, p1, last });
  }

  seqRm(seq: number, p0: number, p1: number): void {
    const [begin, end] = [Math.max(p0, 0), p1 < 0 ? Infinity : p1];
    if (begin >= end) return;
    for (let q = 0; q < this.#layout.size; q++)
      if ((seq < 0 || q === seq) && this.posMax(q) >= begin) this.#set(q, this.#statesBefore(q, begin));
  }

  checkCp(from: number, to: number, p0: number, p1: number): void {
    const [last, begin, end] = [this.posMax(from), Math.max(p0, 0), p1 < 0 ? Infinity : p1];
    if (isEmptyRange(begin, end, last) || (begin === 0 && end > last)) return;
    throw partRefused('copy', from, { to, p0, p1, last });
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    if (isEmptyRange(Math.max(p0, 0), p1 < 0 ? Infinity : p1, this.posMax(from))) return;
    this.#set(to, this.#listOf(from));
  }

  checkMove(seq: number, move: Move): void {
    checkStateMove(seq, move, this.posMax(seq));
  }

  /** All states of a sequence move together; those that others share are copied. */
  planMove(seq: number, { p0, p1, to }: Move): MovedRows[] {
    if (isEmptyRange(Math.max(p0, 0), p1 < 0 ? Infinity : p1, this.posMax(seq))) return [];
    const copied = this.#separate(seq, to);
    if (copied.length === 0) return [];
    const rows = { from: copied.map(({ row }) => row), to: copied.map(({ own }) => own) };
    return [{ cache: this.#cache, ...rows, delta: copied.map(() => 0) }];
  }

  /** States of a sequence that move although others share their rows, and a free row for each. */
  #separate(seq: number, to: (pos: number) => number): (KeptState & { own: number })[] {
    const free = [...this.#refs.keys()].filter((row) => this.#refs[row] === 0);
    return this.#listOf(seq)
      .filter(({ row, pos }) => to(pos) !== pos && this.#refs[row]! > 1)
      .map((state, j) => ({ ...state, own: free[j]! }));
  }

  move(seq: number, { p0, p1, to }: Move): void {
    const last = this.posMax(seq);
    if (last < 0 || !isIn(last, p0, p1)) return;
    const own = new Map(this.#separate(seq, to).map((state) => [state.row, state.own]));
    const moved = this.#listOf(seq).map(({ row, pos }) => ({ row: own.get(row) ?? row, pos: to(pos) }));
    // Nobody can go back to what would stand before the first position.
    this.#set(
      seq,
      moved.filter(({ pos }) => pos >= 0),
    );
  }

  seqKeep(seq: number): void {
    for (let q = 0; q < this.#layout.size; q++) if (q !== seq) this.#set(q, []);
  }

  clear(): void {
    for (let q = 0; q < this.#layout.size; q++) this.#set(q, []);
  }
}

function emptyLists(n_seq: number, most: number): StateLists {
  return {
    count: new Int32Array(n_seq),
    row: new Int32Array(n_seq * most),
    pos: new Int32Array(n_seq * most),
  };
}

function copyLists(from: StateLists, to: StateLists): void {
  to.count.set(from.count);
  to.row.set(from.row);
  to.pos.set(from.pos);
}

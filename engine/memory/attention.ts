/**
 * Attention memory: the books of cells, and for each ubatch which keys its queries see. With a window it keeps after each
 * batch only what the next query of each sequence can see. Within a batch nothing is forgotten, so that a batch which
 * fails leaves everything as it was: there are cells for all windows and one batch.
 */
import { IsobatchError } from '../../contract/errors.ts';
import { DIM } from '../../native/plan.ts';
import { Cells } from '../cells.ts';
import { Evicted } from '../evicted.ts';
import type { FlatBatch } from '../flat-batch.ts';
import type { AttentionIndex } from '../layout.ts';
import { countBelow, lowestSeen, visibleBegin, visibleEnd, type Window } from '../mask.ts';
import { idsOf, isIn, MAX_SEQ, sizeOf } from '../sets.ts';
import type { Splitter } from '../split.ts';
import type { Memory, Move, MovedRows, UbatchTarget } from './memory.ts';

export class AttentionMemory implements Memory {
  readonly cells: Cells;
  readonly #layout: AttentionIndex;
  readonly #cache: number;
  readonly #window: Window | undefined;
  readonly #evicted = new Evicted();
  readonly #forget = (seq: number, pos: number): void => this.#evicted.append(seq, pos);
  /** Cells that this batch has taken, in order. */
  #taken: Int32Array;
  #n_taken = 0;
  #headBefore = 0;
  /** Queries of the ubatch by group: group of each sequence, tokens counted. */
  readonly #groupOf = new Int32Array(64);
  readonly #groupSeq = new Int32Array(64);
  /** The last planned move: numbers in the list of the sequence, the cells that they go to, and where the search ends. */
  #moving: { listed: number[]; cells: number[]; head: number } = { listed: [], cells: [], head: 0 };

  /** `cache`: its number in the network. */
  constructor(layout: AttentionIndex, n_batch: number, cache: number) {
    this.#cache = cache;
    this.#layout = layout;
    this.cells = new Cells(layout.size);
    this.#window = layout.window;
    this.#taken = new Int32Array(n_batch);
    this.#groupOf.fill(-1);
  }

  posMax(seq: number): number {
    return Math.max(this.cells.seqPosMax(seq), this.#evicted.last(seq));
  }

  /** The first position that is still there; if all are forgotten, the one that comes next. */
  posMin(seq: number): number {
    const first = this.cells.seqPosMin(seq);
    const forgotten = this.#evicted.last(seq);
    return first < 0 && forgotten >= 0 ? forgotten + 1 : first;
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
      target.index[this.#layout.cells + j] = cell;
    }
    this.#group(batch, split, begin, n, target);
  }

  /** Queries with the same first-listed sequence share its list of keys: one group. */
  #group(batch: FlatBatch, split: Splitter, begin: number, n: number, target: UbatchTarget): void {
    const layout = this.#layout;
    const groups = this.#countGroups(batch, split, begin, n, target);
    const first = target.indexEnd;
    const keys = this.#copyKeys(groups, target);
    const { index } = target;
    for (let j = 0; j < n; j++) {
      const i = split.index[begin + j]!;
      const seq = batch.setFirst[batch.set[i]!]!;
      const g = this.#groupOf[seq]!;
      const at = index[layout.groupQuery + g]!++;
      const list = index[layout.groupKey + g]!;
      index[layout.queryRow + at] = j;
      index[layout.queryBegin + at] = list + this.keysFrom(seq, batch.pos[i]!);
      index[layout.queryEnd + at] = list + this.keysTo(seq, batch.pos[i]!);
    }
    for (let g = groups; g > 0; g--) index[layout.groupQuery + g] = index[layout.groupQuery + g - 1]!;
    index[layout.groupQuery] = 0;
    for (let g = 0; g < groups; g++) this.#groupOf[this.#groupSeq[g]!] = -1;
    target.dims[DIM.groups] = groups;
    writePointers(index, layout, first, keys);
  }

  /** Where the keys that a query of this sequence and position sees begin in the list of the sequence. */
  protected keysFrom(seq: number, pos: number): number {
    return visibleBegin(this.cells, seq, pos, this.#window);
  }

  /** And where they end. */
  protected keysTo(seq: number, pos: number): number {
    return visibleEnd(this.cells, seq, pos);
  }

  /** Numbers the groups and leaves in groupQuery[g] where the queries of group g begin. */
  #countGroups(batch: FlatBatch, split: Splitter, begin: number, n: number, target: UbatchTarget): number {
    const { index } = target;
    const layout = this.#layout;
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

  /** Copies the key lists of the groups to the end of the index space; returns how many keys there are. */
  #copyKeys(groups: number, target: UbatchTarget): number {
    let keys = 0;
    for (let g = 0; g < groups; g++) keys += this.cells.count[this.#groupSeq[g]!]!;
    const layout = this.#layout;
    const first = target.indexEnd;
    target.indexEnd = first + 2 * keys;
    if (target.indexEnd > target.index.length) {
      const larger = new Int32Array(first + 4 * keys);
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
        index[first + at] = list[j]!;
        index[first + keys + at] = this.cells.pos[list[j]!]!;
      }
    }
    index[layout.groupKey + groups] = at;
    return keys;
  }

  commit(batch: FlatBatch): void {
    this.#n_taken = 0;
    if (this.#window === undefined) return;
    for (let s = 0; s < batch.n_sets; s++)
      for (const seq of idsOf(batch.setLo[s]!, batch.setHi[s]!)) this.#evict(seq, this.#window);
  }

  /** What the next query of this sequence cannot see goes. */
  #evict(seq: number, window: Window): void {
    const below = lowestSeen(window, this.posMax(seq) + 1);
    const n = countBelow(this.cells, seq, below);
    if (n > 0) this.cells.evict(seq, n, this.#forget);
  }

  rollback(): void {
    this.cells.vacate(this.#taken, this.#n_taken, this.#headBefore);
    this.#n_taken = 0;
  }

  checkRm(seq: number, p0: number, p1: number): void {
    const keeps = (pos: number): boolean => !isIn(pos, p0, p1);
    if (seq >= 0) this.#checkNext('remove', seq, p0, p1, keeps);
    else for (let q = 0; q < MAX_SEQ; q++) this.#checkNext('remove', q, p0, p1, keeps);
  }

  /**
   * Throws `ops.partial` if a sequence of which only these positions are kept would go on with a token that sees what
   * its window has forgotten.
   */
  #checkNext(what: string, seq: number, p0: number, p1: number, keeps: (pos: number) => boolean): void {
    if (this.#window === undefined) return;
    const forgotten = this.#evicted.last(seq, keeps);
    if (forgotten < 0) return;
    const next = Math.max(this.cells.lastOf(seq, keeps), forgotten) + 1;
    if (forgotten >= lowestSeen(this.#window, next)) throw this.#unseen(what, seq, p0, p1, forgotten);
  }

  #unseen(what: string, seq: number, p0: number, p1: number, forgotten: number): IsobatchError {
    const { kind, size } = this.#window!;
    const pos_min = this.posMin(seq);
    return new IsobatchError(
      'ops.partial',
      `cannot ${what} the part [${p0}, ${p1}) of sequence ${seq}: its next token would see position ${forgotten}, which ` +
        `the ${kind} window of ${size} has forgotten (seqPosMin ${pos_min})`,
      { seq, p0, p1, pos_min },
    );
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.cells.seqRm(seq, p0, p1);
    if (this.#window === undefined) return;
    if (seq >= 0) this.#evicted.remove(seq, p0, p1);
    else for (let q = 0; q < MAX_SEQ; q++) this.#evicted.remove(q, p0, p1);
  }

  checkCp(from: number, _to: number, p0: number, p1: number): void {
    this.#checkNext('copy', from, p0, p1, (pos) => isIn(pos, p0, p1));
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.cells.seqCp(from, to, p0, p1);
    if (this.#window !== undefined) this.#evicted.copy(from, to, p0, p1);
  }

  planMove(seq: number, move: Move): MovedRows[] {
    const { cells } = this;
    const own = cells.owned(seq);
    const listed: number[] = [];
    for (let j = 0; j < own.length; j++) {
      const pos = cells.pos[own[j]!]!;
      if (moved(move, pos) !== pos) listed.push(j);
    }
    const from = listed.map((j) => own[j]!);
    const shared = from.filter((cell) => sizeOf(cells.lo[cell]!, cells.hi[cell]!) > 1).length;
    const [free, headBefore] = [new Int32Array(shared), cells.head];
    if (shared > 0 && !cells.find(shared, free, 0))
      throw new IsobatchError(
        'memory.full',
        `${shared} shared cells of sequence ${seq} would move, but only ${cells.size - cells.used} of ${cells.size} cells are free`,
        { seq, shared, free: cells.size - cells.used },
      );
    let taken = 0;
    const to = from.map((cell) => (sizeOf(cells.lo[cell]!, cells.hi[cell]!) > 1 ? free[taken++]! : cell));
    this.#moving = { listed, cells: to, head: cells.head };
    cells.head = headBefore;
    const delta = from.map((cell) => moved(move, cells.pos[cell]!) - cells.pos[cell]!);
    return listed.length === 0 ? [] : [{ cache: this.#cache, from, to, delta }];
  }

  /**
   * Throws `ops.range` if entries would change their order, or two of them stand at one position of a window, which has
   * room for one; `ops.partial` if a forgotten one would come into sight.
   */
  checkMove(seq: number, move: Move): void {
    let last = -1;
    const stand = (pos: number): void => {
      const next = moved(move, pos);
      const least = last < 0 ? 0 : this.#window === undefined ? last : last + 1;
      if (next < least) {
        const before =
          last < 0
            ? 'below 0'
            : `${next < last ? 'below' : 'no longer above'} ${last}, where the one before it stands`;
        throw new IsobatchError(
          'ops.range',
          `position ${pos} of sequence ${seq} would become ${next}, which is ${before}`,
          { seq, pos, next },
        );
      }
      last = next;
    };
    const forgotten = this.#evicted.of(seq);
    forgotten.forEach(stand);
    const lastForgotten = last;
    for (const cell of this.cells.owned(seq)) stand(this.cells.pos[cell]!);
    if (this.#window === undefined || forgotten.length === 0) return;
    if (lastForgotten >= lowestSeen(this.#window, last + 1))
      throw this.#unseen('move', seq, move.p0, move.p1, lastForgotten);
  }

  move(seq: number, move: Move): void {
    const { listed, cells, head } = this.#moving;
    this.cells.head = head;
    for (const [i, j] of listed.entries()) {
      const pos = moved(move, this.cells.pos[this.cells.list[seq]![j]!]!);
      this.cells.restand(seq, j, cells[i]!, pos);
    }
    const forgotten = this.#evicted.of(seq);
    for (let j = 0; j < forgotten.length; j++) forgotten[j] = moved(move, forgotten[j]!);
  }

  seqKeep(seq: number): void {
    this.cells.seqKeep(seq);
    for (let q = 0; q < MAX_SEQ; q++) if (q !== seq) this.#evicted.remove(q, 0, -1);
  }

  clear(): void {
    this.cells.clear();
    this.#evicted.clear();
  }
}

/** Where a position goes. */
function moved({ p0, p1, to }: Move, pos: number): number {
  return isIn(pos, p0, p1) ? to(pos) : pos;
}

/** The seven offsets that the attention kernels read; the key list begins at `first`. */
function writePointers(index: Int32Array, layout: AttentionIndex, first: number, keys: number): void {
  const at = layout.attention;
  index[at] = layout.groupKey;
  index[at + 1] = layout.groupQuery;
  index[at + 2] = layout.queryRow;
  index[at + 3] = layout.queryBegin;
  index[at + 4] = layout.queryEnd;
  index[at + 5] = first;
  index[at + 6] = first + keys;
}

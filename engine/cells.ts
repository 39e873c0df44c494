/**
 * KV cells, fast (spec: batching.md 5.2, 5.4, newer form: cells need not be neighbours). Lay it beside
 * `oracle/cells.ts`.
 *
 * Beside the cells themselves, each sequence keeps the list of its cells in order of position. The mask is then not a
 * matrix but a range of that list (`engine/mask.ts`), and attention walks keys by position wherever they lie.
 */

import { IsobatchError } from '../contract/errors.ts';
import type { CellMemory, CellView } from '../contract/white.ts';
import { visibleRange } from './mask.ts';
import { firstOf, has, hiOf, idsOf, loOf } from './sets.ts';

export class Cells implements CellMemory {
  readonly size: number;
  head = 0;
  used = 0;
  readonly pos: Int32Array;
  readonly lo: Int32Array;
  readonly hi: Int32Array;

  /** Cells of each sequence by ascending position, and how many. Lists grow by doubling. */
  readonly list: Int32Array[] = [];
  readonly count = new Int32Array(64);

  constructor(size: number) {
    this.size = size;
    this.pos = new Int32Array(size).fill(-1);
    this.lo = new Int32Array(size);
    this.hi = new Int32Array(size);
    for (let q = 0; q < 64; q++) this.list.push(EMPTY);
  }

  /**
   * Finds n free cells, searching cyclically from head, and writes them to out[at..at+n). False (nothing changed) if
   * there are too few. The cells are claimed by `occupy`.
   */
  find(n: number, out: Int32Array, at: number): boolean {
    if (this.size - this.used < n) return false;
    let cell = this.head > this.used + 2 * n ? 0 : this.head;
    let found = 0;
    while (found < n) {
      if (cell >= this.size) cell = 0;
      if (this.lo[cell] === 0 && this.hi[cell] === 0) out[at + found++] = cell;
      cell++;
    }
    this.head = cell;
    return true;
  }

  /** A token of this set at this position takes an empty cell, at the end of the lists of its sequences. */
  occupy(cell: number, pos: number, lo: number, hi: number): void {
    if (this.lo[cell] !== 0 || this.hi[cell] !== 0)
      throw new IsobatchError('internal', `cell ${cell} is not free`);
    this.pos[cell] = pos;
    this.lo[cell] = lo;
    this.hi[cell] = hi;
    this.used++;
    const first = firstOf(lo, hi);
    if (lo === loOf(first) && hi === hiOf(first)) this.#append(first, cell);
    else for (const q of idsOf(lo, hi)) this.#append(q, cell);
  }

  /** Takes back the newest cells, which were occupied in this order (a call that failed midway). */
  vacate(cells: Int32Array, n: number, head: number): void {
    for (let j = n - 1; j >= 0; j--) {
      const cell = cells[j]!;
      for (const q of idsOf(this.lo[cell]!, this.hi[cell]!)) this.count[q]!--;
      this.#free(cell);
    }
    this.head = head;
  }

  #append(seq: number, cell: number): void {
    const n = this.count[seq]!;
    let list = this.list[seq]!;
    if (n === list.length) {
      list = new Int32Array(Math.max(16, 2 * n));
      list.set(this.list[seq]!);
      this.list[seq] = list;
    }
    list[n] = cell;
    this.count[seq] = n + 1;
    if (n > 0 && this.pos[list[n - 1]!]! > this.pos[cell]!) this.#sort(seq);
  }

  /** By position, ties as they came. Only a copy onto a sequence that was not empty needs it. */
  #sort(seq: number): void {
    const cells = this.list[seq]!.subarray(0, this.count[seq]!);
    cells.sort((a, b) => this.pos[a]! - this.pos[b]!);
  }

  #free(cell: number): void {
    this.pos[cell] = -1;
    this.lo[cell] = 0;
    this.hi[cell] = 0;
    this.used--;
  }

  /** Takes the cells of one sequence in [from, to) out of it. */
  #removeRange(seq: number, from: number, to: number): void {
    const list = this.list[seq]!;
    const n = this.count[seq]!;
    let kept = 0;
    for (let j = 0; j < n; j++) {
      const cell = list[j]!;
      const pos = this.pos[cell]!;
      if (pos < from || pos >= to) {
        list[kept++] = cell;
        continue;
      }
      this.#disown(seq, cell);
    }
    this.count[seq] = kept;
  }

  /** A cell that nobody owns any more becomes free. */
  #disown(seq: number, cell: number): void {
    this.lo[cell]! &= ~loOf(seq);
    this.hi[cell]! &= ~hiOf(seq);
    if (this.lo[cell] !== 0 || this.hi[cell] !== 0) return;
    this.#free(cell);
    if (cell < this.head) this.head = cell;
  }

  /**
   * Takes the first n cells of a sequence out of it: those of its smallest positions. Their positions are told to
   * `gone` one by one.
   */
  evict(seq: number, n: number, gone: (seq: number, pos: number) => void): void {
    const list = this.list[seq]!;
    for (let j = 0; j < n; j++) {
      gone(seq, this.pos[list[j]!]!);
      this.#disown(seq, list[j]!);
    }
    list.copyWithin(0, n, this.count[seq]!);
    this.count[seq]! -= n;
  }

  seqRm(seq: number, p0: number, p1: number): boolean {
    const from = Math.max(p0, 0);
    const to = p1 < 0 ? Infinity : p1;
    if (seq >= 0) this.#removeRange(seq, from, to);
    else for (let q = 0; q < 64; q++) this.#removeRange(q, from, to);
    return true;
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    if (from === to) return;
    const low = Math.max(p0, 0);
    const high = p1 < 0 ? Infinity : p1;
    const n = this.count[from]!;
    for (let j = 0; j < n; j++) {
      const cell = this.list[from]![j]!;
      if (this.pos[cell]! < low || this.pos[cell]! >= high || has(this.lo[cell]!, this.hi[cell]!, to))
        continue;
      this.lo[cell]! |= loOf(to);
      this.hi[cell]! |= hiOf(to);
      this.#append(to, cell);
    }
  }

  /**
   * Number j of a sequence's list stands at `pos` from now on, in `cell`: its own, or a free one where others share its
   * own. The order of the list stays.
   */
  restand(seq: number, j: number, cell: number, pos: number): void {
    const own = this.list[seq]![j]!;
    if (cell !== own) {
      this.lo[own]! &= ~loOf(seq);
      this.hi[own]! &= ~hiOf(seq);
      this.lo[cell] = loOf(seq);
      this.hi[cell] = hiOf(seq);
      this.used++;
      this.list[seq]![j] = cell;
    }
    this.pos[cell] = pos;
  }

  seqKeep(seq: number): void {
    for (let q = 0; q < 64; q++) if (q !== seq) this.#removeRange(q, 0, Infinity);
  }

  clear(): void {
    this.pos.fill(-1);
    this.lo.fill(0);
    this.hi.fill(0);
    this.count.fill(0);
    this.head = 0;
    this.used = 0;
  }

  seqPosMin(seq: number): number {
    return this.count[seq] === 0 ? -1 : this.pos[this.list[seq]![0]!]!;
  }

  seqPosMax(seq: number): number {
    const n = this.count[seq]!;
    return n === 0 ? -1 : this.pos[this.list[seq]![n - 1]!]!;
  }

  /** The largest position of a sequence that `keeps` answers true for, -1 if there is none. */
  lastOf(seq: number, keeps: (pos: number) => boolean): number {
    for (let j = this.count[seq]! - 1; j >= 0; j--) {
      const pos = this.pos[this.list[seq]![j]!]!;
      if (keeps(pos)) return pos;
    }
    return -1;
  }

  /** Cells of a sequence in order of position. A view: valid until the next change. */
  owned(seq: number): Int32Array {
    return this.list[seq]!.subarray(0, this.count[seq]!);
  }

  visible(seq: number, pos: number): number[] {
    const { begin, end } = visibleRange(this, seq, pos);
    return Array.from(this.list[seq]!.subarray(begin, end));
  }

  place(pos: readonly number[], sets: readonly (readonly number[])[]): number[] | null {
    const found = new Int32Array(pos.length);
    if (!this.find(pos.length, found, 0)) return null;
    for (let i = 0; i < pos.length; i++) {
      const lo = sets[i]!.reduce((mask, q) => mask | loOf(q), 0);
      const hi = sets[i]!.reduce((mask, q) => mask | hiOf(q), 0);
      this.occupy(found[i]!, pos[i]!, lo, hi);
    }
    return Array.from(found);
  }

  view(): CellView {
    return {
      head: this.head,
      used: this.used,
      cells: Array.from(this.pos, (pos, i) => ({ pos, seq: idsOf(this.lo[i]!, this.hi[i]!) })),
    };
  }
}

const EMPTY = new Int32Array(0);

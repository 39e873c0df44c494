/**
 * Recurrent-state slots, fast (spec: batching.md 4, newer form). Lay it beside `oracle/slots.ts`.
 *
 * A slot holds the state of a set of sequences; `tail` says which slot a sequence has, `src` in which row the state of
 * a slot lies. A ubatch needs the states of its sets in neighbouring slots: slots are swapped in the books, and the
 * rows follow when the plan runs, told by `src0`. A copy shares the slot until one of the owners goes on.
 */

import { IsobatchError } from '../contract/errors.ts';
import type { SlotMemory, SlotPlacement, SlotView } from '../contract/white.ts';
import { firstOf, has, hiOf, idsOf, loOf, sizeOf } from './sets.ts';

export class Slots implements SlotMemory {
  readonly size: number;
  head = 0;
  used = 0;
  readonly pos: Int32Array;
  readonly src: Int32Array;
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly tail: Int32Array;

  readonly #books: readonly Int32Array[];
  readonly #saved: readonly Int32Array[];
  #savedHead = 0;
  #savedUsed = 0;

  /** Window of the last placement: slots head .. head+window, and where the state of each lies, -1 = zero state. */
  window = 0;
  readonly src0: Int32Array;

  constructor(size: number) {
    this.size = size;
    this.pos = new Int32Array(size).fill(-1);
    this.src = new Int32Array(size).fill(-1);
    this.lo = new Int32Array(size);
    this.hi = new Int32Array(size);
    this.tail = new Int32Array(size).fill(-1);
    this.src0 = new Int32Array(size);
    this.#books = [this.pos, this.src, this.lo, this.hi, this.tail];
    this.#saved = this.#books.map((book) => book.slice());
  }

  /** Notes what the books say, for `restore`. */
  save(): void {
    this.#books.forEach((book, b) => {
      this.#saved[b]!.set(book);
    });
    this.#savedHead = this.head;
    this.#savedUsed = this.used;
  }

  /** The books say again what they said at `save`. */
  restore(): void {
    this.#books.forEach((book, b) => {
      book.set(this.#saved[b]!);
    });
    this.head = this.#savedHead;
    this.used = this.#savedUsed;
  }

  /**
   * Places n sets, given by masks in order; `lastPos[s]` is the position of the set's last token. Fills window and src0.
   * Precondition: ids below size, sets disjoint, 1 <= n <= size.
   */
  place(n: number, setLo: ArrayLike<number>, setHi: ArrayLike<number>, lastPos: ArrayLike<number>): void {
    if (this.head > this.used + 2 * n) this.head = 0;
    for (let s = 0; s < n; s++) this.#unshareFollowers(setLo[s]!, setHi[s]!);
    const min = this.#claim(n, setLo, setHi);
    for (let s = 0; s < n; s++) {
      const own = this.tail[firstOf(setLo[s]!, setHi[s]!)]!;
      if (own !== min + s) this.#swap(min + s, own);
    }
    for (let s = 0; s < n; s++) this.#settle(min + s, setLo[s]!, setHi[s]!, lastPos[s]!);
    for (let i = 0; i < this.window; i++) {
      this.src0[i] = this.src[min + i]!;
      this.src[min + i] = min + i;
    }
    this.head = min;
    this.#recount();
  }

  /** Ids beside the first of a set lose their own states: they own the set's from now on. */
  #unshareFollowers(lo: number, hi: number): void {
    if (sizeOf(lo, hi) === 1) return;
    const ids = idsOf(lo, hi);
    for (let j = 1; j < ids.length; j++) this.#drop(ids[j]!);
  }

  /** Gives each set a slot of its own; returns the smallest slot and sets the window to reach the largest. */
  #claim(n: number, setLo: ArrayLike<number>, setHi: ArrayLike<number>): number {
    let empty = this.#nextEmpty(this.head);
    let min = this.size;
    let max = -1;
    for (let s = 0; s < n; s++) {
      const first = firstOf(setLo[s]!, setHi[s]!);
      const own = this.tail[first]!;
      if (own < 0 || sizeOf(this.lo[own]!, this.hi[own]!) !== 1) {
        this.#claimFor(first, own, empty);
        if (s + 1 < n) empty = this.#nextEmpty((empty + 1) % this.size);
      }
      const slot = this.tail[first]!;
      if (slot < min) min = slot;
      if (slot > max) max = slot;
    }
    this.window = max - min + 1;
    return min;
  }

  /** Slot e becomes the tail of a sequence that has none, or that shared slot `own` (copy on write). */
  #claimFor(seq: number, own: number, e: number): void {
    if (own >= 0) {
      this.pos[e] = this.pos[own]!;
      this.src[e] = this.src[own]!;
      this.lo[own]! &= ~loOf(seq);
      this.hi[own]! &= ~hiOf(seq);
      this.lo[e]! |= loOf(seq);
      this.hi[e]! |= hiOf(seq);
    }
    this.tail[seq] = e;
  }

  /**
   * First empty slot from `start` on, cyclically; -1 if there is none. A slot that was just claimed for a new sequence
   * stays formally empty, so each further search starts behind the last claim.
   */
  #nextEmpty(start: number): number {
    let at = start;
    for (let tested = 0; tested < this.size; tested++) {
      if (this.lo[at] === 0 && this.hi[at] === 0) return at;
      at = at + 1 === this.size ? 0 : at + 1;
    }
    return -1;
  }

  /** Swaps two slots. Every tail follows, also that of a slot that was claimed and lists no id yet. */
  #swap(a: number, b: number): void {
    swap(this.pos, a, b);
    swap(this.src, a, b);
    swap(this.lo, a, b);
    swap(this.hi, a, b);
    for (let q = 0; q < this.size; q++) {
      const t = this.tail[q]!;
      if (t === a) this.tail[q] = b;
      else if (t === b) this.tail[q] = a;
    }
  }

  #settle(slot: number, lo: number, hi: number, lastPos: number): void {
    this.pos[slot] = lastPos;
    this.lo[slot] = lo;
    this.hi[slot] = hi;
    if (sizeOf(lo, hi) === 1) this.tail[firstOf(lo, hi)] = slot;
    else for (const q of idsOf(lo, hi)) this.tail[q] = slot;
  }

  #recount(): void {
    let used = 0;
    for (let i = 0; i < this.size; i++) if (this.lo[i] !== 0 || this.hi[i] !== 0) used++;
    this.used = used;
  }

  /** Takes a sequence out of its slot; an abandoned slot becomes empty. Returns the slot if it did, else -1. */
  #drop(seq: number): number {
    const slot = this.tail[seq]!;
    if (slot < 0) return -1;
    this.tail[seq] = -1;
    this.lo[slot]! &= ~loOf(seq);
    this.hi[slot]! &= ~hiOf(seq);
    if (this.lo[slot] !== 0 || this.hi[slot] !== 0) return -1;
    this.pos[slot] = -1;
    this.src[slot] = -1;
    this.used--;
    return slot;
  }

  /** Whether seqRm would be refused: the range cuts a state. */
  cuts(seq: number, p0: number, p1: number): boolean {
    const from = Math.max(p0, 0);
    const to = p1 < 0 ? Infinity : p1;
    if (seq < 0) return from < to && !(from === 0 && to === Infinity);
    const slot = this.tail[seq]!;
    if (slot < 0 || from >= to) return false;
    const pos = this.pos[slot]!;
    return from <= pos && !(from === 0 && to > pos);
  }

  seqRm(seq: number, p0: number, p1: number): boolean {
    if (this.cuts(seq, p0, p1)) return false;
    const from = Math.max(p0, 0);
    const to = p1 < 0 ? Infinity : p1;
    if (from >= to) return true;
    for (let q = 0; q < this.size; q++) {
      if (seq >= 0 && q !== seq) continue;
      const slot = this.tail[q]!;
      if (slot < 0 || this.pos[slot]! < from) continue;
      const freed = this.#drop(q);
      if (freed >= 0 && freed < this.head) this.head = freed;
    }
    return true;
  }

  seqCp(from: number, to: number): void {
    if (from === to) return;
    this.#drop(to);
    const slot = this.tail[from]!;
    if (slot < 0) return;
    this.tail[to] = slot;
    this.lo[slot]! |= loOf(to);
    this.hi[slot]! |= hiOf(to);
  }

  /** The slot in which a sequence, which has one, can change its state's books: its own, or an empty one if it is shared. */
  slotFor(seq: number): number {
    const own = this.tail[seq]!;
    return sizeOf(this.lo[own]!, this.hi[own]!) === 1 ? own : this.#nextEmpty(0);
  }

  /** A sequence stands at `pos` from now on, in `slotFor`; if that is another slot, the state was copied there. */
  restand(seq: number, pos: number): void {
    const own = this.tail[seq]!;
    const slot = this.slotFor(seq);
    if (slot !== own) {
      this.#claimFor(seq, own, slot);
      this.src[slot] = slot;
      this.used++;
    }
    this.pos[slot] = pos;
  }

  seqKeep(seq: number): void {
    for (let q = 0; q < this.size; q++) {
      if (q === seq) continue;
      const freed = this.#drop(q);
      if (freed >= 0 && freed < this.head) this.head = freed;
    }
  }

  clear(): void {
    this.pos.fill(-1);
    this.src.fill(-1);
    this.lo.fill(0);
    this.hi.fill(0);
    this.tail.fill(-1);
    this.head = 0;
    this.used = 0;
  }

  seqPosMax(seq: number): number {
    const slot = this.tail[seq]!;
    return slot < 0 ? -1 : this.pos[slot]!;
  }

  /** The same: memory holds one state, that of the last position (spec: batching.md 4.4). */
  seqPosMin(seq: number): number {
    return this.seqPosMax(seq);
  }

  findSlot(
    sets: readonly (readonly number[])[],
    _n_seq_tokens: number,
    last_pos: readonly number[],
  ): SlotPlacement {
    const lo = sets.map((ids) => ids.reduce((mask, q) => mask | loOf(q), 0));
    const hi = sets.map((ids) => ids.reduce((mask, q) => mask | hiOf(q), 0));
    this.place(sets.length, lo, hi, last_pos);
    return { head: this.head, n: this.window, src0: Array.from(this.src0.subarray(0, this.window)) };
  }

  view(): SlotView {
    return {
      head: this.head,
      used: this.used,
      cells: Array.from(this.pos, (pos, i) => ({
        pos,
        src: this.src[i]!,
        seq: idsOf(this.lo[i]!, this.hi[i]!),
      })),
      tail: Array.from(this.tail),
    };
  }

  /** Throws if the books contradict themselves (INV-RS-1..3). */
  assertSound(): void {
    for (let i = 0; i < this.size; i++) {
      if (this.lo[i] === 0 && this.hi[i] === 0 && this.pos[i] !== -1) {
        throw new IsobatchError('internal', `empty slot ${i} has position ${this.pos[i]}`);
      }
    }
    for (let q = 0; q < this.size; q++) {
      const slot = this.tail[q]!;
      for (let i = 0; i < this.size; i++) {
        if (has(this.lo[i]!, this.hi[i]!, q) !== (i === slot)) {
          throw new IsobatchError('internal', `sequence ${q} has tail ${slot}, but slot ${i} disagrees`);
        }
      }
    }
  }
}

function swap(list: Int32Array, a: number, b: number): void {
  const held = list[a]!;
  list[a] = list[b]!;
  list[b] = held;
}

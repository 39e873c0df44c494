/**
 * Slots of recurrent memory: which row holds the state of which sequence (spec: batching.md 4.2, the newer variant,
 * with 4.9 for the tails of claimed cells, and 4.4 for sequence operations).
 *
 * A cell says in which row its state lies (`src`, -1 = the zero state); `tail` says in which cell a sequence has its
 * state. Bookkeeping only: no state data is here. As in the specification every cell of a window gets `src` = its own
 * index, an empty one too: what is written to its row is the zero state, so whoever claims it later still starts from
 * zero. A part of a state cannot be removed: `seqRm` refuses it (spec: DESIGN.md "Legal input").
 */
import type { Pos, SeqId } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { SlotMemory, SlotPlacement, SlotView } from '../contract/white.ts';
import { POS_END, range } from './ranges.ts';

interface Cell {
  pos: Pos;
  src: number;
  seq: SeqId[];
}

export class Slots implements SlotMemory {
  readonly #cells: Cell[];
  readonly #tail: number[];
  #head = 0;
  #used = 0;

  constructor(n_slots: number) {
    this.#cells = Array.from({ length: n_slots }, () => ({ pos: -1, src: -1, seq: [] }));
    this.#tail = new Array<number>(n_slots).fill(-1);
  }

  findSlot(
    sets: readonly (readonly SeqId[])[],
    n_seq_tokens: number,
    last_pos: readonly Pos[],
  ): SlotPlacement {
    this.#checkUbatch(sets, n_seq_tokens, last_pos);
    // Step 0: do not search far behind the cells in use.
    if (this.#head > this.#used + 2 * sets.length) {
      this.#head = 0;
    }
    this.#loseSharedStates(sets);
    const { min, max } = this.#claim(sets);
    // Step 4: the sets move to neighbouring cells, in their order.
    for (let s = 0; s < sets.length; s++) {
      const r = this.#tail[sets[s]![0]!]!;
      if (r !== min + s) {
        this.swapCells(min + s, r);
      }
    }
    // Step 5: the cells become theirs.
    for (let s = 0; s < sets.length; s++) {
      const cell = this.#cells[min + s]!;
      cell.pos = last_pos[s]!;
      cell.seq = [...sets[s]!].sort((a, b) => a - b);
      for (const seq of sets[s]!) {
        this.#tail[seq] = min + s;
      }
    }
    // Step 6: from where each row of the window is read; after the ubatch each lies in its own cell.
    const src0: number[] = [];
    for (let i = min; i <= max; i++) {
      src0.push(this.#cells[i]!.src);
      this.#cells[i]!.src = i;
    }
    // Step 7.
    this.#head = min;
    this.#used = this.#cells.filter((cell) => cell.seq.length > 0).length;
    return { head: min, n: max - min + 1, src0 };
  }

  seqRm(seq: SeqId, p0: Pos, p1: Pos): boolean {
    const r = range(p0, p1);
    if (seq >= this.#tail.length) {
      return false;
    }
    if (r.p0 >= r.p1) {
      return true;
    }
    if (seq < 0) {
      if (r.p0 > 0 || r.p1 < POS_END) {
        return false;
      }
      this.#reduce(() => []);
      this.#tail.fill(-1);
      return true;
    }
    const tail = this.#tail[seq]!;
    if (tail < 0 || r.p0 > this.#cells[tail]!.pos) {
      return true;
    }
    if (r.p0 > 0 || r.p1 <= this.#cells[tail]!.pos) {
      return false;
    }
    this.#drop(seq);
    return true;
  }

  seqCp(from: SeqId, to: SeqId): void {
    if (from === to || !this.#known(from) || !this.#known(to)) {
      return;
    }
    // The releases leave head alone here, unlike in seqRm and seqKeep.
    const head = this.#head;
    this.#drop(to);
    this.#head = head;
    const tail = this.#tail[from]!;
    if (tail >= 0) {
      const cell = this.#cells[tail]!;
      cell.seq = [...cell.seq, to].sort((a, b) => a - b);
      this.#tail[to] = tail;
    }
  }

  seqKeep(seq: SeqId): void {
    for (let other = 0; other < this.#tail.length; other++) {
      if (other !== seq) {
        this.#tail[other] = -1;
      }
    }
    this.#reduce((cell) => cell.seq.filter((id) => id === seq));
  }

  clear(): void {
    for (const cell of this.#cells) {
      cell.pos = -1;
      cell.src = -1;
      cell.seq = [];
    }
    this.#tail.fill(-1);
    this.#head = 0;
    this.#used = 0;
  }

  seqPosMin(seq: SeqId): Pos {
    return this.seqPosMax(seq);
  }

  seqPosMax(seq: SeqId): Pos {
    const tail = this.#tail[seq] ?? -1;
    return tail < 0 ? -1 : this.#cells[tail]!.pos;
  }

  view(): SlotView {
    return {
      head: this.#head,
      used: this.#used,
      cells: this.#cells.map((cell) => ({ pos: cell.pos, src: cell.src, seq: [...cell.seq] })),
      tail: [...this.#tail],
    };
  }

  /** Step 4 and 4.9: two cells change places, and every tail that points to one now points to the other. */
  swapCells(d: number, r: number): void {
    [this.#cells[d], this.#cells[r]] = [this.#cells[r]!, this.#cells[d]!];
    for (let seq = 0; seq < this.#tail.length; seq++) {
      if (this.#tail[seq] === r) {
        this.#tail[seq] = d;
      } else if (this.#tail[seq] === d) {
        this.#tail[seq] = r;
      }
    }
  }

  /** Refuses what no splitter makes; before any change. */
  #checkUbatch(sets: readonly (readonly SeqId[])[], n_seq_tokens: number, last_pos: readonly Pos[]): void {
    if (sets.length === 0 || last_pos.length !== sets.length || n_seq_tokens < 1) {
      throw new IsobatchError(
        'internal',
        `an ubatch of ${sets.length} sets with ${last_pos.length} positions, ${n_seq_tokens} tokens a set`,
      );
    }
    for (const ids of sets) {
      const seq = ids.find((id) => !this.#known(id));
      if (ids.length === 0 || seq !== undefined) {
        throw new IsobatchError('batch.seq_id', `sequence ${seq} is not in 0..${this.#tail.length - 1}`, {
          seq,
          n_seq_max: this.#tail.length,
        });
      }
    }
  }

  /** Step 1: ids that become shared lose their own state. */
  #loseSharedStates(sets: readonly (readonly SeqId[])[]): void {
    for (const ids of sets) {
      for (const seq of ids.slice(1)) {
        const tail = this.#tail[seq]!;
        if (tail < 0) {
          continue;
        }
        const cell = this.#cells[tail]!;
        cell.seq = cell.seq.filter((id) => id !== seq);
        this.#tail[seq] = -1;
        if (cell.seq.length === 0) {
          cell.pos = -1;
          cell.src = -1;
          this.#used -= 1;
        }
      }
    }
  }

  /** Steps 2 and 3: each set has a cell of its own; a shared state is copied on write, by copying `src`. */
  #claim(sets: readonly (readonly SeqId[])[]): { min: number; max: number } {
    let e = this.#nextEmpty(this.#head);
    let min = this.#cells.length;
    let max = -1;
    for (let s = 0; s < sets.length; s++) {
      const p = sets[s]![0]!;
      const tail = this.#tail[p]!;
      const own = tail >= 0 && this.#cells[tail]!.seq.length === 1;
      if (!own) {
        if (tail >= 0) {
          const shared = this.#cells[tail]!;
          const copy = this.#cells[e]!;
          copy.pos = shared.pos;
          copy.src = shared.src;
          shared.seq = shared.seq.filter((id) => id !== p);
          copy.seq = [p];
        }
        this.#tail[p] = e;
        if (s + 1 < sets.length) {
          e = this.#nextEmpty(e + 1);
        }
      }
      min = Math.min(min, this.#tail[p]!);
      max = Math.max(max, this.#tail[p]!);
    }
    return { min, max };
  }

  /** The first empty cell at or after i, cyclically; i itself (wrapped) if there is none, which nobody then needs. */
  #nextEmpty(i: number): number {
    const size = this.#cells.length;
    for (let k = 0; k < size; k++) {
      if (this.#cells[(i + k) % size]!.seq.length === 0) {
        return (i + k) % size;
      }
    }
    return i % size;
  }

  /** A sequence loses its state. */
  #drop(seq: SeqId): void {
    this.#tail[seq] = -1;
    this.#reduce((cell) => cell.seq.filter((id) => id !== seq));
  }

  /** Gives every cell in use the ids that remain; a cell that is emptied by this is where the search starts. */
  #reduce(remaining: (cell: Cell) => SeqId[]): void {
    this.#cells.forEach((cell, i) => {
      if (cell.seq.length === 0) {
        return;
      }
      cell.seq = remaining(cell);
      if (cell.seq.length === 0) {
        cell.pos = -1;
        cell.src = -1;
        this.#used -= 1;
        this.#head = Math.min(this.#head, i);
      }
    });
  }

  #known(seq: SeqId): boolean {
    return Number.isInteger(seq) && seq >= 0 && seq < this.#tail.length;
  }
}

/**
 * Cells of the attention cache: where tokens go, and what sequence operations do to them (spec: batching.md 5.2 and
 * 5.4, the newer rules; one stream, no window, cells need not be neighbours).
 *
 * Everything that frees a cell moves head down to it, so no free cell lies below head: the reset of head and the wrap
 * of the search are in the rule, but without windows no history reaches them.
 */
import type { Pos, SeqId } from '../contract/batch.ts';
import type { CellMemory, CellView } from '../contract/white.ts';
import { masked } from './mask.ts';
import { inRange, range } from './ranges.ts';

interface Cell {
  pos: Pos;
  seq: SeqId[];
}

export class Cells implements CellMemory {
  readonly #cells: Cell[];
  #head = 0;
  #used = 0;

  constructor(n_cells: number) {
    this.#cells = Array.from({ length: n_cells }, () => ({ pos: -1, seq: [] }));
  }

  place(pos: readonly Pos[], sets: readonly (readonly SeqId[])[]): readonly number[] | null {
    const size = this.#cells.length;
    const n_tokens = pos.length;
    const start = this.#head > this.#used + 2 * n_tokens ? 0 : this.#head;
    const idxs: number[] = [];
    for (let tested = 0; tested < size && idxs.length < n_tokens; tested++) {
      const i = (start + tested) % size;
      if (this.#cells[i]!.seq.length === 0) {
        idxs.push(i);
      }
    }
    if (idxs.length < n_tokens) {
      return null;
    }
    for (let t = 0; t < n_tokens; t++) {
      const cell = this.#cells[idxs[t]!]!;
      cell.pos = pos[t]!;
      cell.seq = ascending(sets[t]!);
      this.#head = idxs[t]! + 1;
    }
    this.#used += n_tokens;
    return idxs;
  }

  seqRm(seq: SeqId, p0: Pos, p1: Pos): boolean {
    const r = range(p0, p1);
    this.#reduce((cell) => {
      if (!inRange(cell.pos, r)) {
        return cell.seq;
      }
      return seq < 0 ? [] : cell.seq.filter((id) => id !== seq);
    });
    return true;
  }

  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void {
    const r = range(p0, p1);
    for (const cell of this.#cells) {
      if (cell.seq.includes(from) && inRange(cell.pos, r) && !cell.seq.includes(to)) {
        cell.seq = ascending([...cell.seq, to]);
      }
    }
  }

  seqKeep(seq: SeqId): void {
    this.#reduce((cell) => cell.seq.filter((id) => id === seq));
  }

  clear(): void {
    for (const cell of this.#cells) {
      cell.pos = -1;
      cell.seq = [];
    }
    this.#head = 0;
    this.#used = 0;
  }

  seqPosMin(seq: SeqId): Pos {
    const pos = this.#positions(seq);
    return pos.length === 0 ? -1 : Math.min(...pos);
  }

  seqPosMax(seq: SeqId): Pos {
    return Math.max(-1, ...this.#positions(seq));
  }

  view(): CellView {
    return {
      head: this.#head,
      used: this.#used,
      cells: this.#cells.map((cell) => ({ pos: cell.pos, seq: [...cell.seq] })),
    };
  }

  visible(seq: SeqId, pos: Pos): readonly number[] {
    const query = { seq, pos };
    const seen: number[] = [];
    for (let i = 0; i < this.#cells.length; i++) {
      if (!masked(this.#cells[i]!, query)) {
        seen.push(i);
      }
    }
    return seen.sort((a, b) => this.#cells[a]!.pos - this.#cells[b]!.pos || a - b);
  }

  /** Gives every cell in use the ids that remain; a cell without ids is free, and the search starts there. */
  #reduce(remaining: (cell: Cell) => SeqId[]): void {
    this.#cells.forEach((cell, i) => {
      if (cell.seq.length === 0) {
        return;
      }
      cell.seq = remaining(cell);
      if (cell.seq.length === 0) {
        cell.pos = -1;
        this.#used -= 1;
        this.#head = Math.min(this.#head, i);
      }
    });
  }

  #positions(seq: SeqId): Pos[] {
    return this.#cells.filter((cell) => cell.seq.includes(seq)).map((cell) => cell.pos);
  }
}

function ascending(ids: readonly SeqId[]): SeqId[] {
  return [...ids].sort((a, b) => a - b);
}

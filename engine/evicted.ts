/**
 * What windows have forgotten: by sequence, the positions of tokens that its cells no longer hold, ascending. The
 * sequence still has these tokens; only no query that may come can see them. Whoever would make one that can (a removal
 * of what came after) is refused, which is what this book is for.
 *
 * Ranges are [p0, p1); a negative p0 means 0, a negative p1 means the end.
 */
import { isIn, MAX_SEQ } from './sets.ts';

export class Evicted {
  readonly #pos: Int32Array[] = Array.from({ length: MAX_SEQ }, () => NONE);
  readonly #count = new Int32Array(MAX_SEQ);

  /** Positions of a sequence are forgotten in order. */
  append(seq: number, pos: number): void {
    const n = this.#count[seq]!;
    if (n === this.#pos[seq]!.length) {
      const larger = new Int32Array(Math.max(16, 2 * n));
      larger.set(this.#pos[seq]!);
      this.#pos[seq] = larger;
    }
    this.#pos[seq]![n] = pos;
    this.#count[seq] = n + 1;
  }

  /** The largest forgotten position that `keeps` answers true for, -1 if there is none. */
  last(seq: number, keeps: (pos: number) => boolean = always): number {
    const pos = this.#pos[seq]!;
    for (let j = this.#count[seq]! - 1; j >= 0; j--) if (keeps(pos[j]!)) return pos[j]!;
    return -1;
  }

  remove(seq: number, p0: number, p1: number): void {
    const pos = this.#pos[seq]!;
    let kept = 0;
    for (let j = 0; j < this.#count[seq]!; j++) if (!isIn(pos[j]!, p0, p1)) pos[kept++] = pos[j]!;
    this.#count[seq] = kept;
  }

  /** The empty sequence `to` gets what is in the range. */
  copy(from: number, to: number, p0: number, p1: number): void {
    for (let j = 0; j < this.#count[from]!; j++) {
      const pos = this.#pos[from]![j]!;
      if (isIn(pos, p0, p1)) this.append(to, pos);
    }
  }

  /** What a sequence has forgotten, in order. A view: valid until the next change. */
  of(seq: number): Int32Array {
    return this.#pos[seq]!.subarray(0, this.#count[seq]!);
  }

  clear(): void {
    this.#count.fill(0);
  }
}

const NONE = new Int32Array(0);
const always = (): boolean => true;

/**
 * Windows over lists of entries (spec: batching.md 6.2), as literally as they are said: a query sees those entries of its
 * sequence that the mask does not hide. What a window has forgotten is a set of entries for each sequence: those that
 * its next token does not see once a batch with tokens of it is done.
 */
import type { CompleteBatch, Pos, SeqId } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { Window } from '../contract/subject.ts';
import type { CachesShape, WindowMemory } from '../contract/white.ts';
import { type Entry, Sequences } from './entries.ts';
import { swaMasked } from './mask.ts';
import { inRange, range } from './ranges.ts';

/** Whether a query at p1 sees the key at p0, which lies not above it. */
function inWindow(window: Window | null, p0: Pos, p1: Pos): boolean {
  if (window === null) return true;
  return !swaMasked(window.kind === 'sliding' ? 'standard' : 'chunked', window.size, p0, p1);
}

export class WindowLists implements WindowMemory {
  readonly #shape: CachesShape;
  readonly #sequences: Sequences;
  /** By cache and sequence. */
  readonly #forgotten: Set<Entry>[][];

  constructor(shape: CachesShape) {
    this.#shape = shape;
    this.#sequences = new Sequences(shape.n_seq_max);
    this.#forgotten = shape.windows.map(() => this.#ids.map(() => new Set()));
  }

  get #ids(): SeqId[] {
    return Array.from({ length: this.#shape.n_seq_max }, (_, seq) => seq);
  }

  decode(batch: CompleteBatch, _options: unknown, undone: boolean): number[][][] {
    const before = this.#ids.map((seq) => [...this.#sequences.list(seq)]);
    const entries = this.#sequences.decode(batch);
    const seen = this.#shape.windows.map((window) =>
      entries.map(({ saw, pos }) => saw.filter((e) => inWindow(window, e.pos, pos)).map((e) => e.token)),
    );
    if (undone) for (const [seq, list] of before.entries()) this.#sequences.restore(seq, list);
    else this.#forget(new Set(batch.seq_id.flat()));
    return seen;
  }

  #forget(ids: ReadonlySet<SeqId>): void {
    this.#shape.windows.forEach((window, w) => {
      for (const seq of ids) {
        const next = this.seqPosMax(seq) + 1;
        for (const e of this.#sequences.list(seq))
          if (!inWindow(window, e.pos, next)) this.#forgotten[w]![seq]!.add(e);
      }
    });
  }

  /** Throws `ops.partial` if the token after these entries of a sequence would see a forgotten one. */
  #refuseMissing(seq: SeqId, rest: readonly Entry[]): void {
    if (rest.length === 0) return;
    const next = Math.max(...rest.map((e) => e.pos)) + 1;
    this.#shape.windows.forEach((window, w) => {
      for (const e of rest) {
        if (!this.#forgotten[w]![seq]!.has(e) || !inWindow(window, e.pos, next)) continue;
        throw new IsobatchError('ops.partial', `cache ${w} of sequence ${seq} has forgotten ${e.pos}`, {
          seq,
        });
      }
    });
  }

  seqRm(seq: SeqId, p0: Pos, p1: Pos): void {
    const r = range(p0, p1);
    for (const s of seq === -1 ? this.#ids : [seq])
      this.#refuseMissing(
        s,
        this.#sequences.list(s).filter((e) => !inRange(e.pos, r)),
      );
    this.#sequences.seqRm(seq, p0, p1);
  }

  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void {
    const part = this.#sequences.list(from).filter((e) => inRange(e.pos, range(p0, p1)));
    this.#refuseMissing(from, part);
    this.#sequences.seqCp(from, to, p0, p1);
    for (const bySeq of this.#forgotten) bySeq[to] = new Set(part.filter((e) => bySeq[from]!.has(e)));
  }

  seqAdd(seq: SeqId, p0: Pos, p1: Pos, delta: number): void {
    this.#move(seq, (sequences) => sequences.seqAdd(seq, p0, p1, delta));
  }

  seqDiv(seq: SeqId, p0: Pos, p1: Pos, divisor: number): void {
    this.#move(seq, (sequences) => sequences.seqDiv(seq, p0, p1, divisor));
  }

  /**
   * What was forgotten stays so wherever it stands. A move that shows it to the next token is taken back and refused, and
   * so is one that takes two entries to one position.
   */
  #move(seq: SeqId, move: (sequences: Sequences) => void): void {
    const before = this.#sequences.list(seq);
    move(this.#sequences);
    const after = this.#sequences.list(seq);
    const standing = this.#forgotten.map((bySeq) => bySeq[seq]!);
    for (const bySeq of this.#forgotten) {
      const forgotten = bySeq[seq]!;
      bySeq[seq] = new Set(after.filter((_, i) => forgotten.has(before[i]!)));
    }
    try {
      if (new Set(after.map((e) => e.pos)).size < after.length)
        throw new IsobatchError('ops.range', `two entries of sequence ${seq} would have one position`, {
          seq,
        });
      this.#refuseMissing(seq, after);
    } catch (error) {
      this.#sequences.restore(seq, before);
      for (const [w, bySeq] of this.#forgotten.entries()) bySeq[seq] = standing[w]!;
      throw error;
    }
  }

  seqKeep(seq: SeqId): void {
    this.#sequences.seqKeep(seq);
  }

  clear(): void {
    this.#sequences.clear();
  }

  seqPosMin(seq: SeqId): Pos {
    const list = this.#sequences.list(seq);
    if (list.length === 0) return -1;
    const kept = this.#forgotten.map((bySeq) => list.filter((e) => !bySeq[seq]!.has(e)).map((e) => e.pos));
    return Math.max(...kept.map((pos) => Math.min(this.seqPosMax(seq) + 1, ...pos)));
  }

  seqPosMax(seq: SeqId): Pos {
    return this.#sequences.posMax(seq);
  }
}

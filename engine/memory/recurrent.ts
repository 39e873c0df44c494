/**
 * Recurrent memory: the books of slots, and for each ubatch where states come from and go to. Alone it cannot fail;
 * beside attention a batch may, and then books and states are those that it began with.
 */
import { IsobatchError } from '../../contract/errors.ts';
import { DIM } from '../../native/plan.ts';
import type { FlatBatch } from '../flat-batch.ts';
import type { RecurrentIndex } from '../layout.ts';
import { isIn } from '../sets.ts';
import { Slots } from '../slots.ts';
import type { Splitter } from '../split.ts';
import type { Memory, Move, MovedRows, UbatchTarget } from './memory.ts';
import { StateRows } from './state-rows.ts';

export class RecurrentMemory implements Memory {
  readonly slots: Slots;
  readonly #layout: RecurrentIndex;
  readonly #cache: number;
  readonly #rows: StateRows;
  readonly #lo: Int32Array;
  readonly #hi: Int32Array;
  readonly #lastPos: Int32Array;

  /** `cache`: its number in the network. */
  constructor(layout: RecurrentIndex, cache: number) {
    this.#cache = cache;
    const n_seq_max = layout.size;
    this.#layout = layout;
    this.slots = new Slots(n_seq_max);
    this.#rows = new StateRows(n_seq_max, layout.spare);
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
  begin(): void {
    if (!this.#layout.spare) return;
    this.slots.save();
    this.#rows.begin();
  }

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
   * States that are computed on are read from their row directly, unless this ubatch writes that row for another slot;
   * those, and states that only move, are gathered first. An empty slot in the window gets the zero state, for the books
   * say from now on that its state lies in its own row.
   */
  #writeStates(n: number, { index, dims }: UbatchTarget): void {
    const layout = this.#layout;
    const { head, window } = this.slots;
    let moved = 0;
    let extra = 0;
    for (let i = 0; i < window; i++) {
      const slot = head + i;
      const src = this.slots.src0[i]!;
      const row = src < 0 ? -1 : this.#rows.of(src);
      if (i < n) {
        const inWindow = src >= head && src < head + window;
        const direct = src === slot || !inWindow || !this.#rows.overwrites(src);
        index[layout.srcIds + i] = direct ? row : -2 - moved;
        if (!direct) index[layout.movedIds + moved++] = row;
      } else if (src !== slot) {
        index[layout.extraSrc + extra] = moved;
        index[layout.extraDst + extra++] = slot;
        index[layout.movedIds + moved++] = row;
      }
    }
    dims[DIM.moved] = moved;
    dims[DIM.extra] = extra;
    // Only now, when all that is read is known, may states change their rows.
    for (let i = 0; i < n; i++) index[layout.dstIds + i] = this.#rows.write(head + i);
    for (let j = 0; j < extra; j++)
      index[layout.extraDst + j] = this.#rows.write(index[layout.extraDst + j]!);
  }

  commit(): void {}

  rollback(): void {
    if (!this.#layout.spare) throw new IsobatchError('internal', 'nothing of a recurrent plan can fail');
    this.slots.restore();
    this.#rows.rollback();
  }

  checkRm(seq: number, p0: number, p1: number): void {
    if (!this.slots.cuts(seq, p0, p1)) return;
    throw partRefused('remove', seq, { p0, p1, last: seq < 0 ? 0 : this.slots.seqPosMax(seq) });
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.slots.seqRm(seq, p0, p1);
  }

  checkCp(from: number, to: number, p0: number, p1: number): void {
    const last = this.slots.seqPosMax(from);
    const begin = Math.max(p0, 0);
    const end = p1 < 0 ? Infinity : p1;
    if (isEmptyRange(begin, end, last) || (begin === 0 && end > last)) return;
    throw partRefused('copy', from, { to, p0, p1, last });
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    if (isEmptyRange(Math.max(p0, 0), p1 < 0 ? Infinity : p1, this.slots.seqPosMax(from))) return;
    this.slots.seqCp(from, to);
  }

  /** A state has one position, that of its last token, and moves whole. */
  checkMove(seq: number, move: Move): void {
    checkStateMove(seq, move, this.slots.seqPosMax(seq));
  }

  /** A state that others share is copied. */
  planMove(seq: number, { p0, p1, to }: Move): MovedRows[] {
    const last = this.slots.seqPosMax(seq);
    if (isEmptyRange(Math.max(p0, 0), p1 < 0 ? Infinity : p1, last)) return [];
    if (to(last) === last) return [];
    const own = this.slots.tail[seq]!;
    const other = this.slots.slotFor(seq);
    if (other === own) return [];
    const rows = { from: [this.#rows.of(own)], to: [this.#rows.of(other)] };
    return [{ cache: this.#cache, ...rows, delta: [0] }];
  }

  move(seq: number, { p0, p1, to }: Move): void {
    const last = this.slots.seqPosMax(seq);
    if (last >= 0 && isIn(last, p0, p1) && to(last) !== last) this.slots.restand(seq, to(last));
  }

  seqKeep(seq: number): void {
    this.slots.seqKeep(seq);
  }

  clear(): void {
    this.slots.clear();
  }
}

/** Throws if the state of a sequence that ends at `last` cannot move so. */
export function checkStateMove(seq: number, { p0, p1, to }: Move, last: number): void {
  const [begin, end] = [Math.max(p0, 0), p1 < 0 ? Infinity : p1];
  if (isEmptyRange(begin, end, last)) return;
  if (begin > 0 || end <= last) throw partRefused('move', seq, { p0, p1, last });
  if (to(last) < 0)
    throw new IsobatchError('ops.range', `sequence ${seq} would end at position ${to(last)}`, { seq });
}

/** A refusal to do something with a part of a state; `seq` -1: of all states. */
export function partRefused(
  verb: 'remove' | 'copy' | 'move',
  seq: number,
  { last, ...how }: { readonly p0: number; readonly p1: number; readonly last: number; readonly to?: number },
): IsobatchError {
  const who = seq < 0 ? 'all sequences' : `sequence ${seq}, which ends at position ${last}`;
  const message = `recurrent memory cannot ${verb} the part [${how.p0}, ${how.p1}) of ${who}`;
  return new IsobatchError('ops.partial', message, { seq, ...how });
}

/** Whether nothing of a sequence that ends at `last` lies in [begin, end). */
export function isEmptyRange(begin: number, end: number, last: number): boolean {
  return begin > last || begin >= end;
}

/**
 * Several caches as one memory: each layer of the model uses one of them, and all hold the same sequences. They change
 * together or not at all: what one of them would refuse is asked before any of them changes.
 */
import type { FlatBatch } from '../flat-batch.ts';
import type { Splitter } from '../split.ts';
import type { Memory, Move, MovedRows, UbatchTarget } from './memory.ts';

export class SeveralMemories implements Memory {
  readonly caches: readonly Memory[];
  /** The cache that keeps every position of a sequence, if there is one: its word on who owns what counts. */
  readonly #whole: Memory;

  /** `whole` is one of them. */
  constructor(caches: readonly Memory[], whole: Memory) {
    this.caches = caches;
    this.#whole = whole;
  }

  posMax(seq: number): number {
    return this.#whole.posMax(seq);
  }

  /** From here on every cache remembers: a window may have forgotten what lies before. */
  posMin(seq: number): number {
    let most = -1;
    for (const cache of this.caches) most = Math.max(most, cache.posMin(seq));
    return most;
  }

  owned(seq: number): ArrayLike<unknown> {
    return this.#whole.owned(seq);
  }

  begin(batch: FlatBatch): void {
    for (const cache of this.caches) cache.begin(batch);
  }

  place(batch: FlatBatch, split: Splitter, u: number, target: UbatchTarget): void {
    for (const cache of this.caches) cache.place(batch, split, u, target);
  }

  commit(batch: FlatBatch): void {
    for (const cache of this.caches) cache.commit(batch);
  }

  rollback(): void {
    for (const cache of this.caches) cache.rollback();
  }

  checkRm(seq: number, p0: number, p1: number): void {
    for (const cache of this.caches) cache.checkRm(seq, p0, p1);
  }

  seqRm(seq: number, p0: number, p1: number): void {
    for (const cache of this.caches) cache.seqRm(seq, p0, p1);
  }

  checkCp(from: number, to: number, p0: number, p1: number): void {
    for (const cache of this.caches) cache.checkCp(from, to, p0, p1);
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    for (const cache of this.caches) cache.seqCp(from, to, p0, p1);
  }

  checkMove(seq: number, move: Move): void {
    for (const cache of this.caches) cache.checkMove(seq, move);
  }

  planMove(seq: number, move: Move): MovedRows[] {
    return this.caches.flatMap((cache) => cache.planMove(seq, move));
  }

  move(seq: number, move: Move): void {
    for (const cache of this.caches) cache.move(seq, move);
  }

  seqKeep(seq: number): void {
    for (const cache of this.caches) cache.seqKeep(seq);
  }

  clear(): void {
    for (const cache of this.caches) cache.clear();
  }
}

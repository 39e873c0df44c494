/**
 * The engine's caches as a white-box property sees them: the memory that a context would have, with the index space that
 * the attention kernels read. Which token's key lies in a cell is what was stored there last.
 */
import type { CompleteBatch, Pos, SeqId, SplitOptions } from '../contract/batch.ts';
import type { CachesShape, WindowMemory } from '../contract/white.ts';
import { N_DIMS } from '../native/plan.ts';
import { flatten } from './batch.ts';
import { FlatBatch } from './flat-batch.ts';
import { type AttentionIndex, type IndexLayout, indexLayout } from './layout.ts';
import type { Memory, Move, UbatchTarget } from './memory/memory.ts';
import { openMemory } from './memory/open.ts';
import { Splitter } from './split.ts';

export class ShownCaches implements WindowMemory {
  readonly #layout: IndexLayout;
  readonly #memory: Memory;
  readonly #target: UbatchTarget;
  readonly #batch = new FlatBatch();
  readonly #splitter = new Splitter();
  /** By cache: the token whose key each cell holds. */
  readonly #held: Int32Array[];

  constructor({ windows, n_ctx, n_batch, n_seq_max }: CachesShape) {
    const sizes = { tokens: n_batch, n_ctx, n_batch, n_seq_max, n_rs_seq: 0 };
    this.#layout = indexLayout(
      windows.map((window) => (window === null ? { kind: 'attention' } : { kind: 'attention', window })),
      sizes,
    );
    this.#memory = openMemory(this.#layout.caches, n_batch);
    const { end } = this.#layout;
    this.#target = { index: new Int32Array(end), indexEnd: end, dims: new Int32Array(N_DIMS) };
    this.#held = this.#caches.map(({ size }) => new Int32Array(size).fill(-1));
  }

  get #caches(): readonly AttentionIndex[] {
    return this.#layout.caches as readonly AttentionIndex[];
  }

  decode(batch: CompleteBatch, options: SplitOptions, undone: boolean): number[][][] {
    const splitter = this.#splitter;
    flatten(batch, this.#batch);
    splitter.split(this.#batch, options.policy, options.n_ubatch, options.n_keep_tail ?? 0);
    this.#memory.begin(this.#batch);
    const seen = this.#caches.map(() => batch.token.map((): number[] => []));
    for (let u = 0; u < splitter.n_ubatches; u++) {
      const tokens = splitter.index.subarray(splitter.begin[u], splitter.begin[u + 1]);
      this.#target.indexEnd = this.#layout.end;
      this.#memory.place(this.#batch, splitter, u, this.#target);
      this.#caches.forEach((cache, at) => {
        tokens.forEach((i, j) => {
          this.#held[at]![this.#target.index[cache.cells + j]!] = batch.token[i]!;
        });
        this.#see(cache, this.#held[at]!, tokens, seen[at]!);
      });
    }
    if (undone) this.#memory.rollback();
    else this.#memory.commit(this.#batch);
    return seen;
  }

  /** What the queries of the ubatch would read: `native/plan.ts`, attention. */
  #see(cache: AttentionIndex, held: Int32Array, tokens: Int32Array, seen: number[][]): void {
    const { index } = this.#target;
    const keyCell = index[cache.attention + 5]!;
    for (let q = 0; q < tokens.length; q++) {
      const keys = index.subarray(
        keyCell + index[cache.queryBegin + q]!,
        keyCell + index[cache.queryEnd + q]!,
      );
      seen[tokens[index[cache.queryRow + q]!]!] = Array.from(keys, (cell) => held[cell]!);
    }
  }

  seqRm(seq: SeqId, p0: Pos, p1: Pos): void {
    this.#memory.checkRm(seq, p0, p1);
    this.#memory.seqRm(seq, p0, p1);
  }

  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void {
    this.#memory.checkCp(from, to, p0, p1);
    this.#memory.seqCp(from, to, p0, p1);
  }

  seqAdd(seq: SeqId, p0: Pos, p1: Pos, delta: number): void {
    this.#move(seq, { p0, p1, to: (pos) => pos + delta });
  }

  seqDiv(seq: SeqId, p0: Pos, p1: Pos, divisor: number): void {
    this.#move(seq, { p0, p1, to: (pos) => Math.floor(pos / divisor) });
  }

  /** Keys go where the rows of a context would. */
  #move(seq: SeqId, move: Move): void {
    this.#memory.checkMove(seq, move);
    for (const { cache, from, to } of this.#memory.planMove(seq, move)) {
      const held = this.#held[cache]!;
      const keys = from.map((cell) => held[cell]!);
      for (const [j, cell] of to.entries()) held[cell] = keys[j]!;
    }
    this.#memory.move(seq, move);
  }

  seqKeep(seq: SeqId): void {
    this.#memory.seqKeep(seq);
  }

  clear(): void {
    this.#memory.clear();
  }

  seqPosMin(seq: SeqId): Pos {
    return this.#memory.posMin(seq);
  }

  seqPosMax(seq: SeqId): Pos {
    return this.#memory.posMax(seq);
  }
}

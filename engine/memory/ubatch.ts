/**
 * What a model without memory attends to: the tokens of its own sequence in the ubatch, on both sides (spec: batching.md
 * 6.3), with a window no farther away than it says (6.2). Policy `whole` keeps sequences in one ubatch; nothing stays
 * behind it, so there is nothing to remove, copy or move.
 */
import { IsobatchError } from '../../contract/errors.ts';
import type { FlatBatch } from '../flat-batch.ts';
import type { AttentionIndex } from '../layout.ts';
import { countBelow } from '../mask.ts';
import type { Splitter } from '../split.ts';
import { AttentionMemory } from './attention.ts';
import type { UbatchTarget } from './memory.ts';

export class UbatchMemory extends AttentionMemory {
  readonly #around: number;

  constructor(layout: AttentionIndex, n_batch: number, cache: number) {
    super(layout, n_batch, cache);
    this.#around = layout.around ?? Number.POSITIVE_INFINITY;
  }

  /** Throws `batch.coupled` for a token of several sequences, which would be one another's neighbours. */
  override begin(batch: FlatBatch): void {
    for (let i = 0; i < batch.n_tokens; i++) {
      const set = batch.set[i]!;
      if (batch.setSize[set]! === 1) continue;
      throw new IsobatchError(
        'batch.coupled',
        `token ${i} belongs to several sequences, which a model without memory cannot keep apart`,
        { index: i },
      );
    }
  }

  override place(batch: FlatBatch, split: Splitter, u: number, target: UbatchTarget): void {
    this.rollback();
    super.place(batch, split, u, target);
  }

  protected override keysFrom(seq: number, pos: number): number {
    return countBelow(this.cells, seq, pos - this.#around);
  }

  protected override keysTo(seq: number, pos: number): number {
    return countBelow(this.cells, seq, pos + this.#around + 1);
  }

  /** Nothing stays. */
  override commit(): void {
    this.rollback();
  }
}

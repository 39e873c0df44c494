import { describe, expect, it } from 'vitest';
import type { Ubatch } from '../contract/batch.ts';
import { Sequences } from './entries.ts';
import { outputIds, outputRows, swapPlan } from './outputs.ts';
import { split } from './split.ts';
import { batchOf, randomBatch, seeded } from './testing.ts';

describe('swapPlan', () => {
  it('does nothing to ascending ids', () => {
    expect(swapPlan([])).toEqual([]);
    expect(swapPlan([3])).toEqual([]);
    expect(swapPlan([1, 4, 9])).toEqual([]);
  });

  it('swaps each row with the smallest behind it', () => {
    expect(swapPlan([4, 2, 6, 5, 7, 10])).toEqual([
      [0, 1],
      [2, 3],
    ]);
    // 3,1,2,0 -> 0,1,2,3 in one swap; 2,0,1 needs two
    expect(swapPlan([3, 1, 2, 0])).toEqual([[0, 3]]);
    expect(swapPlan([2, 0, 1])).toEqual([
      [0, 1],
      [1, 2],
    ]);
  });
});

describe('outputRows', () => {
  it('says where the k-th executed output ends', () => {
    const logits = [true, false, true, true];
    const ubatches: Ubatch[] = [
      { equal_seqs: true, n_seqs: 2, n_seq_tokens: 1, index: [3, 1] },
      { equal_seqs: true, n_seqs: 1, n_seq_tokens: 2, index: [0, 2] },
    ];
    const batch = batchOf([[0], [1], [0], [2]], logits);
    expect(outputIds(batch, ubatches)).toEqual([3, 0, 2]);
    expect(outputRows(batch, ubatches)).toEqual([2, 0, 1]);
  });

  it('holds INV-OUT-1 and 4 on random batches', () => {
    let swapped = 0;
    for (let seed = 0; seed < 300; seed++) {
      const random = seeded(seed);
      const n_tokens = 1 + random(30);
      const batch = randomBatch(random, new Sequences(4), { n_tokens, n_seq_max: 4, n_vocab: 9, shared: 20 });
      const ubatches = split(batch, { policy: 'equal', n_ubatch: 1 + random(8) });
      const out_ids = outputIds(batch, ubatches);
      const rows = outputRows(batch, ubatches);
      // 1: row r belongs to the r-th smallest flagged index
      const flagged = batch.logits.flatMap((flag, i) => (flag ? [i] : []));
      expect(rows.map((row) => flagged[row])).toEqual(out_ids);
      expect(new Set(rows).size).toBe(flagged.length);
      // 4: at most n-1 swaps, each of which brings a row home
      const swaps = swapPlan(out_ids);
      expect(swaps.length).toBeLessThanOrEqual(Math.max(0, flagged.length - 1));
      const ids = [...out_ids];
      for (const [a, b] of swaps) {
        [ids[a], ids[b]] = [ids[b]!, ids[a]!];
        expect(ids[a]).toBe(flagged[a]);
      }
      swapped += swaps.length > 0 ? 1 : 0;
    }
    expect(swapped).toBeGreaterThan(100);
  });
});

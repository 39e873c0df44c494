import { describe, expect, it } from 'vitest';
import { Sequences } from './entries.ts';
import { randomBatch, seeded } from './testing.ts';
import { oracleWhite } from './white.ts';

describe('oracleWhite', () => {
  it('offers every rule behind the contract', () => {
    const batch = randomBatch(seeded(1), new Sequences(3), {
      n_tokens: 20,
      n_seq_max: 3,
      n_vocab: 9,
      shared: 0,
    });
    const ubatches = oracleWhite.split(batch, { policy: 'equal-sequential', n_ubatch: 6 });
    const rows = oracleWhite.outputRows(batch, ubatches);
    const flagged = batch.logits.filter(Boolean).length;
    expect([...rows].sort((a, b) => a - b)).toEqual(Array.from({ length: flagged }, (_, r) => r));
    const slots = oracleWhite.slots(3);
    expect(slots.findSlot([[1]], 4, [3])).toEqual({ head: 0, n: 1, src0: [-1] });
    const cells = oracleWhite.cells(2);
    expect(cells.place([0], [[1]])).toEqual([0]);
    expect(cells.visible(1, 0)).toEqual([0]);
  });
});

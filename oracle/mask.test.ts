import { describe, expect, it } from 'vitest';
import { Cells } from './cells.ts';
import { Sequences } from './entries.ts';
import { CAUSAL, type MaskRules, masked, slope, swaMasked } from './mask.ts';
import { randomBatch, seeded } from './testing.ts';

/** Positions of keys that a query of an append-only sequence of n tokens sees. */
function row(p1: number, n: number, rules: MaskRules): number[] {
  const keys = Array.from({ length: n }, (_, p0) => p0);
  return keys.filter((p0) => !masked({ pos: p0, seq: [0] }, { seq: 0, pos: p1 }, rules));
}

const causal = (swa: MaskRules['swa'], n_swa: number): MaskRules => ({ causal: true, swa, n_swa });

describe('6.1, rule by rule', () => {
  const query = { seq: 1, pos: 5 };

  it('1: an empty cell', () => {
    expect(masked({ pos: -1, seq: [] }, query)).toBe(true);
  });

  it('2: a cell of others; the query has its first sequence only', () => {
    expect(masked({ pos: 3, seq: [0, 2] }, query)).toBe(true);
    expect(masked({ pos: 3, seq: [0, 1] }, query)).toBe(false);
  });

  it('3: a later key, if causal', () => {
    expect(masked({ pos: 6, seq: [1] }, query)).toBe(true);
    expect(masked({ pos: 6, seq: [1] }, query, { causal: false, swa: 'none', n_swa: 0 })).toBe(false);
    expect(masked({ pos: 5, seq: [1] }, query)).toBe(false);
  });

  it('4: at the same position the one that is later by rows', () => {
    const at = { ...query, ext: { y: 1, x: 1 } };
    const key = (y: number, x: number) => masked({ pos: 5, seq: [1], ext: { y, x } }, at);
    expect([key(0, 2), key(1, 0), key(1, 1)]).toEqual([false, false, false]);
    expect([key(1, 2), key(2, 0)]).toEqual([true, true]);
    expect(masked({ pos: 4, seq: [1], ext: { y: 9, x: 9 } }, at)).toBe(false);
    expect(masked({ pos: 5, seq: [1], ext: { y: 9, x: 9 } }, at, { ...CAUSAL, causal: false })).toBe(false);
  });

  it('5: a key outside the window', () => {
    expect(masked({ pos: 3, seq: [1] }, query, causal('standard', 2))).toBe(true);
    expect(masked({ pos: 4, seq: [1] }, query, causal('standard', 2))).toBe(false);
  });
});

describe('6.2', () => {
  it('standard: w keys, itself included', () => {
    expect(row(5, 8, causal('standard', 3))).toEqual([3, 4, 5]);
    expect(row(1, 8, causal('standard', 3))).toEqual([0, 1]);
  });

  it('chunked: only the own chunk', () => {
    expect(row(5, 8, causal('chunked', 3))).toEqual([3, 4, 5]);
    expect(row(6, 8, causal('chunked', 3))).toEqual([6]);
    expect(row(7, 8, causal('chunked', 3))).toEqual([6, 7]);
  });

  it('symmetric: half a window to each side', () => {
    const rules = { causal: false, swa: 'symmetric', n_swa: 5 } as const;
    expect(row(4, 8, rules)).toEqual([2, 3, 4, 5, 6]);
    expect(row(4, 8, { ...rules, n_swa: 4 })).toEqual([2, 3, 4, 5, 6]);
    expect(row(0, 8, { ...rules, n_swa: 1 })).toEqual([0]);
  });
});

describe('invariants', () => {
  it('INV-MASK-1: lower triangle and window', () => {
    for (let n = 1; n < 9; n++) {
      for (let p1 = 0; p1 < n; p1++) {
        expect(row(p1, n, CAUSAL)).toEqual(Array.from({ length: p1 + 1 }, (_, p) => p));
        for (let w = 1; w < 10; w++) {
          const seen = row(p1, n, causal('standard', w));
          expect(seen).toEqual(
            Array.from({ length: Math.min(w, p1 + 1) }, (_, p) => p1 - Math.min(w, p1 + 1) + 1 + p),
          );
        }
      }
    }
  });

  it('INV-MASK-2, 4: a query sees its own list, wherever its cells lie', () => {
    let keys = 0;
    for (let seed = 0; seed < 100; seed++) {
      const random = seeded(seed);
      const lists = new Sequences(4);
      const wide = new Cells(120);
      // the same tokens in cells that another sequence has fragmented
      const broken = new Cells(240);
      broken.place(
        Array.from({ length: 200 }, (_, p) => p),
        Array.from({ length: 200 }, () => [9]),
      );
      for (let p = 0; p < 200; p++) {
        if (random(100) < 60) {
          broken.seqRm(9, p, p + 1);
        }
      }
      for (let call = 0; call < 3; call++) {
        const batch = randomBatch(random, lists, {
          n_tokens: 1 + random(20),
          n_seq_max: 4,
          n_vocab: 9,
          shared: 30,
        });
        lists.decode(batch);
        expect(wide.place(batch.pos, batch.seq_id)).not.toBeNull();
        expect(broken.place(batch.pos, batch.seq_id)).not.toBeNull();
        batch.pos.forEach((pos, t) => {
          const seq = batch.seq_id[t]![0]!;
          const expected = lists
            .list(seq)
            .filter((entry) => entry.pos <= pos)
            .map((entry) => entry.pos);
          keys += expected.length;
          for (const cells of [wide, broken]) {
            const view = cells.view().cells;
            const seen = cells.visible(seq, pos).map((i) => view[i]!);
            expect(seen.map((cell) => cell.pos)).toEqual(expected);
            expect(seen.every((cell) => cell.seq.includes(seq))).toBe(true);
          }
        });
      }
    }
    expect(keys).toBeGreaterThan(5000);
  });

  it('INV-MASK-3: a token sees itself', () => {
    for (const swa of ['none', 'standard', 'chunked', 'symmetric'] as const) {
      for (let w = 1; w < 6; w++) {
        for (let p = 0; p < 12; p++) {
          expect(swaMasked(swa, w, p, p)).toBe(false);
        }
      }
    }
  });

  it('INV-MASK-5: limits and shapes of the windows', () => {
    for (let p0 = 0; p0 < 10; p0++) {
      for (let p1 = 0; p1 < 10; p1++) {
        expect(swaMasked('standard', 10, p0, p1)).toBe(swaMasked('none', 10, p0, p1));
        for (let w = 1; w < 8; w++) {
          expect(swaMasked('symmetric', w, p0, p1)).toBe(swaMasked('symmetric', w, p1, p0));
          const sameChunk = Math.floor(p0 / w) === Math.floor(p1 / w);
          expect(p0 <= p1 && !swaMasked('chunked', w, p0, p1)).toBe(p0 <= p1 && sameChunk);
        }
      }
    }
  });
});

describe('slope', () => {
  it('halves from head to head for 8 heads and bias 8', () => {
    expect(Array.from({ length: 8 }, (_, h) => slope(h, 8, 8))).toEqual([
      1 / 2,
      1 / 4,
      1 / 8,
      1 / 16,
      1 / 32,
      1 / 64,
      1 / 128,
      1 / 256,
    ]);
  });

  it('fills up with odd powers of the finer base', () => {
    // 3 heads: L = 2, m0 = 2^-4, m1 = 2^-2
    expect([0, 1, 2].map((h) => slope(h, 3, 8))).toEqual([2 ** -4, 2 ** -8, 2 ** -2]);
    expect(slope(3, 4, 0)).toBe(1);
  });
});

import { describe, expect, it } from 'vitest';
import { type CompleteBatch, SPLIT_POLICIES, type SplitOptions } from '../contract/batch.ts';
import { Sequences } from './entries.ts';
import { outputIds } from './outputs.ts';
import { split } from './split.ts';
import { batchOf, randomBatch, seeded } from './testing.ts';

/** Each ubatch as its sets, each set as its batch indices. */
function cut(batch: CompleteBatch, options: SplitOptions): number[][][] {
  return split(batch, options).map(({ n_seqs, n_seq_tokens, index }) =>
    Array.from({ length: n_seqs }, (_, s) => index.slice(s * n_seq_tokens, (s + 1) * n_seq_tokens)),
  );
}

/** The same as numbers of tokens. */
function lengths(batch: CompleteBatch, options: SplitOptions): number[][] {
  return cut(batch, options).map((sets) => sets.map((set) => set.length));
}

/** Sequence s has lens[s] tokens, one sequence behind the other. */
function ragged(...lens: number[]): CompleteBatch {
  return batchOf(lens.flatMap((n, s) => Array.from({ length: n }, () => [s])));
}

describe('simple', () => {
  it('takes the next n_ubatch tokens', () => {
    expect(split(batchOf([[0], [0], [1], [1], [0]]), { policy: 'simple', n_ubatch: 2 })).toEqual([
      { equal_seqs: false, n_seqs: 2, n_seq_tokens: 1, index: [0, 1] },
      { equal_seqs: false, n_seqs: 2, n_seq_tokens: 1, index: [2, 3] },
      { equal_seqs: false, n_seqs: 1, n_seq_tokens: 1, index: [4] },
    ]);
  });
});

describe('equal', () => {
  it('takes a shared group alone, then the shortest first, in equal lengths', () => {
    // shared prompt of 2, then 3 of sequence 0, 1 of sequence 1, 5 of sequence 2
    const batch = batchOf([[0, 1], [0, 1], [0], [0], [0], [1], [2], [2], [2], [2], [2]]);
    expect(cut(batch, { policy: 'equal', n_ubatch: 512 })).toEqual([
      [[0, 1]],
      [[5], [2], [6]],
      [
        [3, 4],
        [7, 8],
      ],
      [[9, 10]],
    ]);
  });

  it('stops before it would exceed n_ubatch', () => {
    expect(cut(ragged(4, 2), { policy: 'equal', n_ubatch: 3 })).toEqual([[[4, 5]], [[0, 1, 2]], [[3]]]);
  });

  it('cuts the shortest group when it is longer than n_ubatch', () => {
    expect(cut(ragged(5, 3), { policy: 'equal', n_ubatch: 2 })).toEqual([
      [[5, 6]],
      [[7], [0]],
      [[1, 2]],
      [[3, 4]],
    ]);
  });

  it('consumes equal groups in the order of their first batch indices', () => {
    expect(cut(batchOf([[2], [0], [1]]), { policy: 'equal', n_ubatch: 2 })).toEqual([[[0], [1]], [[2]]]);
  });

  it('takes the most shared group first, wherever it stands', () => {
    const batch = batchOf([[3], [0, 1, 2], [0, 1], [2]]);
    expect(cut(batch, { policy: 'equal', n_ubatch: 8 })).toEqual([[[1]], [[2]], [[0], [3]]]);
  });
});

describe('equal-batch', () => {
  it('goes in lockstep: lengths 4 and 2', () => {
    expect(lengths(ragged(4, 2), { policy: 'equal-batch', n_ubatch: 8 })).toEqual([[2, 2], [2]]);
  });

  // batching.md 2.4, worked cases of the tail rule
  it.each([
    { lens: [2, 3], expected: [[[0, 1]], [[2, 3, 4]]] },
    { lens: [3, 3], expected: [[[0, 1, 2]], [[3, 4, 5]]] },
    { lens: [5], expected: [[[0, 1, 2]], [[3, 4]]] },
    { lens: [6], expected: [[[0, 1, 2, 3]], [[4, 5]]] },
  ])('keeps a tail of 2 together: lengths $lens, n_ubatch 4', ({ lens, expected }) => {
    for (const policy of ['equal-batch', 'equal-sequential'] as const) {
      expect(cut(ragged(...lens), { policy, n_ubatch: 4, n_keep_tail: 2 })).toEqual(expected);
    }
  });

  it('completes the first set if it fits, and gives a whole tail back if not', () => {
    const options = { policy: 'equal-batch', n_ubatch: 4, n_keep_tail: 3 } as const;
    expect(lengths(ragged(4, 4), options)).toEqual([[4], [4]]);
    expect(lengths(ragged(5, 4), options)).toEqual([[2], [3], [4]]);
  });

  it('refuses a tail that is not smaller than n_ubatch', () => {
    expect(() => split(ragged(3), { policy: 'equal-batch', n_ubatch: 2, n_keep_tail: 2 })).toThrow(
      expect.objectContaining({ kind: 'params' }),
    );
  });

  it('chooses n_ubatch sets, or with the quirk one more', () => {
    const options = { policy: 'equal-batch', n_ubatch: 2 } as const;
    expect(cut(ragged(1, 1, 1), options)).toEqual([[[0], [1]], [[2]]]);
    expect(cut(ragged(1, 1, 1), { ...options, quirks: 'upstream' })).toEqual([[[0], [1], [2]]]);
  });

  it('takes a set only if it is disjoint from those chosen before', () => {
    const batch = batchOf([[0, 1], [2], [0], [1]]);
    expect(cut(batch, { policy: 'equal-batch', n_ubatch: 8 })).toEqual([
      [[0], [1]],
      [[2], [3]],
    ]);
  });

  it('gives the split that was seen on real releases (libllama.md 5)', () => {
    // Tokens 5,6 of {0,1}; 7,8,9 of 0; 10 of 1; 11..15 of 2; 16 of 3. Their order in the batch is not told there; this
    // is one that agrees with the outputs 4,2,6,5,7,10 that are.
    const token = [5, 6, 7, 11, 16, 8, 10, 9, 12, 13, 14, 15];
    const seq_id = token.map((t) => (t <= 6 ? [0, 1] : t <= 9 ? [0] : t === 10 ? [1] : t <= 15 ? [2] : [3]));
    const logits = token.map((_, i) => [2, 4, 5, 6, 7, 10].includes(i));
    const batch = batchOf(seq_id, logits, token);
    const options = { policy: 'equal-batch', n_ubatch: 512, quirks: 'upstream' } as const;
    expect(cut(batch, options).map((sets) => sets.map((set) => set.map((i) => token[i])))).toEqual([
      [[5], [11], [16]],
      [[6], [12]],
      [[7], [10], [13]],
      [
        [8, 9],
        [14, 15],
      ],
    ]);
    expect(outputIds(batch, split(batch, options))).toEqual([4, 2, 6, 5, 7, 10]);
  });
});

describe('equal-sequential', () => {
  it('chooses sets whose first ids are consecutive', () => {
    const batch = batchOf([[2], [0], [3], [1], [4]]);
    expect(cut(batch, { policy: 'equal-sequential', n_ubatch: 8 })).toEqual([
      [[0], [2], [4]],
      [[1], [3]],
    ]);
  });

  it('refuses a batch with a token of several sequences', () => {
    expect(() => split(batchOf([[0], [1, 2]]), { policy: 'equal-sequential', n_ubatch: 8 })).toThrow(
      expect.objectContaining({ kind: 'batch.coupled' }),
    );
  });
});

describe('sequence', () => {
  const batch = batchOf([[0, 1], [2], [0, 1], [0], [1], [2]]);

  it('takes tokens of one exact set', () => {
    expect(cut(batch, { policy: 'sequence', n_ubatch: 8 })).toEqual([[[0, 2]], [[1, 5]], [[3]], [[4]]]);
    expect(cut(batch, { policy: 'sequence', n_ubatch: 1 })).toHaveLength(6);
  });

  it('walks down through subsets with the quirk', () => {
    expect(cut(batch, { policy: 'sequence', n_ubatch: 8, quirks: 'upstream' })).toEqual([
      [[0, 2, 3]],
      [[1, 5]],
      [[4]],
    ]);
  });
});

describe('whole', () => {
  it('puts units of one length together and passes over others', () => {
    expect(cut(batchOf([[0], [1], [1], [2], [0]]), { policy: 'whole', n_ubatch: 4 })).toEqual([
      [
        [0, 4],
        [1, 2],
      ],
      [[3]],
    ]);
    expect(cut(ragged(2, 1, 2, 2), { policy: 'whole', n_ubatch: 4 })).toEqual([
      [
        [0, 1],
        [3, 4],
      ],
      [[2]],
      [[5, 6]],
    ]);
  });

  it('never evaluates a unit before one that shares a sequence with it', () => {
    // {0,1} is taken; {2,3} is too long for this ubatch; {0} and {2} wait for them
    const batch = batchOf([[0, 1], [2, 3], [2, 3], [2], [0], [1]]);
    expect(cut(batch, { policy: 'whole', n_ubatch: 4 })).toEqual([[[0]], [[1, 2]], [[3], [4], [5]]]);
  });

  it('refuses a unit that is longer than n_ubatch', () => {
    expect(() => split(ragged(1, 3), { policy: 'whole', n_ubatch: 2 })).toThrow(
      expect.objectContaining({ kind: 'batch.whole' }),
    );
  });
});

describe('every policy', () => {
  it('refuses n_ubatch below 1', () => {
    for (const policy of SPLIT_POLICIES) {
      expect(() => split(ragged(1), { policy, n_ubatch: 0 })).toThrow(
        expect.objectContaining({ kind: 'params' }),
      );
    }
  });

  it.each(SPLIT_POLICIES)('%s holds INV-SPLIT-1..5 on random batches', (policy) => {
    const seen = { ubatches: 0, mixed: 0 };
    for (let seed = 0; seed < 300; seed++) {
      const random = seeded(seed);
      const n_tokens = 1 + random(24);
      const shared = policy === 'equal-sequential' ? 0 : 40;
      const batch = randomBatch(random, new Sequences(5), { n_tokens, n_seq_max: 5, n_vocab: 9, shared });
      const n_ubatch = policy === 'whole' ? n_tokens : 1 + random(n_tokens + 2);
      const n_keep_tail = random(Math.min(3, n_ubatch));
      const options = { policy, n_ubatch, n_keep_tail };
      const ubatches = split(batch, options);
      const order = ubatches.flatMap((ubatch) => ubatch.index);
      // 1: each token once
      expect([...order].sort((a, b) => a - b)).toEqual(batch.token.map((_, i) => i));
      const lastOfSet = new Map<string, number>();
      for (const { equal_seqs, n_seqs, n_seq_tokens, index } of ubatches) {
        seen.ubatches += 1;
        // 2: the counts
        expect(index.length).toBe(n_seqs * n_seq_tokens);
        expect(index.length).toBeLessThanOrEqual(n_ubatch);
        expect(index.length).toBeGreaterThan(0);
        expect(equal_seqs).toBe(policy !== 'simple');
        // 3: a set keeps its order
        for (const i of index) {
          const name = batch.seq_id[i]!.join();
          expect(i).toBeGreaterThan(lastOfSet.get(name) ?? -1);
          lastOfSet.set(name, i);
        }
        if (policy === 'simple') {
          continue;
        }
        // 4: one set a run of n_seq_tokens
        const sets = Array.from({ length: n_seqs }, (_, s) => batch.seq_id[index[s * n_seq_tokens]!]!);
        index.forEach((i, t) => {
          expect(batch.seq_id[i]).toEqual(sets[Math.floor(t / n_seq_tokens)]);
        });
        // 5: disjoint
        const ids = sets.flat();
        expect(new Set(ids).size).toBe(ids.length);
        seen.mixed += n_seqs > 1 ? 1 : 0;
        // 9: consecutive
        if (policy === 'equal-sequential') {
          sets.forEach((set, s) => {
            expect(set[0]).toBe(sets[0]![0]! + s);
          });
        }
      }
      // 6: each sequence in the order of its positions
      const done = new Map<number, number>();
      for (const i of order) {
        for (const seq of batch.seq_id[i]!) {
          expect(batch.pos[i]).toBe(done.get(seq) ?? 0);
          done.set(seq, batch.pos[i]! + 1);
        }
      }
      // 11: the tail of a set is in one ubatch
      if (policy.startsWith('equal-') && n_keep_tail > 0) {
        for (const name of new Set(batch.seq_id.map(String))) {
          const tail = batch.token.map((_, i) => i).filter((i) => String(batch.seq_id[i]) === name);
          const homes = tail.slice(-n_keep_tail).map((i) => ubatches.findIndex((u) => u.index.includes(i)));
          expect(new Set(homes).size).toBe(1);
        }
      }
    }
    expect(seen.ubatches).toBeGreaterThan(300);
    if (policy !== 'sequence' && policy !== 'simple') {
      expect(seen.mixed).toBeGreaterThan(50);
    }
  });

  it('simple is the identity in ceil(n / n_ubatch) pieces (INV-SPLIT-7)', () => {
    const ubatches = split(ragged(3, 4), { policy: 'simple', n_ubatch: 3 });
    expect(ubatches.map((ubatch) => ubatch.index)).toEqual([[0, 1, 2], [3, 4, 5], [6]]);
  });
});

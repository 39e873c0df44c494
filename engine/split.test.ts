import { describe, expect, test } from 'vitest';
import type { CompleteBatch, SplitPolicy } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import { flatten } from './batch.ts';
import { FlatBatch } from './flat-batch.ts';
import { Splitter } from './split.ts';
import { engineWhite } from './white.ts';

/** A batch from a list of id sets; positions count up in each sequence. */
function batchOf(...sets: number[][]): CompleteBatch {
  const next = new Map<number, number>();
  const pos = sets.map((ids) => {
    const p = next.get(ids[0]!) ?? 0;
    for (const q of ids) next.set(q, p + 1);
    return p;
  });
  return { token: sets.map(() => 0), pos, seq_id: sets, logits: sets.map(() => true) };
}

/** Sequences of these lengths, one after the other. */
function lengths(...counts: number[]): CompleteBatch {
  return batchOf(...counts.flatMap((n, q) => Array.from({ length: n }, () => [q])));
}

/** Ubatches as "sets x tokens": indices. */
function split(batch: CompleteBatch, policy: SplitPolicy, n_ubatch: number, n_keep_tail = 0): string[] {
  return engineWhite
    .split(batch, { policy, n_ubatch, n_keep_tail })
    .map((u) => `${u.n_seqs}x${u.n_seq_tokens}: ${u.index.join(' ')}`);
}

describe('tail rule, the worked cases of batching.md 2.4', () => {
  test.each([
    [[2, 3], 4, ['1x2: 0 1', '1x3: 2 3 4']],
    [[3, 3], 4, ['1x3: 0 1 2', '1x3: 3 4 5']],
    [[5], 4, ['1x3: 0 1 2', '1x2: 3 4']],
    [[6], 4, ['1x4: 0 1 2 3', '1x2: 4 5']],
  ])('lengths %j, n_ubatch %i', (counts, n_ubatch, wanted) => {
    expect(split(lengths(...counts), 'equal-batch', n_ubatch, 2)).toEqual(wanted);
    expect(split(lengths(...counts), 'equal-sequential', n_ubatch, 2)).toEqual(wanted);
  });

  test('without a tail', () => {
    expect(split(lengths(4, 2), 'equal-batch', 8)).toEqual(['2x2: 0 1 4 5', '1x2: 2 3']);
  });
});

describe('policies', () => {
  const shared = batchOf([0, 1], [0, 1], [0], [1], [0], [2], [2], [2]);

  test('equal: the shared group alone, then the shortest rest first, ties by batch index', () => {
    expect(split(shared, 'equal', 8)).toEqual(['1x2: 0 1', '3x1: 3 2 5', '2x1: 4 6', '1x1: 7']);
    expect(split(lengths(2, 2), 'equal', 3)).toEqual(['1x2: 0 1', '1x2: 2 3']);
    expect(split(batchOf([1], [0], [0], [1]), 'equal', 4)).toEqual(['2x2: 0 3 1 2']);
  });

  test('equal-batch: sets in order of their next tokens, a set that overlaps waits', () => {
    expect(split(shared, 'equal-batch', 8)).toEqual(['2x2: 0 1 5 6', '3x1: 2 3 7', '1x1: 4']);
  });

  test('equal-sequential: neighbours are looked for behind the last one', () => {
    expect(split(batchOf([2], [0], [1], [2]), 'equal-sequential', 8)).toEqual(['1x2: 0 3', '2x1: 1 2']);
    expect(split(batchOf([0], [2], [1], [0], [2], [1]), 'equal-sequential', 9)).toEqual(['3x2: 0 3 2 5 1 4']);
  });

  test('sequence: one exact set a ubatch', () => {
    expect(split(shared, 'sequence', 2)).toEqual(['1x2: 0 1', '1x2: 2 4', '1x1: 3', '1x2: 5 6', '1x1: 7']);
  });

  test('whole: sets are not cut and do not overtake', () => {
    expect(split(shared, 'whole', 4)).toEqual(['1x2: 0 1', '1x2: 2 4', '1x1: 3', '1x3: 5 6 7']);
    expect(split(lengths(2, 3, 2), 'whole', 4)).toEqual(['2x2: 0 1 5 6', '1x3: 2 3 4']);
  });

  test('simple: batch order', () => {
    const ubatches = engineWhite.split(shared, { policy: 'simple', n_ubatch: 3 });
    expect(ubatches.map((u) => u.index)).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6, 7],
    ]);
    expect(ubatches.every((u) => !u.equal_seqs && u.n_seq_tokens === 1)).toBe(true);
  });

  test('what a policy cannot cut is refused by name', () => {
    const refusal = (f: () => unknown) => {
      try {
        f();
      } catch (error) {
        return error instanceof IsobatchError ? error.kind : String(error);
      }
      return 'accepted';
    };
    expect(refusal(() => split(shared, 'equal-sequential', 8))).toBe('batch.coupled');
    expect(refusal(() => split(lengths(2, 5), 'whole', 4))).toBe('batch.whole');
    expect(refusal(() => split(lengths(2), 'equal-batch', 2, 2))).toBe('params');
  });
});

test('a splitter forgets the batch before', () => {
  const splitter = new Splitter();
  const flat = new FlatBatch();
  flatten(lengths(9, 3, 1), flat);
  splitter.split(flat, 'equal', 4, 0);
  flatten(lengths(2), flat);
  splitter.split(flat, 'equal', 4, 0);
  expect(splitter.n_ubatches).toBe(1);
  expect(Array.from(splitter.index.subarray(0, splitter.begin[1]))).toEqual([0, 1]);
});

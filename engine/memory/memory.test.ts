/** Caches behind one interface: windows that forget, and several caches that change together or not at all. */
import { describe, expect, it } from 'vitest';
import type { IsobatchError } from '../../contract/errors.ts';
import { N_DIMS } from '../../native/plan.ts';
import { flatten } from '../batch.ts';
import { FlatBatch } from '../flat-batch.ts';
import { type AttentionIndex, type CacheSpec, indexLayout } from '../layout.ts';
import { Splitter } from '../split.ts';
import type { Memory } from './memory.ts';
import { kindOf, openMemory } from './open.ts';

const SIZES = { tokens: 8, n_ctx: 64, n_batch: 8, n_seq_max: 3, n_rs_seq: 0 };

/** A memory with these caches, and what queries see in cache `at`. */
function open(caches: readonly CacheSpec[]) {
  const layout = indexLayout(caches, SIZES);
  const memory = openMemory(layout.caches, SIZES.n_batch);
  const target = { index: new Int32Array(layout.end), indexEnd: layout.end, dims: new Int32Array(N_DIMS) };
  const batch = new FlatBatch();
  const splitter = new Splitter();
  /** The batch in ubatches of n; for each token the positions that it sees in the attention cache number `at`. */
  function decode(pos: number[], seq_id: number[][], n: number, at = 0): number[][] {
    const token = pos.map(() => 0);
    flatten({ token, pos, seq_id, logits: token.map(() => false) }, batch);
    splitter.split(batch, 'simple', n, 0);
    memory.begin(batch);
    const seen: number[][] = [];
    for (let u = 0; u < splitter.n_ubatches; u++) {
      target.indexEnd = layout.end;
      memory.place(batch, splitter, u, target);
      const begin = splitter.begin[u]!;
      const index = layout.caches[at] as AttentionIndex;
      for (let j = 0; j < splitter.begin[u + 1]! - begin; j++) {
        const query = target.index.indexOf(j, index.queryRow) - index.queryRow;
        const keyPos = target.index[index.attention + 6]!;
        const [from, to] = [target.index[index.queryBegin + query]!, target.index[index.queryEnd + query]!];
        seen[splitter.index[begin + j]!] = Array.from(target.index.subarray(keyPos + from, keyPos + to));
      }
    }
    return seen;
  }
  const commit = (): void => memory.commit(batch);
  return { memory, decode, commit };
}

function kindOfError(run: () => void): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return `${(error as IsobatchError).kind}: ${(error as Error).message}`;
  }
}

function upTo(n: number, from = 0): number[] {
  return Array.from({ length: n - from }, (_, i) => from + i);
}

function remove(memory: Memory, seq: number, p0: number, p1: number): string {
  return kindOfError(() => {
    memory.checkRm(seq, p0, p1);
    memory.seqRm(seq, p0, p1);
  });
}

const SLIDING: CacheSpec = { kind: 'attention', window: { kind: 'sliding', size: 3 } };
const CHUNKED: CacheSpec = { kind: 'attention', window: { kind: 'chunked', size: 4 } };

describe('a sliding window', () => {
  it('shows the last positions, in one ubatch or several, and forgets what comes before them', () => {
    for (const n of [8, 3, 1]) {
      const { memory, decode, commit } = open([SLIDING]);
      const pos = upTo(6);
      expect(
        decode(
          pos,
          pos.map(() => [0]),
          n,
        ),
      ).toEqual([[0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]);
      expect(memory.posMin(0)).toBe(0);
      commit();
      expect([memory.posMin(0), memory.posMax(0), memory.owned(0).length]).toEqual([4, 5, 2]);
      expect(decode([6], [[0]], n)).toEqual([[4, 5, 6]]);
    }
  });

  it('refuses to remove what would bring a forgotten position back into sight, and names where it begins', () => {
    const { memory, decode, commit } = open([SLIDING]);
    decode(
      upTo(6),
      upTo(6).map(() => [1]),
      8,
    );
    commit();
    expect(remove(memory, 1, 5, -1)).toMatch(
      /^ops.partial: cannot remove the part \[5, -1\) of sequence 1: its next token would see position 3, .* \(seqPosMin 4\)$/,
    );
    expect(remove(memory, -1, 5, -1)).toContain('ops.partial');
    expect(memory.posMax(1)).toBe(5);
    // The past is no matter to the next token, and neither is a hole in it.
    expect([remove(memory, 1, 0, 2), remove(memory, 1, 4, 5)]).toEqual(['none', 'none']);
    expect(decode([6], [[1]], 8)).toEqual([[5, 6]]);
    commit();
    expect([remove(memory, 1, 0, -1), memory.posMin(1), memory.posMax(1)]).toEqual(['none', -1, -1]);
    expect(decode([0], [[1]], 8)).toEqual([[0]]);
  });

  it('forgets for one owner of a cell, not for the others', () => {
    const { memory, decode, commit } = open([SLIDING]);
    decode(
      upTo(3),
      upTo(3).map(() => [0, 1]),
      8,
    );
    commit();
    decode([3, 4], [[0], [0]], 8);
    commit();
    expect([memory.posMin(0), memory.posMin(1)]).toEqual([3, 1]);
    expect(decode([3], [[1]], 8)).toEqual([[1, 2, 3]]);
  });

  it('copies a whole sequence with what it has forgotten, and no part whose next token would miss something', () => {
    const { memory, decode, commit } = open([SLIDING]);
    decode(
      upTo(6),
      upTo(6).map(() => [0]),
      8,
    );
    commit();
    expect(kindOfError(() => memory.checkCp(0, 1, 0, 5))).toContain(
      'ops.partial: cannot copy the part [0, 5)',
    );
    memory.checkCp(0, 1, 0, -1);
    memory.seqCp(0, 1, 0, -1);
    expect(remove(memory, 1, 5, -1)).toContain('would see position 3');
    memory.seqKeep(1);
    expect([memory.posMax(0), memory.posMax(1)]).toEqual([-1, 5]);
    memory.clear();
    expect(remove(memory, 1, 5, -1)).toBe('none');
  });

  it('forgets nothing of a batch that failed', () => {
    const { memory, decode, commit } = open([SLIDING]);
    decode(
      upTo(4),
      upTo(4).map(() => [0]),
      8,
    );
    commit();
    decode(
      upTo(10, 4),
      upTo(6).map(() => [0]),
      2,
    );
    memory.rollback();
    expect([memory.posMin(0), memory.posMax(0)]).toEqual([2, 3]);
    expect(decode([4], [[0]], 8)).toEqual([[2, 3, 4]]);
  });

  it('has room for every sequence, whatever it has seen', () => {
    const { decode, commit } = open([SLIDING]);
    for (let round = 0; round < 7; round++)
      for (const seq of [0, 1, 2]) {
        const pos = upTo(8 * round + 8, 8 * round);
        const seen = decode(
          pos,
          pos.map(() => [seq]),
          3,
        );
        expect(seen.at(-1)).toEqual(pos.slice(-3));
        commit();
      }
  });
});

describe('a chunked window', () => {
  it('shows the chunk of the query, and nothing once it is over', () => {
    const { memory, decode, commit } = open([CHUNKED]);
    expect(
      decode(
        upTo(6),
        upTo(6).map(() => [0]),
        4,
      ),
    ).toEqual([[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [4], [4, 5]]);
    commit();
    expect(memory.posMin(0)).toBe(4);
    expect([remove(memory, 0, 4, -1), memory.posMax(0), memory.posMin(0)]).toEqual(['none', 3, 4]);
    expect(remove(memory, 0, 3, -1)).toContain('would see position 2');
    expect(decode([4], [[0]], 8)).toEqual([[4]]);
  });
});

describe('several caches', () => {
  const BOTH: readonly CacheSpec[] = [SLIDING, { kind: 'attention' }];

  it('each show what they hold', () => {
    const both = open(BOTH);
    expect(
      both.decode(
        upTo(5),
        upTo(5).map(() => [0]),
        2,
        0,
      )[4],
    ).toEqual([2, 3, 4]);
    both.commit();
    expect(both.decode([5], [[0]], 2, 1)).toEqual([upTo(6)]);
    both.commit();
    expect([both.memory.posMin(0), both.memory.posMax(0), both.memory.owned(0).length]).toEqual([4, 5, 6]);
  });

  it('change together or not at all', () => {
    const { memory, decode, commit } = open(BOTH);
    decode(
      upTo(6),
      upTo(6).map(() => [0]),
      8,
    );
    commit();
    expect(remove(memory, 0, 5, -1)).toContain('ops.partial');
    expect(memory.owned(0).length).toBe(6);
    const full = upTo(8).map(() => [1]);
    for (let round = 0; round < 7; round++) {
      decode(upTo(8 * round + 8, 8 * round), full, 8);
      commit();
    }
    expect(kindOfError(() => decode(upTo(64, 56), full, 8))).toContain('memory.full');
    expect([memory.posMax(0), memory.posMax(1)]).toEqual([5, 55]);
  });

  it('have a kind', () => {
    expect(kindOf(BOTH)).toBe('attention');
    expect(kindOf([{ kind: 'recurrent' }])).toBe('recurrent');
    expect(kindOf([{ kind: 'recurrent' }, ...BOTH])).toBe('hybrid');
  });
});

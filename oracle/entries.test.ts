import { describe, expect, it } from 'vitest';
import { completeBatch } from './batch.ts';
import { type Entry, evaluationOf, evaluationOrder, Sequences } from './entries.ts';

const limits = { n_vocab: 100, n_batch: 100, n_seq_max: 4 };

function decode(sequences: Sequences, token: number[], seq_id: number[][]): Entry[] {
  return sequences.decode(completeBatch({ token, seq_id }, sequences, limits));
}

const tokens = (list: readonly Entry[]) => list.map((entry) => entry.token);

describe('Sequences', () => {
  it('puts a shared token once into several lists', () => {
    const sequences = new Sequences(4);
    const [a, b, c, d] = decode(sequences, [10, 11, 12, 13], [[0, 1], [0], [1], [1]]);
    expect(sequences.list(0)).toEqual([a, b]);
    expect(sequences.list(1)[0]).toBe(sequences.list(0)[0]);
    expect(tokens(d!.saw)).toEqual([10, 12, 13]);
    expect(d!.saw.at(-1)).toBe(d);
    expect(tokens(b!.saw)).toEqual([10, 11]);
    expect([c!.pos, d!.pos, d!.pos_eval]).toEqual([1, 2, 2]);
    expect([sequences.posMin(1), sequences.posMax(1), sequences.posMax(2), sequences.posMin(2)]).toEqual([
      0, 2, -1, -1,
    ]);
  });

  it('remembers what an entry saw when its neighbours are removed', () => {
    const sequences = new Sequences(4);
    decode(sequences, [1, 2, 3, 4], [[0], [0], [0], [0]]);
    sequences.seqRm(0, 1, 3);
    expect(tokens(sequences.list(0))).toEqual([1, 4]);
    const [next] = decode(sequences, [5], [[0]]);
    expect(next!.pos).toBe(4);
    expect(tokens(next!.saw)).toEqual([1, 4, 5]);
    expect(tokens(sequences.list(0)[1]!.saw)).toEqual([1, 2, 3, 4]);
    expect(tokens(evaluationOrder([next!]))).toEqual([1, 2, 3, 4, 5]);
  });

  it('removes from all sequences, keeps one, clears', () => {
    const sequences = new Sequences(4);
    decode(sequences, [1, 2, 3, 4, 5], [[0], [0], [1], [1], [2]]);
    sequences.seqRm(-1, 0, 1);
    expect([0, 1, 2].map((seq) => tokens(sequences.list(seq)))).toEqual([[2], [4], []]);
    sequences.seqKeep(1);
    expect([0, 1, 2].map((seq) => tokens(sequences.list(seq)))).toEqual([[], [4], []]);
    sequences.clear();
    expect(sequences.posMax(1)).toBe(-1);
  });

  it('copies entries, not tokens, into an empty sequence only', () => {
    const sequences = new Sequences(4);
    decode(sequences, [1, 2, 3], [[0], [0], [0]]);
    sequences.seqCp(0, 1, 1, -1);
    expect(sequences.list(1)).toHaveLength(2);
    expect(sequences.list(1)[0]).toBe(sequences.list(0)[1]);
    expect(() => sequences.seqCp(0, 1, 0, -1)).toThrow(expect.objectContaining({ kind: 'ops.copy' }));
    sequences.seqCp(0, 0, 0, 1);
    expect(sequences.list(0)).toHaveLength(3);
    // the copy goes on by itself
    decode(sequences, [9], [[1]]);
    expect(tokens(sequences.list(0))).toEqual([1, 2, 3]);
    expect(tokens(sequences.list(1))).toEqual([2, 3, 9]);
  });

  it('names an unknown sequence', () => {
    const sequences = new Sequences(2);
    expect(() => sequences.list(2)).toThrow('sequence 2 is not in 0..1');
    for (const call of [
      () => sequences.seqRm(2, 0, -1),
      () => sequences.seqRm(-2, 0, -1),
      () => sequences.seqCp(0, 5, 0, -1),
      () => sequences.seqKeep(-1),
    ]) {
      expect(call).toThrow(expect.objectContaining({ kind: 'ops.seq_id' }));
    }
  });

  it('moves positions of one sequence, and leaves those who shared them where they were', () => {
    const sequences = new Sequences(3);
    decode(sequences, [1, 2, 3], [[0], [0], [0]]);
    sequences.seqCp(0, 1, 0, -1);
    sequences.seqAdd(1, 1, -1, 4);
    expect([0, 1].map((seq) => sequences.list(seq).map(({ pos }) => pos))).toEqual([
      [0, 1, 2],
      [0, 5, 6],
    ]);
    const [, moved] = sequences.list(1);
    expect(moved).toMatchObject({ token: 2, pos_eval: 1, turns: [4] });
    expect(evaluationOf(moved!)).toBe(sequences.list(0)[1]);
    sequences.seqDiv(1, 5, -1, 5);
    expect(sequences.list(1).map(({ pos, turns }) => [pos, turns])).toEqual([
      [0, undefined],
      [1, [4, -4]],
      [1, [4, -5]],
    ]);
    expect(sequences.posMax(1)).toBe(1);
  });

  it('refuses a move that would change the order or go below 0, and changes nothing then', () => {
    const sequences = new Sequences(1);
    decode(sequences, [1, 2, 3], [[0], [0], [0]]);
    const moves: (() => void)[] = [
      () => sequences.seqAdd(0, 0, -1, -1),
      () => sequences.seqAdd(0, 0, 1, 2),
      () => sequences.seqAdd(0, 2, -1, -2),
      () => sequences.seqDiv(0, 2, -1, 3),
    ];
    for (const move of moves) expect(move).toThrow(expect.objectContaining({ kind: 'ops.range' }));
    expect(sequences.list(0).map(({ pos }) => pos)).toEqual([0, 1, 2]);
    sequences.seqAdd(0, 2, -1, -1);
    expect(sequences.list(0).map(({ pos }) => pos)).toEqual([0, 1, 1]);
  });
});

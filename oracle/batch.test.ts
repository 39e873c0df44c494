import { describe, expect, it } from 'vitest';
import type { Batch } from '../contract/batch.ts';
import { completeBatch } from './batch.ts';
import { Sequences } from './entries.ts';

const limits = { n_vocab: 10, n_batch: 8, n_seq_max: 4 };

function complete(batch: Batch, memory = new Sequences(4)) {
  return completeBatch(batch, memory, limits);
}

function kindOf(batch: Batch, memory = new Sequences(4)): string {
  try {
    complete(batch, memory);
  } catch (error) {
    return (error as { kind: string }).kind;
  }
  return 'accepted';
}

describe('missing fields', () => {
  it('puts tokens into sequence 0, from 0 on, and outputs the last', () => {
    expect(complete({ token: [7, 8, 9] })).toEqual({
      token: [7, 8, 9],
      pos: [0, 1, 2],
      seq_id: [[0], [0], [0]],
      logits: [false, false, true],
    });
  });

  it('goes on where each sequence ends, not where the longest does', () => {
    const memory = new Sequences(4);
    memory.decode(complete({ token: [1, 1, 1, 1], seq_id: [[1], [1], [0], [1]] }));
    expect(complete({ token: [1, 1, 1], seq_id: [[0], [1], [0]] }, memory).pos).toEqual([1, 3, 2]);
  });

  it('moves the cursors of all sequences of a shared token', () => {
    const seq_id = [[1, 0], [0], [1], [1]];
    const batch = complete({ token: [1, 1, 1, 1], seq_id });
    expect(batch.pos).toEqual([0, 1, 1, 2]);
    expect(batch.seq_id[0]).toEqual([0, 1]);
    expect(seq_id[0]).toEqual([1, 0]);
  });
});

describe('refusals', () => {
  it.each<[string, Batch]>([
    ['batch.empty', { token: [] }],
    ['batch.empty', { token: [], pos: [0] }],
    ['batch.size', { token: [0, 0, 0, 0, 0, 0, 0, 0, 0] }],
    ['batch.size', { token: [0, 0], pos: [0] }],
    ['batch.size', { token: [0], seq_id: [[0], [0]] }],
    ['batch.size', { token: [0], logits: [] }],
    ['batch.token', { token: [0, 10] }],
    ['batch.token', { token: [-1] }],
    ['batch.token', { token: [1.5] }],
    ['batch.token', { token: [Number.NaN] }],
    ['batch.seq_id', { token: [0], seq_id: [[]] }],
    ['batch.seq_id', { token: [0], seq_id: [[4]] }],
    ['batch.seq_id', { token: [0], seq_id: [[-1]] }],
    ['batch.seq_id', { token: [0], seq_id: [[1, 0, 1]] }],
    ['batch.position', { token: [0], pos: [1] }],
    ['batch.position', { token: [0, 0], pos: [0, 2] }],
    ['batch.position', { token: [0, 0], pos: [0, 0] }],
    ['batch.position', { token: [0, 0], pos: [1, 0] }],
    // positions 4,5,0,1,6,2,3 of sequences 0,0,1,1,0,1,0 (1.3 rule 5)
    [
      'batch.position',
      {
        token: [0, 0, 0, 0, 0, 0, 0],
        pos: [4, 5, 0, 1, 6, 2, 3],
        seq_id: [[0], [0], [1], [1], [0], [1], [0]],
      },
    ],
    // INV-SPLIT-6: a shared token behind a private one
    ['batch.position', { token: [0, 0], pos: [0, 1], seq_id: [[0], [0, 1]] }],
    ['batch.position', { token: [0, 0], seq_id: [[0], [0, 1]] }],
    ['batch.shared', { token: [0, 0, 0, 0, 0], pos: [0, 0, 1, 2, 2], seq_id: [[0], [1], [0, 1], [0], [1]] }],
    // 1.3 rule 4: partial overlap
    [
      'batch.position',
      {
        token: [0, 0],
        seq_id: [
          [0, 1],
          [1, 2],
        ],
      },
    ],
    ['batch.shared', { token: [0, 0, 0], seq_id: [[0, 1], [2], [1, 2]] }],
    // the order of checks
    ['batch.size', { token: [99], pos: [0, 0] }],
    ['batch.token', { token: [99], seq_id: [[9]] }],
    ['batch.seq_id', { token: [0, 0], pos: [5, 0], seq_id: [[0], [9]] }],
    ['batch.position', { token: [0, 0, 0, 0], pos: [0, 0, 1, 9], seq_id: [[0], [1], [0, 1], [0]] }],
  ])('%s: %j', (kind, batch) => {
    expect(kindOf(batch)).toBe(kind);
  });

  it('says which token is wrong', () => {
    expect(() => complete({ token: [0, 0], pos: [0, 2] })).toThrow(
      'token 1 of sequence 0 has position 2, but 1 is next',
    );
  });

  it('refuses a batch that repeats what memory holds, or leaves a gap', () => {
    const memory = new Sequences(4);
    memory.decode(complete({ token: [1, 1] }));
    expect(kindOf({ token: [1], pos: [1] }, memory)).toBe('batch.position');
    expect(kindOf({ token: [1], pos: [3] }, memory)).toBe('batch.position');
    expect(kindOf({ token: [1], pos: [2] }, memory)).toBe('accepted');
  });
});

describe('shared tokens', () => {
  it('are for sequences that own the same entries, not equal ones', () => {
    const same = new Sequences(4);
    same.decode(complete({ token: [1], seq_id: [[0, 1]] }));
    expect(kindOf({ token: [2], seq_id: [[0, 1]] }, same)).toBe('accepted');

    const equal = new Sequences(4);
    equal.decode(complete({ token: [1, 1], seq_id: [[0], [1]] }));
    expect(kindOf({ token: [2], seq_id: [[0, 1]] }, equal)).toBe('batch.shared');
  });

  it('may follow a copy', () => {
    const memory = new Sequences(4);
    memory.decode(complete({ token: [1, 2] }));
    memory.seqCp(0, 3, 0, -1);
    expect(kindOf({ token: [2], seq_id: [[3, 0]] }, memory)).toBe('accepted');
  });

  it('may go on to smaller sets, in the same batch', () => {
    expect(kindOf({ token: [1, 2, 3, 4], seq_id: [[0, 1, 2], [0, 1], [2], [1]] })).toBe('accepted');
    expect(
      kindOf({
        token: [1, 2, 3],
        seq_id: [
          [0, 1, 2],
          [0, 1],
          [0, 1, 2],
        ],
      }),
    ).toBe('batch.position');
  });

  it('are refused after a removal that only one of them had', () => {
    const memory = new Sequences(4);
    memory.decode(
      complete({
        token: [1, 2, 3],
        seq_id: [
          [0, 1],
          [0, 1],
          [0, 1],
        ],
      }),
    );
    memory.seqRm(1, 0, 1);
    expect(memory.posMax(0)).toBe(memory.posMax(1));
    expect(kindOf({ token: [2], seq_id: [[0, 1]] }, memory)).toBe('batch.shared');
  });
});

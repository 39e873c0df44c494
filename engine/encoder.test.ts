/** A model without memory: whole sequences in every ubatch, and nothing that stays. */
import { beforeAll, describe, expect, it } from 'vitest';
import { buildRecipe } from '../golden/recipes.ts';
import type { EngineContext } from './context.ts';
import { engineSubject } from './subject.ts';

const subject = engineSubject();
const params = {
  n_ctx: 8,
  n_batch: 32,
  n_ubatch: 8,
  n_seq_max: 4,
  split: 'whole',
  embeddings: true,
} as const;
let context: EngineContext;

beforeAll(() => {
  context = subject.load(buildRecipe('isobatch-symmetric'), 'isobatch-symmetric').open(params);
});

function refused(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    const { kind, message } = error as { kind: string; message: string };
    return `${kind}: ${message}`;
  }
  return 'done';
}

const batchOf = (...sequences: number[][]) => ({
  token: sequences.flat(),
  seq_id: sequences.flatMap((tokens, seq) => tokens.map(() => [seq])),
  logits: sequences.flat().map(() => true),
});

describe('an encoder', () => {
  it('answers embeddings, the same in one ubatch and in several', () => {
    const [a, b, c] = [
      [1, 2, 3, 4, 5],
      [6, 7, 8],
      [9, 10, 11, 12, 13, 14, 15],
    ];
    const together = [...context.encode(batchOf(a!, b!, c!)).logits];
    const alone = [a!, b!, c!].flatMap((tokens) => [...context.encode(batchOf(tokens)).logits]);
    expect(together).toEqual(alone);
    expect(together).toHaveLength(15 * 32);
  });

  it('remembers nothing, so positions begin at 0 and there is nothing to change', () => {
    const first = [...context.encode(batchOf([1, 2, 3])).logits];
    expect([...context.encode(batchOf([1, 2, 3])).logits]).toEqual(first);
    expect([context.seqPosMin(0), context.seqPosMax(0)]).toEqual([-1, -1]);
    for (const change of [
      () => context.seqRm(0, 1, 2),
      () => context.seqCp(0, 1, 0, -1),
      () => context.seqAdd(0, 0, -1, 3),
      () => context.seqKeep(1),
    ])
      expect(refused(change)).toBe('done');
  });

  it('refuses what it cannot keep whole or apart, by name', () => {
    expect(refused(() => context.encode(batchOf([1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9])))).toBe(
      'batch.whole: sequence 1 has 9 tokens in the batch, more than n_ubatch = 8, and policy whole does not cut it',
    );
    expect(refused(() => context.encode({ token: [1, 2], seq_id: [[0], [0, 1]] }))).toMatch(
      /^batch\.coupled|^batch\./,
    );
    expect(context.encode(batchOf([1, 2])).n_outputs).toBe(2);
  });

  it('wants embeddings and whole sequences; other models have no encoder', () => {
    const model = subject.load(buildRecipe('isobatch-symmetric'), 'isobatch-symmetric');
    expect(refused(() => model.open({ ...params, embeddings: false }))).toMatch(
      /^params: an encoder answers embeddings/,
    );
    expect(refused(() => model.open({ ...params, split: 'equal' }))).toMatch(
      /^params: split policy equal is not legal/,
    );
    const llama = subject.load(buildRecipe('llama'), 'llama').open({ ...params, split: 'equal' });
    expect(refused(() => llama.encode(batchOf([1])))).toBe('params: this model has no encoder');
  });
});

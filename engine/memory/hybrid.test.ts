/** States beside cells: what a batch that fails leaves, and that both halves move together. */
import { describe, expect, it, test } from 'vitest';
import { IsobatchError } from '../../contract/errors.ts';
import type { DecodeResult } from '../../contract/subject.ts';
import { buildRecipe, overflowOf } from '../../golden/recipes.ts';
import type { EngineContext } from '../context.ts';
import { engineSubject } from '../subject.ts';
import type { RecurrentMemory } from './recurrent.ts';
import type { SeveralMemories } from './several.ts';
import { StateRows } from './state-rows.ts';

describe('rows of states', () => {
  it('with spares: the first write of a batch leaves the old row, later ones are in place', () => {
    const rows = new StateRows(3, true);
    rows.begin();
    expect([rows.overwrites(1), rows.write(1), rows.overwrites(1), rows.write(1)]).toEqual([
      false,
      4,
      true,
      4,
    ]);
    expect([rows.of(0), rows.of(1), rows.of(2)]).toEqual([0, 4, 2]);
    rows.begin();
    expect([rows.of(1), rows.overwrites(1), rows.write(1), rows.write(2)]).toEqual([4, false, 1, 5]);
    rows.rollback();
    expect([rows.of(0), rows.of(1), rows.of(2), rows.overwrites(1)]).toEqual([0, 4, 2, false]);
  });

  it('without spares every state has one place', () => {
    const rows = new StateRows(2, false);
    rows.begin();
    expect([rows.overwrites(1), rows.write(1), rows.of(1)]).toEqual([true, 1, 1]);
  });
});

const NAME = 'jamba-fuzz';
const LOUD = overflowOf(`recipe:${NAME}`)!;
const model = engineSubject().load(buildRecipe(NAME), NAME);
const params = { n_ctx: 64, n_batch: 32, n_ubatch: 2, n_seq_max: 4, split: 'equal', type_kv: 'F16' } as const;

function kindOf(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    return error instanceof IsobatchError ? error.kind : String(error);
  }
  return 'accepted';
}

/** One token for each of these sequences. */
function step(context: EngineContext, token: readonly number[], seqs: readonly number[]): number[] {
  const { logits }: DecodeResult = context.decode({
    token: [...token],
    seq_id: seqs.map((seq) => [seq]),
    logits: token.map(() => true),
  });
  return Array.from(logits);
}

function positions(context: EngineContext): number[][] {
  return [0, 1, 2, 3].map((seq) => [context.seqPosMin(seq), context.seqPosMax(seq)]);
}

/** The books of both halves. */
function books(context: EngineContext): unknown {
  const [recurrent, attention] = (context.memory as SeveralMemories).caches;
  const { cells } = attention as unknown as { cells: { view(): unknown } };
  return [(recurrent as RecurrentMemory).slots.view(), cells.view()];
}

/** Sequences 0 and 1 share a prompt and go on apart, 2 has left, 3 came in its place; 1 was copied to 2. */
function opened(): EngineContext {
  const context = model.open(params);
  context.decode({ token: [1, 2, 3], seq_id: [[0, 1], [0, 1], [2]] });
  step(context, [4, 5, 6], [1, 0, 2]);
  context.seqRm(2, -1, -1);
  step(context, [7, 8], [3, 0]);
  context.seqCp(1, 2, -1, -1);
  return context;
}

describe('a batch that fails in a late ubatch', () => {
  // Old and new sequences, copied ones that part, several tokens each, so that some states are written twice.
  const token = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, LOUD];
  const seq_id = [[3], [1], [2], [0], [3], [1], [0], [3], [0], [0], [1], [0]];

  test('leaves books, positions and every later answer as they were', () => {
    for (const at of [0, 3, 7, 11]) {
      const tried = opened();
      const plain = opened();
      const before = books(tried);
      const tokens = token.map((t, i) => (i === at ? LOUD : i === 11 ? 22 : t));
      expect(kindOf(() => tried.decode({ token: tokens, seq_id }))).toBe('memory.overflow');
      expect(books(tried)).toEqual(before);
      expect(positions(tried)).toEqual(positions(plain));
      for (const [next, seqs] of [
        [
          [30, 31, 32, 33],
          [0, 1, 2, 3],
        ],
        [
          [34, 35],
          [2, 0],
        ],
        [
          [36, 37, 38],
          [3, 2, 1],
        ],
      ] as const)
        expect(step(tried, next, seqs)).toEqual(step(plain, next, seqs));
    }
  });

  test('again and again, between batches that do not fail', () => {
    const tried = opened();
    const plain = opened();
    for (let round = 0; round < 6; round++) {
      expect(kindOf(() => tried.decode({ token, seq_id }))).toBe('memory.overflow');
      const seqs = [(round * 3) % 4, (round * 3 + 1) % 4];
      expect(step(tried, [40 + round, 50 + round], seqs)).toEqual(
        step(plain, [40 + round, 50 + round], seqs),
      );
    }
  });

  test('into an empty memory, leaves it empty', () => {
    const context = model.open(params);
    expect(kindOf(() => context.decode({ token, seq_id }))).toBe('memory.overflow');
    expect(positions(context)).toEqual(new Array(4).fill([-1, -1]));
    expect(step(context, [1, 2], [0, 1])).toEqual(step(model.open(params), [1, 2], [0, 1]));
  });
});

describe('both halves', () => {
  test.each([
    ['a suffix', (c: EngineContext) => c.seqRm(0, 2, -1), 'ops.partial'],
    ['a prefix', (c: EngineContext) => c.seqRm(0, 0, 1), 'ops.partial'],
    ['a part of all', (c: EngineContext) => c.seqRm(-1, 1, -1), 'ops.partial'],
    [
      'a ranged copy',
      (c: EngineContext) => {
        c.seqRm(2, 0, -1);
        c.seqCp(0, 2, 0, 2);
      },
      'ops.partial',
    ],
    [
      'more tokens than cells',
      (c: EngineContext) => {
        for (let i = 0; i < 9; i++)
          c.decode({ token: [1, 2, 3, 4, 5, 6, 7, 8], seq_id: new Array(8).fill([3]) });
      },
      'memory.full',
    ],
  ])('refuse %s together', (_, call, kind) => {
    const context = opened();
    expect(kindOf(() => call(context))).toBe(kind);
    for (const [seq, [, last]] of positions(context).entries()) {
      const [recurrent, attention] = (context.memory as SeveralMemories).caches;
      expect([recurrent!.posMax(seq), attention!.posMax(seq)]).toEqual([last, last]);
    }
  });

  it('have one position, the last: a state has no other', () => {
    expect(positions(opened())).toEqual([
      [3, 3],
      [2, 2],
      [2, 2],
      [0, 0],
    ]);
  });

  it('lose a sequence together, whole or with what lies beyond its end', () => {
    const context = opened();
    context.seqRm(0, 4, -1);
    context.seqRm(0, 2, 2);
    expect(context.seqPosMax(0)).toBe(3);
    context.seqRm(0, 0, 4);
    context.seqKeep(1);
    expect(positions(context)).toEqual([
      [-1, -1],
      [2, 2],
      [-1, -1],
      [-1, -1],
    ]);
    context.clear();
    expect(step(context, [9], [1])).toEqual(step(model.open(params), [9], [1]));
  });
});

test('states alone have no spare rows, and nothing to undo', () => {
  const mamba = engineSubject().load(buildRecipe('mamba'), 'mamba').open(params);
  expect(kindOf(() => mamba.memory.rollback())).toBe('internal');
});

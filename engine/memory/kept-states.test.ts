/** Rollback of recurrent states: what is left after it goes on as if the removed tokens had never been. */
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../../contract/errors.ts';
import type { ContextParams } from '../../contract/subject.ts';
import { buildRecipe, overflowOf, recipes } from '../../golden/recipes.ts';
import type { EngineContext } from '../context.ts';
import { engineSubject } from '../subject.ts';

const subject = engineSubject();
const PARAMS = { n_ctx: 64, n_batch: 32, n_ubatch: 32, n_seq_max: 4, split: 'equal' } as const;

function load(name: string) {
  return subject.load(buildRecipe(name), name);
}

/** The rows of one batch: for each sequence its tokens, one sequence behind the other. */
function decode(
  context: EngineContext,
  runs: Readonly<Record<number, readonly number[] | undefined>>,
): number[] {
  const ids = Object.entries(runs).flatMap(([seq, tokens = []]) => tokens.map(() => [Number(seq)]));
  const token = Object.values(runs).flatMap((tokens = []) => [...tokens]);
  return Array.from(context.decode({ token, seq_id: ids, logits: token.map(() => true) }).logits);
}

function kindOf(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    return error instanceof IsobatchError ? error.kind : String(error);
  }
  return 'accepted';
}

/** Recipes with states, one of each architecture. */
const withStates = recipes.filter(
  ({ name, arch, engine }) =>
    engine && name === arch && ['recurrent', 'hybrid'].includes(load(name).info.memory),
);

it('there are states in these architectures', () => {
  expect(withStates.map(({ name }) => name).sort()).toEqual([
    'falcon-h1',
    'jamba',
    'lfm2',
    'mamba',
    'mamba2',
    'rwkv6',
    'rwkv7',
  ]);
});

describe.each(withStates)('$name', ({ name }) => {
  const model = load(name);
  // Two sequences; sequence 0 has seven tokens, of which the last r are taken back and others follow.
  const [own, other, after] = [
    [1, 2, 3, 4, 5, 6, 7],
    [9, 8],
    [11, 12],
  ];

  it.each(subject.info.isas)('%s: goes on from any kept state, with the bits of a new context', (isa) => {
    for (const r of [1, 2, 3]) {
      const kept = own.slice(0, own.length - r);
      const fresh = model.open({ ...PARAMS, isa });
      decode(fresh, { 0: kept, 1: other });
      const wanted = decode(fresh, { 0: after });
      // All at once, token by token, and three tokens a ubatch.
      for (const [cuts, n_ubatch] of [[[7], 32] as const, [[5, 1, 1], 32] as const, [[2, 5], 3] as const]) {
        const context = model.open({ ...PARAMS, n_ubatch, n_rs_seq: 3, isa });
        let done = 0;
        for (const n of cuts) {
          decode(context, { 0: own.slice(done, done + n), ...(done === 0 && { 1: other }) });
          done += n;
        }
        context.seqRm(0, own.length - r, -1);
        expect([context.seqPosMax(0), context.seqPosMax(1)]).toEqual([own.length - r - 1, 1]);
        expect(decode(context, { 0: after })).toEqual(wanted);
      }
    }
  });
});

describe('what is kept', () => {
  const model = load('mamba');
  const open = (params: Partial<ContextParams> = {}) => model.open({ ...PARAMS, n_rs_seq: 2, ...params });

  it('is n_rs_seq states, and none without that', () => {
    const context = open();
    decode(context, { 0: [1, 2, 3, 4, 5] });
    expect(kindOf(() => context.seqRm(0, 2, -1))).toBe('ops.partial');
    expect(kindOf(() => context.seqRm(0, 3, 4))).toBe('ops.partial');
    expect(context.seqPosMax(0)).toBe(4);
    context.seqRm(0, 4, -1);
    context.seqRm(0, 3, -1);
    // Two were kept, two were taken back; the next token leaves one to go back to again.
    expect(kindOf(() => context.seqRm(0, 2, -1))).toBe('ops.partial');
    decode(context, { 0: [6] });
    expect(kindOf(() => context.seqRm(0, 2, -1))).toBe('ops.partial');
    context.seqRm(0, 3, -1);
    const plain = open({ n_rs_seq: 0 });
    decode(plain, { 0: [1, 2, 3] });
    expect(kindOf(() => plain.seqRm(0, 2, -1))).toBe('ops.partial');
    expect(decode(context, { 0: [7] })).toEqual(decode(plain, { 0: [7] }));
  });

  it('is copied, and belongs to each copy', () => {
    const context = open();
    decode(context, { 0: [1, 2, 3] });
    context.seqCp(0, 1, 0, -1);
    context.seqRm(1, 1, -1);
    const both = decode(context, { 0: [4], 1: [5] });
    const plain = open();
    decode(plain, { 0: [1, 2, 3], 1: [1] });
    expect(both).toEqual(decode(plain, { 0: [4], 1: [5] }));
    context.seqKeep(1);
    expect([context.seqPosMax(0), context.seqPosMax(1)]).toEqual([-1, 1]);
  });

  it('of sequences that share a token is what all of them keep', () => {
    const context = open();
    decode(context, { 0: [1, 2, 3] });
    context.seqCp(0, 1, 0, -1);
    // Sequence 0 goes on and comes back: it keeps fewer states than its copy.
    decode(context, { 0: [4] });
    context.seqRm(0, 3, -1);
    context.decode({ token: [5], seq_id: [[1, 0]], logits: [true] });
    expect(kindOf(() => context.seqRm(1, 1, -1))).toBe('ops.partial');
    context.seqRm(1, 2, -1);
    context.seqRm(0, 3, -1);
    const plain = open();
    decode(plain, { 0: [1, 2, 3], 1: [1, 2] });
    expect(decode(context, { 0: [6], 1: [6] })).toEqual(decode(plain, { 0: [6], 1: [6] }));
  });

  it('moves with the positions, in copies of its own', () => {
    const context = open();
    decode(context, { 0: [1, 2, 3] });
    context.seqCp(0, 1, 0, -1);
    context.seqAdd(0, 0, -1, 4);
    expect([context.seqPosMax(0), context.seqPosMax(1)]).toEqual([6, 2]);
    expect(kindOf(() => context.decode({ token: [5], pos: [7], seq_id: [[0, 1]], logits: [true] }))).not.toBe(
      'accepted',
    );
    context.seqRm(0, 6, -1);
    context.seqRm(1, 2, -1);
    const plain = open();
    decode(plain, { 0: [1, 2], 1: [1, 2] });
    expect(decode(context, { 0: [6], 1: [6] })).toEqual(decode(plain, { 0: [6], 1: [6] }));
  });

  it('survives any number of batches, copies and removals', () => {
    const context = open({ n_rs_seq: 3, n_ubatch: 4 });
    for (let i = 0; i < 60; i++) {
      decode(context, { [i % 4]: [i % 50, 3, 5], [(i + 1) % 4]: [2] });
      context.seqRm(i % 4, Math.max(0, context.seqPosMax(i % 4) - (i % 3)), -1);
      if (i % 5 === 0) {
        context.seqRm((i + 2) % 4, 0, -1);
        context.seqCp(i % 4, (i + 2) % 4, 0, -1);
      }
    }
    context.clear();
    expect(decode(context, { 2: [1, 2, 3] })).toEqual(decode(open(), { 2: [1, 2, 3] }));
  });

  it('must be a whole number', () => {
    expect(kindOf(() => open({ n_rs_seq: -1 }))).toBe('params');
    expect(kindOf(() => open({ n_rs_seq: 1.5 }))).toBe('params');
    // More than memory, or what a plan can name.
    expect(kindOf(() => open({ n_rs_seq: 1 << 20, n_seq_max: 64 }))).toBe('params');
  });
});

it('beside attention: a batch that fails leaves cells and kept states as they were', () => {
  const name = 'jamba-fuzz';
  const loud = overflowOf(`recipe:${name}`)!;
  const context = load(name).open({ ...PARAMS, n_ubatch: 2, n_rs_seq: 2, type_kv: 'F16' });
  const plain = load(name).open({ ...PARAMS, type_kv: 'F16' });
  decode(context, { 0: [1, 2, 3, 4], 1: [5] });
  for (let i = 0; i < 5; i++) {
    expect(kindOf(() => decode(context, { 0: [6, 7, 8], 1: [9, loud] }))).toBe('memory.overflow');
    expect(kindOf(() => decode(context, { 0: new Array(40).fill(1) }))).toBe('batch.size');
  }
  context.seqRm(0, 2, -1);
  decode(plain, { 0: [1, 2], 1: [5] });
  expect(decode(context, { 0: [6], 1: [7] })).toEqual(decode(plain, { 0: [6], 1: [7] }));
});

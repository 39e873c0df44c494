/** The context's own promises: refusals by name that change nothing, limits, and results that stay in place. */
import { describe, expect, test } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { readGguf, writeGguf } from '../model/gguf.ts';
import { engineSubject } from './subject.ts';

const subject = engineSubject();
const llama = subject.load(buildRecipe('llama'), 'llama');
const mamba = subject.load(buildRecipe('mamba'), 'mamba');
const params = { n_ctx: 8, n_batch: 8, n_ubatch: 4, n_seq_max: 2, split: 'equal' } as const;

function kindOf(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    return error instanceof IsobatchError ? error.kind : String(error);
  }
  return 'accepted';
}

describe('parameters', () => {
  test.each([
    ['n_ctx', 0],
    ['n_batch', 1.5],
    ['n_ubatch', -1],
    ['n_seq_max', 65],
    ['type_kv', 'F8'],
    ['isa', 'sse9'],
    ['n_keep_tail', 4],
  ])('%s = %s is refused', (name, value) => {
    expect(kindOf(() => llama.open({ ...params, [name]: value }))).toBe('params');
  });

  test('simple is not for recurrent memory', () => {
    expect(kindOf(() => mamba.open({ ...params, split: 'simple' }))).toBe('params');
    expect(kindOf(() => llama.open({ ...params, split: 'simple' }))).toBe('accepted');
  });
});

describe('moves', () => {
  const roomy = { ...params, n_ctx: 16, n_batch: 16, n_ubatch: 2 };
  /** Largest difference of two rows. */
  const apart = (a: Float32Array, b: Float32Array): number =>
    a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

  test('a whole sequence that moves says what it said: only distances matter', () => {
    for (const type_kv of ['F32', 'F16'] as const) {
      const context = llama.open({ ...roomy, type_kv });
      context.decode({ token: [1, 2, 3, 4, 5] });
      context.seqCp(0, 1, 0, -1);
      context.seqAdd(1, 0, -1, 7);
      expect([context.seqPosMin(1), context.seqPosMax(1), context.seqPosMax(0)]).toEqual([7, 11, 4]);
      const both = context.decode({ token: [6, 6], seq_id: [[0], [1]], logits: [true, true] }).logits;
      const [stayed, moved] = [both.slice(0, 64), both.slice(64)];
      expect(apart(stayed, moved)).toBeLessThan(type_kv === 'F32' ? 1e-4 : 2e-2);
      expect(apart(stayed, moved)).toBeGreaterThan(0);
    }
  });

  test('a state moves without a change, also away from who shares it', () => {
    const context = mamba.open(roomy);
    context.decode({ token: [1, 2, 3] });
    context.seqCp(0, 1, 0, -1);
    context.seqAdd(1, 0, -1, 4);
    context.seqDiv(1, 0, -1, 2);
    expect([context.seqPosMax(0), context.seqPosMax(1)]).toEqual([2, 3]);
    const both = context.decode({ token: [6, 6], seq_id: [[0], [1]], logits: [true, true] }).logits;
    expect(Array.from(both.subarray(0, 64))).toEqual(Array.from(both.subarray(64)));
  });

  test('what would change the order, go below 0, or need cells that there are not, is refused and changes nothing', () => {
    const context = llama.open({ ...params, n_ctx: 5 });
    const twin = llama.open({ ...params, n_ctx: 5 });
    for (const each of [context, twin]) {
      each.decode({ token: [1, 2, 3] });
      each.seqCp(0, 1, 0, -1);
    }
    expect(kindOf(() => context.seqAdd(0, 0, -1, -1))).toBe('ops.range');
    expect(kindOf(() => context.seqAdd(0, 0, 1, 2))).toBe('ops.range');
    expect(kindOf(() => context.seqAdd(0, 0, -1, 0.5))).toBe('ops.range');
    expect(kindOf(() => context.seqDiv(0, 0, -1, 0))).toBe('ops.range');
    expect(kindOf(() => context.seqAdd(2, 0, -1, 1))).toBe('ops.seq_id');
    expect(kindOf(() => context.seqAdd(0, 0, -1, 1))).toBe('memory.full');
    const answer = (of: typeof context) =>
      Array.from(of.decode({ token: [4, 4], seq_id: [[0], [1]], logits: [true, true] }).logits);
    expect(answer(context)).toEqual(answer(twin));
    const state = mamba.open(params);
    state.decode({ token: [1, 2, 3] });
    expect(kindOf(() => state.seqAdd(0, 1, -1, 1))).toBe('ops.partial');
    expect(kindOf(() => state.seqAdd(0, 0, -1, -3))).toBe('ops.range');
  });
});

describe('refusals', () => {
  test('a batch that does not fit changes nothing', () => {
    const context = llama.open(params);
    context.decode({ token: [1, 2, 3, 4, 5] });
    expect(kindOf(() => context.decode({ token: [6, 7, 8, 9] }))).toBe('memory.full');
    expect(context.seqPosMax(0)).toBe(4);
    const after = Array.from(context.decode({ token: [6] }).logits);
    const plain = llama.open(params).decode({ token: [1, 2, 3, 4, 5, 6] });
    expect(after).toEqual(Array.from(plain.logits));
  });

  test('sequence operations name what they refuse', () => {
    const a = llama.open(params);
    const m = mamba.open(params);
    const seq_id = [[0], [0], [1]];
    a.decode({ token: [1, 2, 3], seq_id });
    m.decode({ token: [1, 2, 3], seq_id });
    expect(kindOf(() => a.seqCp(0, 1, -1, -1))).toBe('ops.copy');
    expect(kindOf(() => a.seqRm(2, 0, -1))).toBe('ops.seq_id');
    expect(kindOf(() => a.seqRm(0, 0.5, -1))).toBe('ops.range');
    expect(kindOf(() => m.seqRm(0, 1, -1))).toBe('ops.partial');
    expect([a.seqPosMax(0), m.seqPosMax(0), a.seqPosMax(1)]).toEqual([1, 1, 0]);
    a.close();
    expect(kindOf(() => a.decode({ token: [1] }))).toBe('internal');
  });
});

/** The fuzz llama with louder keys in its first layer: some tokens then overflow F16, others do not. */
function loudLlama(factor: number) {
  const file = readGguf(buildRecipe('llama'), 'llama');
  const tensors = [...file.tensors.values()].map((t) =>
    t.name === 'blk.0.attn_k.weight' ? { ...t, data: (t.data as Float32Array).map((x) => x * factor) } : t,
  );
  return subject.load(writeGguf({ ...file, tensors }), 'loud llama');
}

test('an overflow in a later ubatch undoes the whole batch, earlier tokens and shared ones too', () => {
  const f16 = { ...params, n_ctx: 32, n_batch: 16, n_ubatch: 2, type_kv: 'F16' } as const;
  const loud = loudLlama(12_000);
  // Keys are rotated by position: quiet tokens fit at every position that is used here, the bad one does not at its own.
  const outcome = (token: number[]) => kindOf(() => loud.open(f16).decode({ token }));
  const tokens = Array.from({ length: 64 }, (_, token) => token);
  const quiet = tokens.filter((t) => outcome(new Array(8).fill(t)) === 'accepted').slice(0, 6);
  const bad = tokens.find((t) => outcome([...new Array(5).fill(quiet[0]), t]) === 'memory.overflow') ?? -1;
  expect(quiet.length).toBe(6);
  expect(bad).toBeGreaterThanOrEqual(0);

  const prompt = { token: quiet.slice(0, 3), seq_id: [[0, 1], [0, 1], [0]] };
  const tried = loud.open(f16);
  const plain = loud.open(f16);
  tried.decode(prompt);
  plain.decode(prompt);
  const token = [quiet[3]!, quiet[4]!, quiet[5]!, bad];
  expect(kindOf(() => tried.decode({ token, seq_id: [[0], [1], [0], [0]] }))).toBe('memory.overflow');
  expect([tried.seqPosMax(0), tried.seqPosMax(1)]).toEqual([2, 1]);
  const next = { token: quiet.slice(3), seq_id: [[0], [1], [0]], logits: [true, true, true] };
  expect(Array.from(tried.decode(next).logits)).toEqual(Array.from(plain.decode(next).logits));
});

test('F16 K and V are other bits than F32', () => {
  const batch = { token: [1, 2, 3, 4], logits: [true, true, true, true] };
  const f32 = Array.from(llama.open(params).decode(batch).logits);
  const f16 = Array.from(llama.open({ ...params, type_kv: 'F16' }).decode(batch).logits);
  expect(f16).not.toEqual(f32);
  expect(Math.max(...f16.map((x, i) => Math.abs(x - f32[i]!)))).toBeLessThan(0.1);
});

test('a copy of nothing is legal, a part of a recurrent sequence is not', () => {
  const context = mamba.open(params);
  context.decode({ token: [1, 2, 3] });
  for (const [p0, p1] of [
    [0, 0],
    [3, -1],
    [5, 2],
  ] as const)
    context.seqCp(0, 1, p0, p1);
  expect(context.seqPosMax(1)).toBe(-1);
  expect(kindOf(() => context.seqCp(0, 1, 1, 2))).toBe('ops.partial');
  context.seqCp(0, 1, 0, 3);
  expect(context.seqPosMax(1)).toBe(2);
});

test('ids that are no lists are refused by name', () => {
  const seq_id = [0] as unknown as number[][];
  expect(kindOf(() => llama.open(params).decode({ token: [1], seq_id }))).toBe('batch.seq_id');
});

test('a key that overflows F16 refuses the whole batch, and its cells are free again', () => {
  // Layer norms scaled up until keys leave the range of halves.
  const bytes = buildRecipe('llama');
  const loud = new Uint8Array(bytes);
  const floats = new Float32Array(loud.buffer, 0, loud.byteLength >> 2);
  for (let i = 4096; i < floats.length; i++) if (Math.abs(floats[i]!) < 100) floats[i]! *= 300;
  const context = subject.load(loud, 'loud').open({ ...params, type_kv: 'F16' });
  expect(kindOf(() => context.decode({ token: [1, 2, 3, 4, 5, 6] }))).toBe('memory.overflow');
  expect(context.seqPosMax(0)).toBe(-1);
  expect(kindOf(() => context.decode({ token: [1, 2, 3, 4, 5, 6, 7, 8] }))).toBe('memory.overflow');
});

test('a repeated shape hands out the same view: a warm decode allocates no array', () => {
  const context = mamba.open(params);
  const batch = { token: [1, 2], seq_id: [[0], [1]], logits: [true, true] };
  const first = context.decode(batch);
  context.decode({ token: [3] });
  expect(context.decode(batch).logits).toBe(first.logits);
});

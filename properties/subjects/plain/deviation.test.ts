/** Every planted deviation is exactly the one that it says it is, and shows in the logits. */
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../../contract/batch.ts';
import type { ContextParams } from '../../../contract/subject.ts';
import { loadModel } from '../../../model/load.ts';
import type { HparamsOf, Model, Tensor } from '../../../model/types.ts';
import { modelBytes } from '../../campaign-models.ts';
import { applies, DEVIATIONS, type DeviationKind, deviantWeight } from './deviation.ts';
import { type PlainOptions, plainModel } from './subject.ts';

const PARAMS: ContextParams = { n_ctx: 64, n_batch: 64, n_ubatch: 8, n_seq_max: 4, split: 'equal' };
const named = (name: string): Model => loadModel(modelBytes(name), name);

/** All rows of one long sequence that names every token of a vocabulary of 64 once. */
function rowsOf(model: Model, options: PlainOptions = {}, params: Partial<ContextParams> = {}): Float32Array {
  const token = Array.from({ length: 40 }, (_, i) => (i * 37 + 11) % 64);
  const batch: Batch = { token, logits: token.map(() => true) };
  return plainModel(model, options)
    .open({ ...PARAMS, ...params })
    .decode(batch).logits;
}

/** Output rows that differ in any bit. */
function differing(a: Float32Array, b: Float32Array, n_vocab: number): number[] {
  const rows = new Set<number>();
  a.forEach((x, i) => {
    if (!Object.is(x, b[i])) rows.add(Math.floor(i / n_vocab));
  });
  return [...rows];
}

const models = ['recipe:llama', 'recipe:llama-f16', 'recipe:mamba', 'recipe:mamba-f16', 'golden:tiny-llama'];
const pairs = models.flatMap((name) =>
  DEVIATIONS.filter((kind) => kind !== 'none').map((kind) => [name, kind] as const),
);

describe('each shows where it applies, and nowhere else', () => {
  it.each(pairs)('%s %s', (name, deviation) => {
    const model = named(name);
    const right = rowsOf(model);
    // A weight of a token that does not occur would show nothing.
    const seed = deviation === 'weight' ? seedOf(model, 'blk.0.') : 3;
    const differ = differing(right, rowsOf(model, { deviation, seed }), model.hparams.n_vocab);
    if (applies(deviation, model)) expect(differ.length).toBeGreaterThan(0);
    else expect(differ).toEqual([]);
  });

  it('none is the same as nothing', () => {
    const model = named('recipe:llama');
    expect(rowsOf(model, { deviation: 'none', seed: 5 })).toEqual(rowsOf(model));
  });
});

/** A seed whose weight is in a tensor with such a name. */
function seedOf(model: Model, prefix: string): number {
  let seed = 0;
  while (!deviantWeight(model, seed).tensor.startsWith(prefix)) seed++;
  return seed;
}

describe('weight', () => {
  const model = named('recipe:llama-f16');

  it('is one weight, off by 1e-4 of itself', () => {
    const seed = seedOf(model, 'blk.1.attn_norm');
    const { tensor, index, value } = deviantWeight(model, seed);
    const old = model.tensors.get(tensor)!;
    const data = Float32Array.from(old.data);
    expect(value / data[index]!).toBeCloseTo(1.0001, 6);
    data[index] = value;
    const wrong = {
      ...model,
      tensors: new Map<string, Tensor>([...model.tensors, [tensor, { ...old, data }]]),
    };
    expect(rowsOf(model, { deviation: 'weight', seed })).toEqual(rowsOf(wrong));
  });

  it('is chosen among all tensors', () => {
    const tensors = new Set(Array.from({ length: 300 }, (_, seed) => deviantWeight(model, seed).tensor));
    expect(tensors.size).toBeGreaterThan(12);
  });

  it('is never a weight that is zero', () => {
    const tensors = new Map(model.tensors);
    for (const [name, t] of tensors)
      if (name !== 'output_norm.weight') tensors.set(name, { ...t, data: t.data.slice().fill(0) });
    const { tensor, index } = deviantWeight({ ...model, tensors }, 7);
    expect(tensor).toBe('output_norm.weight');
    expect(model.tensors.get(tensor)!.data[index]).not.toBe(0);
  });
});

describe('dropped-key', () => {
  it.each([0, 1, 2, 3, 4, 5])('is seen by one query first, seed %i', (seed) => {
    const model = named('recipe:llama');
    const { n_vocab, n_layer } = model.hparams;
    const differ = differing(rowsOf(model), rowsOf(model, { deviation: 'dropped-key', seed }), n_vocab);
    // One of the first four queries with an earlier key; what comes later sees only what that query left behind.
    expect(differ[0]).toBeGreaterThanOrEqual(1);
    expect(differ[0]).toBeLessThanOrEqual(4);
    expect(n_layer).toBe(2);
    expect([1, 40 - differ[0]!]).toContain(differ.length);
  });

  it('is another one in another seed, and the same again in each context', () => {
    const model = named('recipe:llama');
    const all = [0, 1, 2, 3, 4, 5].map((seed) => rowsOf(model, { deviation: 'dropped-key', seed }));
    expect(new Set(all.map((rows) => rows.join())).size).toBeGreaterThan(3);
    const twice = plainModel(model, { deviation: 'dropped-key', seed: 1 });
    const run = () =>
      twice.open(PARAMS).decode({ token: [1, 2, 3, 4, 5, 6], logits: new Array(6).fill(true) });
    expect(run()).toEqual(run());
  });
});

describe.each([
  ['recipe:llama', 'eps'],
  ['recipe:mamba', 'eps'],
] as const)('%s', (name, deviation: DeviationKind) => {
  it('eps is that of a model with twice the epsilon', () => {
    const model = named(name);
    const hparams = model.hparams as HparamsOf<'llama' | 'mamba'>;
    const wrong = { ...model, hparams: { ...hparams, norm_rms_eps: 2 * hparams.norm_rms_eps } };
    expect(rowsOf(model, { deviation })).toEqual(rowsOf(wrong));
  });
});

describe('f16-kv', () => {
  it('is what F16 caches give, and nothing where they were asked for', () => {
    const model = named('recipe:llama');
    const half = rowsOf(model, {}, { type_kv: 'F16' });
    expect(rowsOf(model, { deviation: 'f16-kv' })).toEqual(half);
    expect(rowsOf(model, { deviation: 'f16-kv' }, { type_kv: 'F16' })).toEqual(half);
  });
});

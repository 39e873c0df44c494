/**
 * Bounds measured on copies, on a subject whose architecture nobody has a formula for: healthy runs stay far inside,
 * planted faults lie far beyond, and what rounds to F16 is noticed.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readGguf } from '../model/gguf.ts';
import { U32 } from '../oracle/rounding.ts';
import { modelBytes } from './campaign-models.ts';
import { encoder } from './encoder.ts';
import { factsOf } from './facts.ts';
import { noisyCopy } from './noise.ts';
import { N_COPIES, noiseFor, uncopied } from './noise-rows.ts';
import { type MeanOptions, meanEnv, meanModel, N_EMBD, N_VOCAB } from './noise-testing.ts';
import { operations } from './operations.ts';
import { MOST_PARAMS } from './sample.ts';
import { solo } from './solo.ts';
import type { Env, Outcome, Property } from './types.ts';
import { addBounds, type BoundsTally, emptyBounds } from './verdict.ts';
import { WorkerState } from './worker-env.ts';
import { runCase } from './worker-run.ts';

const bytes = meanModel();
let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'isobatch-noise-'));
  path = join(folder, 'mean.gguf');
  writeFileSync(path, bytes);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const envWith = (options?: MeanOptions): Env => meanEnv(path, bytes, options);

async function run(
  property: Property,
  env: Env,
  n: number,
): Promise<{ failed: Outcome | null; bounds: BoundsTally; rounding: number }> {
  const bounds = emptyBounds();
  let rounding = 0;
  for (let i = 0; i < n; i++) {
    const outcome = await runCase(property, env, property.generate(env, i));
    if (outcome.bounds !== undefined) addBounds(bounds, outcome.bounds);
    rounding += outcome.rounding;
    if (outcome.status === 'failed') return { failed: outcome, bounds, rounding };
  }
  return { failed: null, bounds, rounding };
}

describe('measured deviations', () => {
  it('are those of the formula for a sum, and a little longer', async () => {
    const env = envWith();
    const sigma = await noiseFor(env).sigma([3], { type_kv: 'F32' });
    const { tensors } = readGguf(bytes, 'mean');
    const [embd, value, output] = ['token_embd', 'blk.0.attn_v', 'output'].map(
      (name) => tensors.get(`${name}.weight`)!.data as Float32Array,
    ) as [Float32Array, Float32Array, Float32Array];
    const x = Array.from({ length: N_EMBD }, (_, i) => embd[3 * N_EMBD + i]! / 2);
    const dot = (w: Float32Array, row: number, of: readonly number[]) =>
      of.map((v, i) => w[row * N_EMBD + i]! * v);
    const sum = (t: readonly number[]) => t.reduce((a, b) => a + b, 0);
    const squares = (t: readonly number[]) => sum(t.map((v) => v * v));
    // SUM(n; t) of verdicts.md 5.
    const rule = (t: readonly number[]) =>
      ((U32 * U32) / 3) * ((t.length / 6) * squares(t) + (t.length / 3) * sum(t) ** 2 + squares(t));
    const y = Array.from({ length: N_EMBD }, (_, i) => sum(dot(value, i, x)));
    const s = y.map((_, i) => rule(dot(value, i, x)));
    let want = 0;
    for (let j = 0; j < N_VOCAB; j++) {
      const carried = s.map((v, i) => output[j * N_EMBD + i]! ** 2 * v);
      want += rule(dot(output, j, y)) + sum(carried);
    }
    const ratio = Math.sqrt(squares([...sigma]) / want);
    expect(ratio).toBeGreaterThan(1);
    expect(ratio).toBeLessThan(5);
  });

  it('are measured once for all lists of a path', async () => {
    const calls = { decode: 0, load: 0 };
    const env = envWith({ calls });
    const [list] = factsOf(env).tree.paths;
    const rows = noiseFor(env);
    const whole = await rows.sigma(list!, {});
    const { decode, load } = calls;
    expect(load).toBeGreaterThanOrEqual(N_COPIES);
    for (let n = 1; n < list!.length; n++) await rows.sigma(list!.slice(0, n), {});
    expect(await rows.sigma(list!, {})).toBe(whole);
    expect(calls).toEqual({ decode, load });
  });

  it('are measured together for many lists, each copy once, and are what each alone gives', async () => {
    const calls = { decode: 0, load: 0 };
    const together = noiseFor(envWith({ calls }));
    await together.sigma([5], {});
    const { decode } = calls;
    const lists = [[1, 2, 3], [1, 2], [4, 4], [1]];
    await together.measure(lists, {}, true);
    expect(calls.decode - decode).toBe(2 * N_COPIES);
    expect(lists.map((list) => together.knows(list, {}))).toEqual([true, true, true, true]);
    expect(together.knows([4, 4], { type_kv: 'F16' })).toBe(false);
    const alone = noiseFor(envWith());
    for (const list of lists) expect(await together.sigma(list, {})).toEqual(await alone.sigma(list, {}));
    expect(calls.decode - decode).toBe(2 * N_COPIES);
  });

  it('grow to those of F16 where the subject rounds to it and does not say so', async () => {
    const list = factsOf(envWith()).tree.paths[1]!.slice(0, 9);
    const fine = await noiseFor(envWith()).sigma(list, {});
    const coarse = await noiseFor(envWith({ half: true })).sigma(list, {});
    expect(coarse[0]! / fine[0]!).toBeGreaterThan(30);
  });
});

it('workers can load copies', async () => {
  const state = new WorkerState({ subject: { kind: 'plain' }, seed: 's', restrict: {}, call_timeout_s: 20 });
  const env = await state.env(solo, 'recipe:llama@1x16');
  const file = readGguf(modelBytes(env.modelName), env.modelName);
  const half = { attention: false, sums: false, activation: 'none' } as const;
  const copy = await env.load!(noisyCopy(file, { number: 0, amplify: 1, half }), 'a copy');
  expect(copy.info).toEqual(env.model);
  expect(copy).not.toBe(env.loaded);
});

describe('comparisons by measured bounds', () => {
  it('apply to a model that the oracle does not know', () => {
    const env = envWith();
    expect(solo.skip(env.subject, env.model)).toBeNull();
    expect(solo.skip({ ...env.subject, rounding: undefined }, env.model)).toMatch(/states how it rounds/);
    const large = { ...env.model, n_params: MOST_PARAMS + 1 };
    // Bounds of its own are measured for that (`noise-light.ts`), but not for an encoder.
    expect(solo.skip(env.subject, large)).toBeNull();
    expect(uncopied(large)).toMatch(/8388609 parameters are too many/);
    expect(encoder.skip(env.subject, { ...large, encoder: 'only' })).toBe(uncopied(large));
  });

  for (const half of [false, true]) {
    it(`hold for healthy runs${half ? ' that round to F16' : ''}, and say that they are measured`, async () => {
      const { failed, bounds, rounding } = await run(solo, envWith({ half }), 25);
      expect(failed).toBeNull();
      expect(rounding).toBeGreaterThan(100);
      expect(Object.keys(bounds.use)).toEqual([`${path} (by copies)`]);
      const [use] = Object.values(bounds.use);
      expect(use!.max).toBeGreaterThan(0);
      expect(use!.max).toBeLessThan(0.5);
      expect(bounds.ill).toBe(0);
    });
  }

  it('are missed by far where a sequence sees a token of another', async () => {
    const { failed } = await run(solo, envWith({ fault: 'leak' }), 40);
    const { missed } = failed!.failure!.difference;
    expect([missed!.by, missed!.grade]).toEqual(['copies', 'not graded']);
    expect(missed!.sigmas).toBeGreaterThan(1e4);
    expect(failed!.failure!.message).toMatch(/measured standard deviations off/);
    expect(failed!.divergent).toBeGreaterThan(0);
  });

  it('hold after removals inside, where copies run the history itself', async () => {
    const { failed, rounding } = await run(operations, envWith(), 25);
    expect(failed).toBeNull();
    expect(rounding).toBeGreaterThan(100);
  });

  it('see a key that should be gone', async () => {
    const { failed } = await run(operations, envWith({ fault: 'stale' }), 60);
    expect(failed!.failure!.signature).toMatch(/^operations\/mean\/16\/text\/logits$/);
    expect(failed!.failure!.difference.missed!.sigmas).toBeGreaterThan(1e4);
  });

  it('are left out, with the reason, where the weights cannot be read', async () => {
    const file = join(folder, 'quantized.gguf');
    const broken = Uint8Array.from(bytes);
    // Type of the last tensor, before its offset: Q4_0.
    const at = Buffer.from(broken.buffer).indexOf('output.weight') + 'output.weight'.length + 4 + 16;
    new DataView(broken.buffer).setUint32(at, 2, true);
    writeFileSync(file, broken);
    const env = { ...envWith(), modelName: file };
    const outcome = await runCase(solo, env, solo.generate(env, 0));
    expect(outcome.status).toBe('skipped');
    // A file with no norm at all: none can carry the noise either.
    expect(outcome.reason).toMatch(/no norm carries the noise/);
  });
});

/**
 * Copies on disk whose norms carry the noise of all matrices: only small tensors change, their noise is the stated one,
 * the bounds cover those of the oracle, healthy runs stay inside, and a subject whose answers depend on the batch is
 * found.
 */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SubjectContext, SubjectModel } from '../contract/subject.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { readGguf, writeGguf } from '../model/gguf.ts';
import { readF32, readGgufHead } from '../model/gguf-head.ts';
import { U16, U32 } from '../oracle/rounding.ts';
import { oracleWhite } from '../oracle/white.ts';
import { boundsBy } from './bounds-by.ts';
import { factsOf } from './facts.ts';
import { noiseOf } from './noise.ts';
import { LightNoise } from './noise-light.ts';
import { noiseFor, prepareBounds } from './noise-rows.ts';
import { OracleRows } from './oracle-rows.ts';
import { reference } from './reference.ts';
import { solo } from './solo.ts';
import { plainSubject } from './subjects/plain/subject.ts';
import type { Env, Outcome } from './types.ts';
import { runCase } from './worker-run.ts';

const HALF = { attention: false, sums: false, activation: 'none' } as const;
let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'isobatch-light-'));
  path = join(folder, 'llama-f16.gguf');
  writeFileSync(path, buildRecipe('llama-f16'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The rows of the first two outputs change places where a batch has two sequences. */
function mixing(model: SubjectModel): SubjectModel {
  const wrong = (context: SubjectContext): SubjectContext => ({
    ...bound(context),
    async decode(batch) {
      const { n_outputs, logits } = await context.decode(batch);
      const several = new Set(batch.seq_id?.map((ids) => ids[0])).size > 1;
      if (!several || n_outputs < 2) return { n_outputs, logits };
      const n = model.info.n_vocab;
      const mixed = logits.slice();
      mixed.set(logits.subarray(0, n), n);
      mixed.set(logits.subarray(n, 2 * n), 0);
      return { n_outputs, logits: mixed };
    },
  });
  return { info: model.info, open: async (params) => wrong(await model.open(params)), close() {} };
}

function bound(context: SubjectContext): SubjectContext {
  const names = ['decode', 'seqRm', 'seqCp', 'seqKeep', 'clear', 'seqPosMin', 'seqPosMax', 'close'] as const;
  return Object.fromEntries(
    names.map((name) => [name, (context[name] as (...args: unknown[]) => unknown).bind(context)]),
  ) as unknown as SubjectContext;
}

function lightEnv(change: (model: SubjectModel) => SubjectModel = (model) => model): Env {
  const subject = plainSubject();
  const loaded = change(subject.load(readFileSync(path), path) as SubjectModel);
  return {
    seed: 'light',
    subject: subject.info,
    model: loaded.info,
    modelName: path,
    loaded,
    load: (bytes, name) => subject.load(bytes, name),
    bounds: 'norms',
    reference: 'self',
    oracle: oracleWhite,
    coverage: {},
    restrict: { type_kv: 'F32' },
  };
}

describe('a copy', () => {
  it('changes the small F32 tensors and nothing else, each copy in its own way', () => {
    const before = readFileSync(path);
    const noise = new LightNoise(readGgufHead(path));
    const copy = join(folder, 'copy.gguf');
    const made = [0, 1, 0].map((number) => {
      copyFileSync(path, copy);
      noise.write(copy, { number, amplify: 1, half: HALF });
      return readFileSync(copy);
    });
    expect(made[0]).toEqual(made[2]);
    expect(made[0]).not.toEqual(made[1]);
    const [a, b] = [readGguf(before, 'a'), readGguf(made[0]!, 'b')];
    expect(b.metadata).toEqual(a.metadata);
    for (const t of a.tensors.values()) {
      const same = expect(b.tensors.get(t.name)!.data, t.name);
      if (t.type === 'F32') same.not.toEqual(t.data);
      else same.toEqual(t.data);
    }
  });

  it('has the noise of the matrices on the norm that they read', () => {
    const head = readGgufHead(path);
    const noise = new LightNoise(head);
    const copy = join(folder, 'norm.gguf');
    const name = 'blk.0.ffn_norm.weight';
    const was = readF32(head, head.tensors.get(name)!);
    let squares = 0;
    let n = 0;
    for (let number = 0; number < 64; number++) {
      copyFileSync(path, copy);
      noise.write(copy, { number, amplify: 1, half: HALF });
      const copied = readGgufHead(copy);
      readF32(copied, copied.tensors.get(name)!).forEach((x, i) => {
        squares += (x / was[i]! - 1) ** 2;
        n++;
      });
    }
    const matrices = ['ffn_gate', 'ffn_up', 'ffn_down'].map((m) => head.tensors.get(`blk.0.${m}.weight`)!);
    // Three F16 matrices, whose inputs are rounded to F16 (1/3 each), and what is rounded in float32.
    const fine = [head.tensors.get(name)!, ...matrices].map((t) => noiseOf(t.name, t.ne, 2));
    const want = U16 ** 2 + fine.reduce((sum, f) => sum + U32 ** 2 * (f.own + f.row + f.column), 0);
    expect(Math.sqrt(squares / n / want)).toBeGreaterThan(0.9);
    expect(Math.sqrt(squares / n / want)).toBeLessThan(1.1);
  });

  it('cannot be made where a block has no norm', () => {
    const { metadata, tensors } = readGguf(readFileSync(path), 'whole');
    const kept = [...tensors.values()].filter(({ name }) => !/^blk\.0\..*norm/.test(name));
    const without = join(folder, 'without.gguf');
    writeFileSync(without, writeGguf({ metadata, tensors: kept }));
    expect(() => new LightNoise(readGgufHead(without))).toThrow(/no norm carries the noise of blk\.0/);
  });
});

it('bounds cover those of the formulas, and are not many times wider', async () => {
  const env = lightEnv();
  const list = factsOf(env).tree.paths[0]!;
  const oracle = new OracleRows(env, env.subject.rounding!);
  const ratios: number[] = [];
  for (const n of [1, 4, 20, 64]) {
    const measured = await noiseFor(env).sigma(list.slice(0, n), { type_kv: 'F32' });
    const derived = oracle.plain(list.slice(0, n), 'F32').carried.s;
    for (const [j, s] of measured.entries()) ratios.push(s / Math.sqrt(derived[j]!));
  }
  ratios.sort((a, b) => a - b);
  expect(ratios[0]).toBeGreaterThan(0.8);
  expect(ratios[ratios.length >> 1]).toBeLessThan(20);
});

it('are measured beforehand for a large model, and nothing is left on disk', async () => {
  const ours = () => readdirSync(tmpdir()).filter((n) => n.startsWith(`isobatch-files-${process.pid}-`));
  const before = ours();
  const env = lightEnv();
  const large = { ...env, model: { ...env.model, n_params: 2 ** 30 } };
  expect(boundsBy({ ...large, bounds: undefined })).toBe('norms');
  const told: string[] = [];
  await prepareBounds(large, (what) => told.push(what));
  expect(told).toContain('bounds, copy 16 of 16');
  expect(ours()).toEqual(before);
  // Every case is from the lists that were measured.
  const said = told.length;
  for (let i = 0; i < 20; i++) {
    const outcome = await runCase(reference, large, reference.generate(large, i));
    expect(outcome.status).toBe('passed');
  }
  expect(told.length).toBe(said);
});

describe('comparisons', () => {
  const first = async (env: Env, n: number): Promise<{ failed?: Outcome; compared: number }> => {
    let compared = 0;
    for (let i = 0; i < n; i++) {
      for (const property of [solo, reference]) {
        const outcome = await runCase(property, env, property.generate(env, i));
        compared += outcome.compared;
        if (outcome.status === 'failed') return { failed: outcome, compared };
      }
    }
    return { compared };
  };

  it('hold for a right subject', async () => {
    const { failed, compared } = await first(lightEnv(), 6);
    expect(failed).toBeUndefined();
    expect(compared).toBeGreaterThan(10_000);
  }, 60_000);

  it('find answers that depend on the batch', async () => {
    const { failed } = await first(lightEnv(mixing), 30);
    const { missed } = failed!.failure!.difference;
    expect(failed!.failure!.signature).toMatch(/logits$/);
    expect(missed!.by).toBe('copies');
    expect(missed!.sigmas).toBeGreaterThan(30);
  }, 60_000);
});

/** Large models: their files are not read, their histories are few and short, and the campaign says so. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { buildRecipe } from '../golden/recipes.ts';
import { MOST_FILE_BYTES, modelSource } from './campaign-models.ts';
import { type PlanOptions, planUnits } from './campaign-plan.ts';
import { factsOf } from './facts.ts';
import { reference } from './reference.ts';
import { MOST_PARAMS, sampleOf } from './sample.ts';
import { fakeEnv } from './testing.ts';
import { trace } from './trace.ts';
import type { ProbeAnswer } from './worker-messages.ts';

it('a file above the limit is given by its path, a smaller one by its bytes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'isobatch-sample-'));
  try {
    const path = join(folder, 'a:b.gguf');
    writeFileSync(path, buildRecipe('llama'));
    expect(modelSource(path)).toHaveProperty('bytes');
    // Padded with nothing: what follows the last tensor is not looked at.
    truncateSync(path, MOST_FILE_BYTES + 1);
    expect(modelSource(path)).toEqual({ path, size: MOST_FILE_BYTES + 1 });
    expect(() => modelSource(join(folder, 'none'))).toThrow(/there is no such file/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it('the more parameters, the fewer tokens, never none', () => {
  expect(sampleOf({ n_params: MOST_PARAMS, n_vocab: 259 })).toBeUndefined();
  let last = Number.POSITIVE_INFINITY;
  for (const bits of [24, 27, 30, 33, 37]) {
    const { paths, length, sequences, cases } = sampleOf({ n_params: 2 ** bits, n_vocab: 32_000 })!;
    expect(paths * length * cases).toBeLessThanOrEqual(last);
    last = paths * length * cases;
    expect(Math.min(paths, length, sequences, cases)).toBeGreaterThanOrEqual(3);
  }
});

it('histories of a large model stay within the sample, on its lists', () => {
  const env = fakeEnv();
  const large = { ...env, model: { ...env.model, n_params: 2 ** 30 }, reference: 'self' as const };
  const { paths, length, sequences } = sampleOf(large.model)!;
  const { tree } = factsOf(large);
  expect([tree.paths.length, tree.paths[0]!.length]).toEqual([paths, length]);
  for (let i = 0; i < 60; i++) {
    const { calls } = trace(reference.generate(large, i).script!, 'attention');
    const tokens = calls.flatMap((call) => call.tokens);
    expect(new Set(tokens.flatMap(({ ids }) => ids)).size).toBeLessThanOrEqual(sequences);
    for (const { output, seen } of tokens) {
      if (!output) continue;
      expect(tree.paths.some((path) => seen?.every((token, k) => path[k] === token))).toBe(true);
    }
  }
});

it('cases are few unless somebody says how many', () => {
  const info = { ...fakeEnv().model, n_params: 2 ** 30 };
  const property = { name: 'solo', statement: '', white: false, classes: {}, skip: {} };
  const probe = { models: [{ name: 'big', info, sha256: '' }], refused: {}, properties: [property] };
  const cases = (options: Omit<PlanOptions, 'models'>) =>
    planUnits(probe as unknown as ProbeAnswer, { ...options, models: ['big'] })[0]!.end;
  expect(cases({ cases: 100, unsaid: true })).toBe(sampleOf(info)!.cases);
  expect(cases({ cases: 100 })).toBe(100);
});

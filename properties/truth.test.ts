import { describe, expect, it } from 'vitest';
import { engineSubject } from '../engine/subject.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { oracleWhite } from '../oracle/white.ts';
import { withTruth } from './truth.ts';
import type { Env, Failure, Script } from './types.ts';

const engine = engineSubject();
const loaded = engine.load(buildRecipe('llama'), 'recipe:llama');
const env: Env = {
  seed: 't',
  subject: engine.info,
  model: loaded.info,
  modelName: 'recipe:llama',
  loaded,
  oracle: oracleWhite,
  coverage: {},
  restrict: {},
};
const script: Script = {
  params: { n_ctx: 4, n_batch: 4, n_ubatch: 4, n_seq_max: 1, split: 'simple' },
  calls: [{ op: 'decode', batch: { token: [3, 5] } }],
};
const ctx = loaded.open(script.params);
const right = ctx.decode({ token: [3, 5] }).logits[7]!;

function failureOf(got: number, want: number, more: Partial<Failure['case']> = {}): Failure {
  return {
    case: {
      version: 1,
      property: 'ubatch',
      model: 'recipe:llama',
      seed: 't',
      index: 0,
      script,
      base: script,
      ...more,
    },
    message: '',
    signature: '',
    difference: { what: 'logits', index: 7, got, want, at: { call: 0, index: 1 } },
  };
}

describe('which of two answers is wrong', () => {
  it.each([
    [right + 1, right, 'got'],
    [right, right - 1, 'want'],
    [right + 1, right - 1, 'both'],
    [right, right + 2 ** -22, 'neither'],
  ])('%f against %f: %s', (got, want, wrong) => {
    const { truth } = withTruth(env, failureOf(got, want));
    expect(truth!.wrong).toBe(wrong);
    expect(Math.abs(truth!.value - right)).toBeLessThan(truth!.bound);
  });

  it('is not asked where the oracle was asked, or knows nothing', () => {
    const known = failureOf(1, 2);
    expect(withTruth(env, failureOf(1, 2, { property: 'reference' })).truth).toBeUndefined();
    expect(
      withTruth({ ...env, subject: { ...env.subject, rounding: undefined } }, known).truth,
    ).toBeUndefined();
    // Another loaded model: where its bounds come from is kept with it.
    const foreign = { ...env, model: { ...env.model, arch: 'rwkv9' }, loaded: { ...env.loaded } };
    expect(withTruth(foreign, known).truth).toBeUndefined();
    const nowhere = { ...known, difference: { ...known.difference, at: undefined } };
    expect(withTruth(env, nowhere).truth).toBeUndefined();
  });
});

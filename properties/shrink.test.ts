/** Shrinking: each kind of step, by predicates that say which cases "fail", and by planted faults. */
import { describe, expect, test } from 'vitest';
import type { Batch } from '../contract/batch.ts';
import { operations } from './operations.ts';
import { placement } from './placement.ts';
import { shorterRanges } from './shrink-batch.ts';
import { modelRank, plainerModels } from './shrink-model.ts';
import { caseKey, findingOf, shrinkCase } from './shrinker.ts';
import { solo } from './solo.ts';
import { fakeEnv, runCases } from './testing.ts';
import { idsOf, isSound } from './trace.ts';
import type { Call, Case, Env, Failure, Outcome, Property, Script } from './types.ts';
import { ubatch } from './ubatch.ts';

const NOTHING = { compared: 1, equal: 1, rounding: 0, divergent: 0, tokens: 0 };
const difference = { what: 'a row' };
const failureOf = (c: Case, signature = 'solo/llama/16/logits'): Failure => ({
  case: c,
  message: 'different',
  difference,
  signature,
});
const outcome = (c: Case, failed: boolean): Outcome =>
  failed ? { status: 'failed', ...NOTHING, failure: failureOf(c) } : { status: 'passed', ...NOTHING };

/** Shrinks with "fails" decided by a predicate; checks that every candidate is legal and smaller cases only come. */
async function shrinkBy(
  property: Property,
  env: Env,
  c: Case,
  fails: (c: Case) => boolean,
): Promise<{ c: Case; tried: number }> {
  expect(fails(c)).toBe(true);
  const keys = new Set<string>();
  const { failure, tried } = await shrinkCase(property, env, failureOf(c), {
    deadline: Date.now() + 10_000,
    announce: (_, key) => {
      expect(keys.has(key)).toBe(false);
      keys.add(key);
    },
    run: async (candidate) => {
      expect(isSound(candidate.script!, env.model.memory, 64)).toBe(true);
      return outcome(candidate, fails(candidate));
    },
  });
  return { c: failure.case, tried };
}

const decodes = (c: Case): Batch[] =>
  c.script!.calls.flatMap((call) => (call.op === 'decode' ? [call.batch] : []));
const tokens = (c: Case): number => decodes(c).reduce((n, batch) => n + batch.token.length, 0);
const has = (c: Case, op: Call['op']): boolean => c.script!.calls.some((call) => call.op === op);

/** The first generated case that a predicate likes. */
function caseWith(property: Property, env: Env, wanted: (c: Case) => boolean): Case {
  for (let i = 0; i < 400; i++) {
    const c = property.generate(env, i);
    if (wanted(c)) return c;
  }
  throw new RangeError('no such case');
}

/** A case of `solo` with a script of one's own. */
function soloCase(env: Env, script: Script): Case {
  const c = solo.rebuild!(env, solo.generate(env, 0), { script });
  expect(c).not.toBeNull();
  return c!;
}

const PARAMS = { n_ctx: 64, n_batch: 32, n_ubatch: 7, n_seq_max: 6, split: 'sequence', isa: 'fast' } as const;

describe('steps', () => {
  const env = fakeEnv();

  test('tokens, calls, sequences: one token of one sequence is left', async () => {
    const { c, tried } = await shrinkBy(
      solo,
      env,
      caseWith(solo, env, (x) => tokens(x) > 80),
      () => true,
    );
    expect([tokens(c), c.script!.calls.length]).toEqual([1, 1]);
    expect(c.script!.params).toEqual({
      n_ctx: 1,
      n_batch: 1,
      n_ubatch: 1,
      n_seq_max: 1,
      split: 'simple',
      type_kv: 'F32',
      isa: 'portable',
    });
    expect(decodes(c)[0]).toEqual({ token: [0], pos: [0], seq_id: [[0]], logits: [true] });
    expect(tried).toBeLessThan(40);
  });

  test('neighbouring decodes are merged', async () => {
    const one: Call = { op: 'decode', batch: { token: [3, 4] } };
    const c = soloCase(env, { params: { ...PARAMS, n_batch: 7 }, calls: [one, one, one] });
    const small = await shrinkBy(solo, env, c, (x) => tokens(x) >= 6);
    expect(small.c.script!.calls).toHaveLength(1);
    expect(tokens(small.c)).toBe(6);
  });

  test('seqKeep becomes a removal, a ranged removal a whole one', async () => {
    const calls: Call[] = [
      { op: 'decode', batch: { token: [1, 2, 3], seq_id: [[0], [1], [0]] } },
      { op: 'seqKeep', seq: 1 },
      { op: 'decode', batch: { token: [5], seq_id: [[1]] } },
    ];
    const c = soloCase(env, { params: PARAMS, calls });
    const removes = (x: Case) => has(x, 'seqKeep') || has(x, 'seqRm');
    const small = await shrinkBy(solo, env, c, removes);
    expect(has(small.c, 'seqKeep')).toBe(false);
    const ranged = caseWith(operations, env, (x) =>
      x.script!.calls.some((k) => k.op === 'seqRm' && k.p0 > 0 && k.p1 > 0 && k.refused === undefined),
    );
    const whole = await shrinkBy(operations, env, ranged, (x) => has(x, 'seqRm'));
    const rm = whole.c.script!.calls.find((call) => call.op === 'seqRm');
    expect(rm).toMatchObject({ p0: 0, p1: -1 });
  });

  test('tokens are unshared, ids and tokens named 0, 1, ... and what differs stays different', async () => {
    const calls: Call[] = [
      { op: 'decode', batch: { token: [9, 11, 9, 12], seq_id: [[4, 5], [4], [5], [2]] } },
    ];
    const c = soloCase(env, { params: PARAMS, calls });
    const three = (x: Case) => new Set(decodes(x).flatMap((b) => b.token)).size >= 3;
    const small = await shrinkBy(solo, env, c, three);
    const [batch] = decodes(small.c);
    expect([...batch!.token].sort()).toEqual([0, 1, 2]);
    const ids = batch!.token.map((_, i) => idsOf(batch!, i));
    expect(ids.every((of) => of.length === 1)).toBe(true);
    expect(Math.max(...ids.flat())).toBe(new Set(ids.flat()).size - 1);
  });

  test('names of sequences reach the plan of placement', async () => {
    const c = caseWith(placement, env, (x) => tokens(x) > 40);
    const small = await shrinkBy(placement, env, c, (x) => x.base!.calls.length > 0 && tokens(x) > 1);
    const ids = new Set(decodes(small.c).flatMap((b) => b.seq_id!.flat()));
    expect(Math.max(...ids)).toBe(ids.size - 1);
    expect(small.c.plan).toHaveProperty('fillers');
  });

  test('parameters of a base of its own are lowered too', async () => {
    const c = caseWith(
      ubatch,
      env,
      ({ script, base }) => script!.params.n_ubatch > 3 && base!.params.n_ubatch > 1,
    );
    const differ = (x: Case) => x.script!.params.n_ubatch !== x.base!.params.n_ubatch;
    const { c: small } = await shrinkBy(ubatch, env, c, differ);
    const { n_ubatch: a, ...script } = small.script!.params;
    const { n_ubatch: b, ...base } = small.base!.params;
    expect([a, b].sort()).toEqual([1, 2]);
    expect(base).toMatchObject({ split: script.split, isa: 'portable', type_kv: 'F32' });
  });

  test('a full memory stays full while tokens go', async () => {
    const calls: Call[] = Array.from({ length: 6 }, () => ({ op: 'decode', batch: { token: [1, 2, 3] } }));
    const c = soloCase(env, { params: { ...PARAMS, n_ctx: 18 }, calls });
    const full = (x: Case) => tokens(x) >= 2 && x.script!.params.n_ctx === tokens(x);
    const small = await shrinkBy(solo, env, c, full);
    expect(tokens(small.c)).toBe(2);
    expect(small.tried).toBeLessThan(60);
  });
});

describe('models', () => {
  test('the ladder goes from small to the recipe; a trained model has all of it', () => {
    expect(plainerModels('golden:tiny-mamba', 'mamba')).toHaveLength(8);
    expect(plainerModels('recipe:llama', 'llama')).toEqual([
      'recipe:llama@1x16',
      'recipe:llama@2x16',
      'recipe:llama@1x32',
    ]);
    expect(plainerModels('recipe:llama@1x16', 'llama')).toEqual([]);
    expect(plainerModels('recipe:fake', 'llama')).toEqual([]);
    expect(plainerModels('some.gguf', 'gemma')).toEqual([]);
    expect(modelRank('recipe:llama-f16@1x16')).toBeGreaterThan(modelRank('recipe:llama'));
  });

  test('tokens move into the smaller vocabulary, apart from each other, and illegal ones stay illegal', async () => {
    const fake = fakeEnv();
    const model = { ...fake.model, n_vocab: 259 };
    const env = { ...fake, modelName: 'golden:tiny-llama', model };
    const batch = { token: [200, 258, 200, 70] };
    const bad: Call = { op: 'decode', batch: { token: [260] }, refused: 'batch.token' };
    const c = soloCase(env, { params: PARAMS, calls: [bad, { op: 'decode', batch }] });
    const small = [...solo.shrink(env, c)].find((x) => x.model === 'recipe:llama@1x16')!;
    expect(decodes(small).map((b) => b.token)).toEqual([[65], [0, 1, 0, 2]]);
    expect(small.alone).toEqual([{ call: 1, index: 3, tokens: [0, 1, 0, 2] }]);
  });

  test('the finding stays the same on another vocabulary, and keeps its first name', async () => {
    expect(findingOf('solo/llama/259/text/logits')).toBe(findingOf('solo/llama/64/logits'));
    expect(findingOf('solo/llama/64/logits')).not.toBe(findingOf('solo/llama/64/rows'));
    const env = { ...fakeEnv(), modelName: 'golden:tiny-llama' };
    const first = failureOf(solo.generate(env, 0), 'solo/llama/259/text/logits');
    const asked: string[] = [];
    const { failure } = await shrinkCase(solo, env, first, {
      deadline: Date.now() + 10_000,
      run: async (c) => ({ status: 'failed', ...NOTHING, failure: failureOf(c, 'solo/llama/64/logits') }),
      envOf: async (c) => {
        asked.push(c.model);
        return { ...env, modelName: c.model, model: { ...env.model, n_vocab: 64 } };
      },
    });
    expect(failure.case.model).toBe('recipe:llama@1x16');
    expect(failure.signature).toBe('solo/llama/259/text/logits');
    expect(new Set(asked)).toEqual(new Set(['recipe:llama@1x16']));
  });
});

test('never slips to another fault: two are planted, one is shrunk', async () => {
  const leak = fakeEnv('attention', 'leak');
  const nan = fakeEnv('attention', 'nan');
  /** Both at once: NaN in the fourth row wins, as it does in a run. */
  const run = async (c: Case): Promise<Outcome> => {
    const other = await solo.run(nan, c);
    return other.status === 'failed' ? other : solo.run(leak, c);
  };
  let first: Failure | undefined;
  for (let i = 0; first === undefined; i++) {
    const { failure } = await run(solo.generate(nan, i));
    if (failure?.signature.endsWith('not-finite')) first = failure;
  }
  const signatures = new Set<string>();
  const { failure, accepted } = await shrinkCase(solo, nan, first, {
    deadline: Date.now() + 10_000,
    run,
    smaller: (f) => signatures.add(f.signature),
  });
  expect(accepted).toBeGreaterThan(5);
  expect([...signatures]).toEqual([first.signature]);
  expect((await run(failure.case)).failure?.signature).toBe(first.signature);
  // The fourth output of a batch: four tokens cannot become fewer.
  expect(tokens(failure.case)).toBe(4);
});

test('ends when the time is up, and tries nothing that is to be skipped', async () => {
  const env = fakeEnv('attention', 'leak');
  const { failed } = await runCases(solo, env, 200);
  const { failure } = failed!;
  const run = async (c: Case) => solo.run(env, c);
  const late = await shrinkCase(solo, env, failure!, { deadline: 0, run });
  expect([late.tried, late.failure]).toEqual([0, failure]);
  const skip = [...solo.shrink(env, failure!.case)].map(caseKey);
  const tried: string[] = [];
  const announce = (_: Case, key: string) => void tried.push(key);
  await shrinkCase(solo, env, failure!, { deadline: Date.now() + 10_000, skip, run, announce });
  expect(tried.filter((key) => skip.includes(key))).toEqual([]);
});

test('the order of fields does not make another case', () => {
  const c = solo.generate(fakeEnv(), 0);
  const { script, ...rest } = c;
  expect(caseKey({ script, ...rest })).toBe(caseKey({ ...rest, script }));
  expect(caseKey({ ...c, index: 1 })).not.toBe(caseKey(c));
});

test('a sequence and a range inside of it get shorter together', () => {
  const calls = [
    { op: 'decode', batch: { token: [1, 2, 3, 4], seq_id: [[0], [1], [0], [0]] } },
    { op: 'seqRm', seq: 0, p0: 0, p1: 2, refused: 'ops.partial' },
  ] as const;
  const [shorter] = [...shorterRanges(calls)];
  expect(shorter).toEqual([
    { op: 'decode', batch: { token: [1, 2, 3], seq_id: [[0], [1], [0]] } },
    { op: 'seqRm', seq: 0, p0: 0, p1: 1, refused: 'ops.partial' },
  ]);
  expect([...shorterRanges([calls[1]])]).toEqual([]);
});

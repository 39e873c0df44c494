/** First looks: what they tell from bounds that were seen, what they leave open, and that no wrong one gets out. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FirstLook } from './first-look.ts';
import { N_COPIES } from './noise-rows.ts';
import { meanEnv, meanModel } from './noise-testing.ts';
import { tokensOf } from './shrink-model.ts';
import { shrinkCase } from './shrinker.ts';
import { solo } from './solo.ts';
import { fakeEnv } from './testing.ts';
import type { Case, Env, Failure, Outcome } from './types.ts';

const bytes = meanModel();
let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'isobatch-look-'));
  path = join(folder, 'mean.gguf');
  writeFileSync(path, bytes);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('what lies far from all bounds is told, what lies near them is not, and other numbers are others', () => {
  const look = new FirstLook();
  expect(look.verdict({}, 1e9)).toBeNull();
  expect(look.verdict({}, 0)).toBe('rounding');
  look.learn({ type_kv: 'F32' }, 2, 2);
  look.learn({ type_kv: 'F32' }, 1, 4);
  look.learn({ type_kv: 'F32' }, 0, 100);
  expect(look.most({})).toBe(4);
  expect([33, 32, 1, 0.125, 0.124].map((x) => look.verdict({}, x))).toEqual([
    'divergent',
    null,
    null,
    null,
    'rounding',
  ]);
  expect(look.verdict({ type_kv: 'F16' }, 33)).toBeNull();
  expect(look.verdict({ flash_attn: true }, 33)).toBeNull();
});

describe('on a model without a formula', () => {
  /** The first case that leaks, and an environment whose copies nobody has made yet. */
  async function leaking(): Promise<{ failure: Failure; env: Env; calls: { decode: number; load: number } }> {
    const known = meanEnv(path, bytes, { fault: 'leak' });
    for (let i = 0; ; i++) {
      const { failure } = (await solo.run(known, solo.generate(known, i))) as Outcome;
      if (failure === undefined) continue;
      const calls = { decode: 0, load: 0 };
      return { failure, env: meanEnv(path, bytes, { fault: 'leak', calls }), calls };
    }
  }

  test('a fault is seen at a look without any copy; judged in full it is the same', async () => {
    const { failure, env, calls } = await leaking();
    const first_look = new FirstLook();
    const { bound } = failure.difference.missed!;
    first_look.learn({ type_kv: 'F32' }, bound, bound);
    first_look.on = true;
    const looked = (await solo.run({ ...env, first_look }, failure.case)) as Outcome;
    expect(looked).toMatchObject({ status: 'failed', looked: true });
    expect(looked.failure!.signature).toBe(failure.signature);
    expect(calls.load).toBe(1);
    first_look.on = false;
    const full = (await solo.run({ ...env, first_look }, failure.case)) as Outcome;
    expect(full.looked).toBeUndefined();
    expect(full.failure).toEqual(failure);
    expect(calls.load).toBeGreaterThan(N_COPIES);
    // What is measured now is judged in full at a look, too.
    first_look.on = true;
    const again = (await solo.run({ ...env, first_look }, failure.case)) as Outcome;
    expect(again.looked).toBeUndefined();
    expect(again.failure).toEqual(failure);
  });

  test('what is no number is seen at a look', async () => {
    const env = meanEnv(path, bytes, { fault: 'nan' });
    const first_look = new FirstLook();
    first_look.learn({ type_kv: 'F32' }, 1, 1);
    first_look.on = true;
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => solo.run({ ...env, first_look }, solo.generate(env, i))),
    );
    const found = outcomes.filter(({ status }) => status === 'failed');
    expect(found.length).toBeGreaterThan(5);
    expect(found.every(({ failure }) => failure!.difference.got === 'NaN')).toBe(true);
  });

  test('a healthy case passes at a look without any copy', async () => {
    const calls = { decode: 0, load: 0 };
    const first_look = new FirstLook();
    first_look.learn({ type_kv: 'F32' }, 1, 1);
    first_look.on = true;
    const env = { ...meanEnv(path, bytes, { calls }), first_look };
    const outcome = (await solo.run(env, solo.generate(env, 1))) as Outcome;
    expect(outcome).toMatchObject({ status: 'passed', looked: true });
    expect(calls.load).toBe(1);
  });

  test('shrinks to what is needed: a token behind one of another sequence', async () => {
    const { failure, env } = await leaking();
    const first_look = new FirstLook();
    const looking = { ...env, first_look };
    const judge = (on: boolean) => async (c: Case) => {
      first_look.on = on;
      return (await solo.run(looking, c)) as Outcome;
    };
    const small = await shrinkCase(solo, env, failure, {
      deadline: Date.now() + 20_000,
      run: judge(false),
      look: judge(true),
    });
    expect(tokensOf(small.failure.case.script!.calls)).toHaveLength(2);
    expect(small.failure.difference.missed!.by).toBe('copies');
  });
});

describe('a search that takes looks', () => {
  const env = fakeEnv();
  const failureOf = (c: Case): Failure => ({
    case: c,
    message: 'different',
    difference: { what: 'a row' },
    signature: 'solo/llama/16/logits',
  });
  const NOTHING = { compared: 1, equal: 1, rounding: 0, divergent: 0, tokens: 0 };
  const size = (c: Case): number => tokensOf(c.script!.calls).length;
  const outcome = (c: Case, fails: boolean): Outcome =>
    fails ? { status: 'failed', ...NOTHING, failure: failureOf(c) } : { status: 'passed', ...NOTHING };
  /** The first case of more than 40 tokens. */
  const large = (): Case => {
    for (let i = 0; ; i++) {
      const c = solo.generate(env, i);
      if (size(c) > 40) return c;
    }
  };

  test('goes back where a look was wrong, and tells nobody of it', async () => {
    const told: number[] = [];
    let taken = 0;
    let full = 0;
    const { failure } = await shrinkCase(solo, env, failureOf(large()), {
      deadline: Date.now() + 20_000,
      run: async (c) => {
        full++;
        return outcome(c, size(c) >= 10);
      },
      look: async (c) => ({ ...outcome(c, true), looked: true }),
      taken: () => taken++,
      smaller: (smaller) => told.push(size(smaller.case)),
    });
    expect(taken).toBeGreaterThan(0);
    expect(full).toBeGreaterThan(0);
    expect(size(failure.case)).toBe(10);
    expect(Math.min(...told)).toBe(10);
  });

  test('judges few cases in full where looks are right', async () => {
    let full = 0;
    const { failure, accepted } = await shrinkCase(solo, env, failureOf(large()), {
      deadline: Date.now() + 20_000,
      run: async (c) => {
        full++;
        return outcome(c, size(c) >= 10);
      },
      look: async (c) => ({ ...outcome(c, size(c) >= 10), looked: true }),
    });
    expect(size(failure.case)).toBe(10);
    expect(full).toBeLessThan(accepted / 4 + 2);
  });
});

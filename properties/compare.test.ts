import { describe, expect, test } from 'vitest';
import type { SubjectModel } from '../contract/subject.ts';
import { runCase } from './compare.ts';
import { propertyByName } from './registry.ts';
import { fakeEnv } from './testing.ts';
import type { Env } from './types.ts';

/** The fake subject with one change made to one answer. */
function altered(change: (logits: Float32Array, n_outputs: number) => { n_outputs: number }): Env {
  const env = fakeEnv();
  const loaded: SubjectModel = {
    ...env.loaded,
    open(params) {
      const ctx = env.loaded.open(params) as ReturnType<SubjectModel['open']> & { decode: never };
      // Answers of a sequence alone stay right.
      if (params.n_seq_max === 1) return ctx;
      const decode = (ctx as { decode(b: unknown): { n_outputs: number; logits: Float32Array } }).decode.bind(
        ctx,
      );
      return Object.assign(Object.create(ctx), {
        decode(batch: unknown) {
          const answer = decode(batch);
          return { ...answer, ...change(answer.logits, answer.n_outputs) };
        },
      });
    },
  };
  return { ...env, loaded };
}

/** A case of `solo` with many rows, drawn once. */
function wideCase() {
  const env = fakeEnv();
  const solo = propertyByName('solo');
  for (let i = 0; ; i++) {
    const c = solo.generate(env, i);
    if (c.alone!.length > 40 && c.script!.params.n_seq_max > 1 && c.script!.calls.length === 1) return c;
  }
}

describe('the comparator', () => {
  const c = wideCase();
  const rows = c.alone!.length;

  test('counts every element of every row', async () => {
    const outcome = await runCase(fakeEnv(), c);
    expect([outcome.status, outcome.compared, outcome.equal]).toEqual(['passed', rows * 16, rows * 16]);
  });

  test('sees the last bit of one element, and says where it is', async () => {
    const env = altered((logits, n_outputs) => {
      const bits = new Uint32Array(logits.buffer);
      const at = (rows - 1) * 16 + 7;
      bits[at] = bits[at]! ^ 1;
      return { n_outputs };
    });
    const outcome = await runCase(env, c);
    expect([outcome.status, outcome.divergent, outcome.compared]).toEqual(['failed', 1, rows * 16]);
    const { call, index } = c.alone!.at(-1)!;
    expect(outcome.failure!.difference.what).toMatch(
      new RegExp(`^logits of token ${index} of call ${call} \\(sequences? [\\d, ]+, position \\d+\\)$`),
    );
    expect(outcome.failure!.difference.index).toBe(7);
    expect(outcome.failure!.signature).toBe('solo/llama/16/logits');
  });

  test('takes zero and minus zero for different, because their bits are', async () => {
    const flip = (zero: number) =>
      altered((logits, n_outputs) => {
        logits.fill(zero);
        return { n_outputs };
      });
    const [plus, minus] = [flip(0), flip(-0)];
    const pair = {
      ...c,
      alone: [],
      base: c.script,
      pairs: [[0, c.alone![0]!.index, 0, c.alone![0]!.index]] as const,
    };
    expect((await runCase(plus, pair)).status).toBe('passed');
    const mixed = { ...plus, loaded: { ...plus.loaded } };
    let opened = 0;
    mixed.loaded.open = (params) => (opened++ === 0 ? plus : minus).loaded.open(params);
    expect((await runCase(mixed, pair)).divergent).toBe(16);
  });

  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    test(`never takes ${bad} for an answer, though nobody compares its row`, async () => {
      const env = altered((logits, n_outputs) => {
        logits[2 * 16 + 3] = bad;
        return { n_outputs };
      });
      const first = { ...c, alone: c.alone!.slice(0, 1) };
      const outcome = await runCase(env, first);
      expect(outcome.failure?.signature).toBe('solo/llama/16/not-finite');
    });
  }

  test('counts rows: one too few is a failure', async () => {
    const env = altered((_, n_outputs) => ({ n_outputs: n_outputs - 1 }));
    const { failure } = await runCase(env, c);
    expect([failure?.difference.got, failure?.difference.want]).toEqual([rows - 1, rows]);
  });

  test('refuses a case that asks for a row that is none', async () => {
    const quiet = {
      ...c,
      script: {
        ...c.script!,
        calls: c.script!.calls.map((call) =>
          call.op === 'decode'
            ? { ...call, batch: { ...call.batch, logits: call.batch.token.map(() => false) } }
            : call,
        ),
      },
    };
    await expect(runCase(fakeEnv(), quiet)).rejects.toThrow(/is not an output/);
  });
});

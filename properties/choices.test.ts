/** Threads: offered, drawn only if they are asked for, made smaller to one. */
import { expect, it } from 'vitest';
import { choicesOf, drawChoices, plainerChoices, rankOfChoices } from './choices.ts';
import { factsOf } from './facts.ts';
import { Random } from './random.ts';
import { fakeEnv } from './testing.ts';
import type { Env } from './types.ts';

function envWith(restrict: Env['restrict'] = {}): Env {
  const env = fakeEnv();
  return { ...env, subject: { ...env.subject, choices: { n_threads: [1, 2] } }, restrict };
}

function drawn(env: Env, n: number): Map<number | undefined, number> {
  const r = new Random(1, 2, 3);
  const counts = new Map<number | undefined, number>();
  for (let i = 0; i < n; i++) {
    const { n_threads } = drawChoices(r, [], factsOf(env));
    counts.set(n_threads, (counts.get(n_threads) ?? 0) + 1);
  }
  return counts;
}

it('are not drawn unless somebody asks', () => {
  expect([...drawn(envWith(), 50).keys()]).toEqual([undefined]);
});

it('those that are asked for are drawn often, and only they', () => {
  const counts = drawn(envWith({ n_threads: [1, 3] }), 1000);
  expect([...counts.keys()].sort()).toEqual([1, 3]);
  expect(counts.get(3)).toBeGreaterThan(200);
});

it('are no choice of a subject that does not offer them, whoever asks', () => {
  expect(choicesOf({ ...fakeEnv(), restrict: { n_threads: [1, 3] } })).toEqual({});
});

it('one thread is plainer', () => {
  const facts = factsOf(envWith({ n_threads: [1, 2] }));
  const params = { n_ctx: 1, n_batch: 1, n_ubatch: 1, n_seq_max: 1, split: 'equal', n_threads: 2 } as const;
  expect([...plainerChoices(params, facts)]).toEqual([{ n_threads: 1 }]);
  expect(rankOfChoices(params, facts)).toBe(1);
  expect([...plainerChoices({ ...params, n_threads: 1 }, facts)]).toEqual([]);
});

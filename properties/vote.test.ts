import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { type VoteOptions, vote } from './vote.ts';

const COMMON = { model: 'recipe:llama', first: 3, count: 6, seed: 'vote' } satisfies Partial<VoteOptions>;

it('agrees where oracle, engine and a second implementation do', async () => {
  const { votes, dissents, compared } = await vote({ ...COMMON, subject: { kind: 'plain' } });
  expect(votes).toEqual({ 'engine agrees, subject agrees': 6 });
  expect(dissents).toEqual([]);
  expect(compared).toBeGreaterThan(6 * 2 * 64);
});

it('names who differs from the oracle, and the first case of it', async () => {
  const path = fileURLToPath(new URL('fixtures/deviating-plain.mjs', import.meta.url));
  const { votes, dissents } = await vote({ ...COMMON, subject: { kind: 'module', path } });
  const { 'engine agrees, subject differs': n = 0, ...rest } = votes;
  expect(n).toBeGreaterThan(0);
  expect(Object.keys(rest).every((name) => name.startsWith('engine agrees, '))).toBe(true);
  expect(dissents).toMatchObject([{ voter: 'subject', signature: 'reference/llama/64/logits', n }]);
  expect(dissents[0]!.first).toBeGreaterThanOrEqual(3);
});

/** Campaigns whose subjects are killed: every case is there, and each way to get that wrong is named. */
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { deathsOf, faultsOf, runKilled } from './kills.ts';

const file = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const OURS = ['FAKE_PROPERTIES', 'FAKE_FD'];
afterEach(() => {
  for (const name of OURS) delete process.env[name];
});

test('campaigns end by themselves, with every case, whenever subjects are killed', {
  timeout: 120_000,
}, async () => {
  Object.assign(process.env, { FAKE_PROPERTIES: 'echo', FAKE_FD: '1' });
  const killed: number[] = [];
  const campaigns = await runKilled({
    campaign: {
      subject: { kind: 'command', command: `"${process.execPath}" "${file('fake-serve.mjs')}"` },
      models: [file('fake.model')],
      properties: ['echo'],
      properties_module: file('fake-properties.mjs'),
      cases: 3000,
      jobs: 1,
      shrink_seconds: 1,
    },
    kills: 4,
    mean_ms: 100,
    seed: 1,
    onKill: (n) => killed.push(n),
  });
  expect(killed).toEqual([1, 2, 3, 4]);
  expect(campaigns.map(({ cases, planned }) => [cases, planned])).toEqual(campaigns.map(() => [3000, 3000]));
  expect(campaigns.flatMap(faultsOf)).toEqual([]);
  expect(campaigns.reduce((n, one) => n + deathsOf(one), 0)).toBeGreaterThan(0);
  const names = new Set(campaigns.flatMap(({ signatures }) => Object.keys(signatures)));
  // Run again, a case passes, unless it is shot again.
  expect([...names].every((name) => /^echo\/fake\/died: SIGKILL(, not repeatable)?$/.test(name))).toBe(true);
});

test('what is wrong with a campaign is named', () => {
  const good = {
    kills: 2,
    planned: 10,
    cases: 10,
    exit_code: 1,
    signatures: { 'solo/mamba/died: SIGKILL': 2 },
  };
  expect(faultsOf(good)).toEqual([]);
  expect(faultsOf({ ...good, cases: 9 })).toEqual(['9 of 10 cases are in the result']);
  expect(faultsOf({ ...good, kills: 1 })).toEqual(['2 deaths by SIGKILL after 1 kills']);
  expect(faultsOf({ ...good, error: 'the process ended' })).toEqual([
    'it did not end by itself: the process ended',
  ]);
  const vague = { 'solo/mamba/answered nonsense': 1 };
  expect(faultsOf({ ...good, signatures: vague })).toEqual([
    'a death is not called one: solo/mamba/answered nonsense',
  ]);
});

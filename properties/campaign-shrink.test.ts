/** Shrinking and explaining in worker processes: what comes back, and what a death leaves. */
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { verify } from './campaign.ts';
import { replayCase } from './campaign-replay.ts';
import type { SubjectSpec } from './subjects/registry.ts';

const file = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const SUBJECT = { kind: 'module', path: file('fake-subject.mjs') } as const;
const OURS = ['FAKE_PLANT', 'FAKE_PROPERTIES', 'FAKE_FD'];
afterEach(() => {
  for (const name of OURS) delete process.env[name];
});

const campaign = (plant: string, shrink_seconds: number, subject: SubjectSpec = SUBJECT) => {
  Object.assign(process.env, { FAKE_PROPERTIES: 'echo', FAKE_PLANT: plant });
  return verify({
    subject,
    models: [file('fake.model')],
    properties_module: file('fake-properties.mjs'),
    jobs: 1,
    cases: 40,
    shrink_seconds,
    watchdog_s: 5,
  });
};

test('a shrunk failure is explained, a replay only if it is asked to', { timeout: 60_000 }, async () => {
  const { failures } = await campaign('wrong@9', 10);
  const { failure } = failures[0]!;
  expect(failure.explanation).toMatchObject({ runs: 1, cut: false });
  expect(failure.explanation?.sentence).toBe('It fails each time it is run; nothing of it was varied.');
  const options = { subject: SUBJECT, properties_module: file('fake-properties.mjs') };
  const told = await replayCase(failure.case, { ...options, explain: true });
  expect(told.outcome.failure?.explanation?.runs).toBe(1);
  expect((await replayCase(failure.case, options)).outcome.failure?.explanation).toBeUndefined();
});

test('a subject in another process that is killed while its case is shrunk', {
  timeout: 60_000,
}, async () => {
  process.env.FAKE_FD = '1';
  const command = `"${process.execPath}" "${file('fake-serve.mjs')}"`;
  const { failures, units } = await campaign('kill@9', 5, { kind: 'command', command });
  expect(units[0]!.tally.cases).toBe(40);
  const [found, ...others] = failures;
  expect(others).toEqual([]);
  expect(found!.signature).toBe('echo/fake/died: SIGKILL');
  expect(found!.failure.message).toMatch(/^the subject was killed by SIGKILL; its last words: about to kill/);
  expect(found!.shrink.accepted).toBeGreaterThan(0);
  const [call] = found!.failure.case.script!.calls;
  expect(call).toMatchObject({ op: 'decode', batch: { token: [9] } });
});

test('a death is shrunk, and its explanation says why nothing was varied', { timeout: 60_000 }, async () => {
  const { failures } = await campaign('kill@9', 5);
  expect(failures[0]!.failure.signature).toMatch(/died/);
  expect(failures[0]!.shrink.accepted).toBeGreaterThan(0);
  expect(failures[0]!.failure.explanation).toMatchObject({ runs: 0, facts: [] });
  expect(failures[0]!.failure.explanation?.sentence).toMatch(/^The process ends/);
});

/** Whole campaigns in worker processes, with the fake subject and the fake properties. */
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { type Progress, settingsOf, type VerifyOptions, verify } from './campaign.ts';
import { replayCase } from './campaign-replay.ts';
import { type CampaignResult, exitCodeOf } from './campaign-result.ts';

const file = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const MODEL = file('fake.model');
const SUBJECT = { kind: 'module', path: file('fake-subject.mjs') } as const;

interface Plant {
  readonly FAKE_PLANT?: string;
  readonly FAKE_WHITE?: string;
  readonly FAKE_PROPERTIES?: string;
}

const OURS = ['FAKE_PLANT', 'FAKE_WHITE', 'FAKE_PROPERTIES'];

/** Workers inherit the environment. */
async function campaign(plant: Plant, options: VerifyOptions = {}): Promise<CampaignResult> {
  Object.assign(process.env, plant);
  return verify({
    subject: SUBJECT,
    models: [MODEL],
    properties_module: file('fake-properties.mjs'),
    jobs: 2,
    cases: 60,
    // Ample: a shrink whose every step brings a worker down is slow on a busy machine.
    shrink_seconds: 30,
    watchdog_s: 2,
    ...options,
  });
}

afterEach(() => {
  for (const name of OURS) delete process.env[name];
});

const unitOf = (result: CampaignResult, name: string) => result.units.find((u) => u.property === name)!;

/** What must not depend on the number of workers. */
function essence(result: CampaignResult) {
  const { ok, verdict, coverage, missing, fingerprint } = result;
  const units = result.units.map(({ busy_s: _, ...unit }) => unit);
  const failures = result.failures.map(({ signature, count, original }) => ({ signature, count, original }));
  return { ok, verdict, coverage, missing, fingerprint, units, failures };
}

describe('a campaign', () => {
  it('that finds nothing holds, and counts everything once', async () => {
    const result = await campaign({ FAKE_PROPERTIES: 'echo,count,never' }, { cases: 300 });
    expect(result.verdict).toBe('holds: 2 properties on 1 model');
    expect(exitCodeOf(result)).toBe(0);
    expect(unitOf(result, 'echo').tally).toMatchObject({
      cases: 300,
      passed: 300,
      divergent: 0,
      signatures: {},
    });
    expect(unitOf(result, 'count').tally).toMatchObject({ cases: 300, compared: 300 });
    expect(unitOf(result, 'never')).toMatchObject({ status: 'skipped', reason: 'needs wings' });
    const { short, long } = result.coverage.echo!.length!;
    expect(short! + long!).toBe(300);
  });

  it('gives the same for one worker and for two, and from run to run', async () => {
    const plant = { FAKE_PROPERTIES: 'echo,count', FAKE_PLANT: 'wrong@9' };
    const one = await campaign(plant, { cases: 400, jobs: 1, shrink_seconds: 0 });
    const two = await campaign(plant, { cases: 400, jobs: 2, shrink_seconds: 0 });
    expect(essence(two)).toEqual(essence(one));
    expect(one.failures).toHaveLength(1);
    const other = await campaign(plant, { cases: 400, seed: 'other', shrink_seconds: 0 });
    expect(other.fingerprint).not.toBe(one.fingerprint);
  });

  it('shrinks the first failure of a signature and counts the others', async () => {
    const result = await campaign({ FAKE_PROPERTIES: 'echo', FAKE_PLANT: 'wrong@9' });
    expect(exitCodeOf(result)).toBe(1);
    const [record, ...rest] = result.failures;
    expect(rest).toEqual([]);
    expect(record!.count).toBe(unitOf(result, 'echo').tally.failed);
    expect(record!.count).toBeGreaterThan(1);
    expect(record!.original.index).toBe(3);
    const [call] = record!.failure.case.script!.calls;
    expect(call).toMatchObject({ op: 'decode', batch: { token: [9] } });
    expect(record!.failure.difference).toMatchObject({ index: 5 });
    expect(record!.shrink.accepted).toBeGreaterThan(0);
  });

  it.each([
    ['exit', 'exit 3', 'ended with exit code 3'],
    ['kill', 'SIGKILL', 'was killed by SIGKILL'],
    ['garbage', 'garbage', 'wrote something that is not a frame'],
  ])('goes on when a worker does this: %s, and names the case', async (what, kind, words) => {
    const result = await campaign({ FAKE_PROPERTIES: 'echo,count', FAKE_PLANT: `${what}@9` });
    expect(exitCodeOf(result)).toBe(1);
    const [record, ...rest] = result.failures;
    expect(rest).toEqual([]);
    expect(record!.signature).toBe(`echo/fake/died: ${kind}`);
    expect(record!.failure.message).toContain(words);
    expect(record!.log).toContain(`about to ${what} at token 9`);
    expect(record!.original.index).toBe(3);
    expect(record!.failure.case.script!.calls[0]).toMatchObject({ batch: { token: [9] } });
    // Every case was run or has brought a worker down; none was lost, none counted twice.
    const { tally } = unitOf(result, 'echo');
    const withPlant = [...Array(60).keys()].filter((i) => holdsNine(i)).length;
    const seen = Math.min(withPlant, 5);
    expect(tally.failed).toBe(seen);
    expect(record!.count).toBe(seen);
    expect(unitOf(result, 'count').status).toBe('passed');
  });

  it('ends a worker that hangs, and goes on', async () => {
    const options = { cases: 12, watchdog_s: 1, shrink_seconds: 0 };
    const result = await campaign({ FAKE_PROPERTIES: 'echo', FAKE_PLANT: 'hang@9' }, options);
    const [record] = result.failures;
    expect(record!.signature).toBe('echo/fake/died: hang');
    expect(record!.failure.message).toContain('showed no progress for 1 s');
    expect(record!.log).toContain('about to hang');
    const { tally } = unitOf(result, 'echo');
    expect(tally.cases).toBe(12);
    expect(tally.failed).toBe([...Array(12).keys()].filter(holdsNine).length);
  });

  it('runs a block of white-box cases again one by one to name the one that kills', async () => {
    const result = await campaign({ FAKE_PROPERTIES: 'count', FAKE_WHITE: 'exit@700' }, { cases: 1000 });
    const [record, ...rest] = result.failures;
    expect(rest).toEqual([]);
    expect(record!.failure.case).toMatchObject({ index: 700, white: { index: 700 } });
    expect(record!.log).toContain('white exit at 700');
    expect(unitOf(result, 'count').tally).toMatchObject({
      cases: 1000,
      passed: 999,
      failed: 1,
      compared: 999,
    });
  });

  it('takes an error that is no refusal for a finding', async () => {
    const result = await campaign({ FAKE_PROPERTIES: 'echo', FAKE_PLANT: 'throw@9' });
    expect(result.failures.map((f) => f.signature)).toEqual(['echo/fake/threw TypeError']);
  });

  it('is not green if a property compared nothing', async () => {
    const idle = await campaign({ FAKE_PROPERTIES: 'echo,idle' });
    expect(unitOf(idle, 'idle').status).toBe('not run');
    expect([idle.ok, exitCodeOf(idle)]).toEqual([false, 3]);
    expect(idle.verdict).toContain('idle on');
    const none = await campaign({ FAKE_PROPERTIES: 'never' });
    expect([none.verdict, exitCodeOf(none)]).toEqual(['nothing was compared', 3]);
  });

  it('demands every class of inputs, if its size was not chosen', async () => {
    const whole = await campaign({ FAKE_PROPERTIES: 'blind' }, { cases: undefined });
    expect(whole.missing).toEqual({ blind: ['length: endless'] });
    expect(exitCodeOf(whole)).toBe(1);
    const chosen = await campaign({ FAKE_PROPERTIES: 'blind' });
    expect([chosen.missing, exitCodeOf(chosen)]).toEqual([{}, 0]);
  });

  it('runs a range, and rounds until the time is up', async () => {
    const range = await campaign({ FAKE_PROPERTIES: 'echo' }, { cases: undefined, range: [40, 45] });
    expect(unitOf(range, 'echo')).toMatchObject({ range: [40, 45], tally: { cases: 5 } });
    const timed = await campaign({ FAKE_PROPERTIES: 'echo,count' }, { cases: undefined, minutes: 0.02 });
    expect(timed.ok).toBe(true);
    for (const unit of timed.units) {
      expect(unit.tally.cases).toBe(unit.range[1]);
      expect(unit.tally.cases).toBeGreaterThan(0);
    }
  });

  it('stops early after so many different failures, and says so', async () => {
    const plant = { FAKE_PROPERTIES: 'echo', FAKE_PLANT: 'wrong@9' };
    const result = await campaign(plant, { cases: 100_000, max_failures: 1, shrink_seconds: 0 });
    expect(result.stopped).toBe(true);
    expect(result.verdict).toContain('stopped early');
    expect(unitOf(result, 'echo').tally.cases).toBeLessThan(100_000);
  });

  it('can be interrupted, and then still has a result', async () => {
    const interrupt = new AbortController();
    Object.assign(process.env, { FAKE_PROPERTIES: 'count' });
    const onProgress = (p: Progress) => {
      if (p.stage === 'running' && p.cases > 0) interrupt.abort();
    };
    const options = { subject: SUBJECT, models: [MODEL], properties_module: file('fake-properties.mjs') };
    const result = await verify({ ...options, minutes: 5 }, { signal: interrupt.signal, onProgress });
    expect(result.interrupted).toBe(true);
    expect(exitCodeOf(result)).toBe(4);
    expect(unitOf(result, 'count').tally.cases).toBeGreaterThan(0);
  });

  it('runs on a subject behind the protocol, and survives its death', async () => {
    const command = `"${process.execPath}" "${file('fake-serve.mjs')}"`;
    const subject = { kind: 'command', command } as const;
    const plant = { FAKE_PROPERTIES: 'echo', FAKE_PLANT: 'kill@9' };
    const result = await campaign(plant, { subject });
    expect(result.failures.map((f) => f.signature)).toEqual(['echo/fake/died: SIGKILL']);
    expect(unitOf(result, 'echo').tally).toMatchObject({ cases: 60 });
    expect(result.failures[0]!.failure.case.script!.calls[0]).toMatchObject({ batch: { token: [9] } });
  });

  it('refuses what cannot be run, by kind', async () => {
    const kindOf = (promise: Promise<unknown>) =>
      promise.then(
        () => 'none',
        (e) => e.kind,
      );
    expect(await kindOf(campaign({}, { properties: ['ecko'] }))).toBe('usage');
    expect(await kindOf(campaign({}, { models: ['/no/such.gguf'] }))).toBe('file');
    expect(await kindOf(campaign({}, { models: [file('fake-serve.mjs')] }))).toBe('gguf');
    expect(await kindOf(campaign({}, { isa: 'mmx' }))).toBe('usage');
    expect(await kindOf(campaign({}, { subject: { kind: 'module', path: '/no/such.mjs' } }))).toBe('file');
    expect(() => settingsOf({ models: ['recipe:lama'] })).toThrow(/did you mean llama\?/);
    expect(() => settingsOf({ subject: SUBJECT, fault: 'x' })).toThrow(/our own engine/);
  });
});

describe('a replayed case', () => {
  it('is run in a process of its own, whose death is an outcome', async () => {
    process.env.FAKE_PLANT = 'kill@9';
    const options = { subject: SUBJECT, properties_module: file('fake-properties.mjs') };
    const script = {
      params: { n_ctx: 64, n_batch: 64, n_ubatch: 8, n_seq_max: 1, split: 'equal' as const },
      calls: [{ op: 'decode' as const, batch: { token: [9], logits: [true] } }],
    };
    const c = { version: 1 as const, property: 'echo', model: MODEL, seed: 's', index: 0, script };
    const died = await replayCase(c, options);
    expect(died.outcome).toMatchObject({ status: 'failed', failure: { difference: { got: 'SIGKILL' } } });
    expect(died.log).toContain('about to kill');
    delete process.env.FAKE_PLANT;
    const lives = await replayCase(c, options);
    expect(lives.outcome).toMatchObject({ status: 'passed', compared: 64 });
    expect(lives.model_sha256).toMatch(/^[0-9a-f]{64}$/);
  });
});

/** Whether case i of `echo` has the token 9. */
function holdsNine(i: number): boolean {
  return Array.from({ length: 1 + ((i * 7) % 16) }, (_, k) => (i + 3 * k) % 64).includes(9);
}

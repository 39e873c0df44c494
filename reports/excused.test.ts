/** Whole campaigns with known failures and with another subject, on the fake subject and the fake properties. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { againstSpec, checkAgainst } from '../properties/against.ts';
import { type VerifyOptions, verify } from '../properties/campaign.ts';
import { type CampaignResult, exitCodeOf } from '../properties/campaign-result.ts';
import { terminalLines } from './terminal.ts';
import { paintFor } from './text.ts';
import { writeReport } from './write.ts';

const file = (name: string) => fileURLToPath(new URL(`../properties/fixtures/${name}`, import.meta.url));
const SUBJECT = { kind: 'module', path: file('fake-subject.mjs') } as const;
/** The same program in a process of its own, which can be told to behave: FAKE_PLANT is set for it alone. */
const serve = (plant: string) =>
  ({
    kind: 'command',
    command: `FAKE_PLANT=${plant} "${process.execPath}" "${file('fake-serve.mjs')}"`,
  }) as const;

const OURS = ['FAKE_PLANT', 'FAKE_PROPERTIES'];
afterEach(() => {
  for (const name of OURS) delete process.env[name];
});

async function campaign(plant: string, options: VerifyOptions): Promise<CampaignResult> {
  Object.assign(process.env, { FAKE_PLANT: plant, FAKE_PROPERTIES: 'echo,count' });
  return verify({
    subject: SUBJECT,
    models: [file('fake.model')],
    properties_module: file('fake-properties.mjs'),
    jobs: 1,
    cases: 30,
    shrink_seconds: 5,
    watchdog_s: 10,
    ...options,
  });
}

function report(result: CampaignResult) {
  const out = mkdtempSync(join(tmpdir(), 'isobatch-against-'));
  try {
    const files = writeReport(result, out);
    const text = terminalLines(result, paintFor({}), (f) => files.get(f)).join('\n');
    const summary = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'));
    return { text, summary, junit: readFileSync(join(out, 'junit.xml'), 'utf8'), kept: files.size };
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

const ROW = { signature: 'echo/fake/row', reason: 'being fixed', link: 'https://example.org/1' };

describe('known failures', () => {
  it('are reported and do not fail the run', async () => {
    const result = await campaign('wrong@9', { known: [ROW] });
    expect(result.failures).toEqual([]);
    expect(result.excused).toMatchObject([{ signature: 'echo/fake/row', known: ROW, shrink: { tried: 0 } }]);
    expect(result.units.find((u) => u.property === 'echo')).toMatchObject({ status: 'excused' });
    expect(result.verdict).toBe('holds but for 1 known failure: 2 properties on 1 model');
    expect(exitCodeOf(result)).toBe(0);
    const { text, summary, junit, kept } = report(result);
    expect(text).toMatch(/known: echo\/fake\/row, \d+ cases: being fixed \(https:\/\/example.org\/1\)/);
    expect(text).not.toContain('FAILED');
    expect(summary.known).toMatchObject({ failing: [{ ...ROW }], no_longer_failing: [], not_looked_at: [] });
    expect(junit).toContain('failures="0"');
    expect(junit).toMatch(
      /<skipped message="[^"]*known: echo&#47;fake|<skipped message="[^"]*known: echo\/fake/,
    );
    expect(kept).toBe(1);
  });

  it('do not hide another failure, nor count for --max-failures', async () => {
    const other = { signature: 'echo/fake/threw TypeError', reason: 'r' };
    const result = await campaign('wrong@9', { known: [other], max_failures: 1 });
    expect(result.failures.map((f) => f.signature)).toEqual(['echo/fake/row']);
    expect([exitCodeOf(result), result.stopped]).toEqual([1, true]);
    // Stopped early, so nothing can be said of the entry.
    expect(result.known).toEqual({ gone: [], unchecked: [other] });
    const listed = await campaign('wrong@9', { known: [ROW], max_failures: 1 });
    expect([exitCodeOf(listed), listed.stopped]).toEqual([0, false]);
  });

  it('that no longer fail are said', async () => {
    const elsewhere = { signature: 'echo/fake/row', reason: 'r', subject: 'another' };
    const result = await campaign('', { known: [ROW, elsewhere, { signature: 'solo/x/y', reason: 'r' }] });
    expect(exitCodeOf(result)).toBe(0);
    expect(result.known!.gone).toEqual([{ entry: ROW, cases: 30 }]);
    expect(result.known!.unchecked).toHaveLength(2);
    const { text, summary, junit } = report(result);
    expect(text).toContain('no longer fails: echo/fake/row, in 30 cases: being fixed');
    expect(text).toContain('not looked at in this run: solo/x/y');
    expect(summary.known.no_longer_failing).toMatchObject([{ signature: 'echo/fake/row', cases: 30 }]);
    expect(junit).toContain('no longer fails in 30 cases');
  });
});

describe('against another subject', () => {
  it('only what that does not show counts', async () => {
    const result = await campaign('wrong@9', { against: serve('') });
    expect(exitCodeOf(result)).toBe(1);
    expect(result.against).toBe('fake 1');
    expect(result.failures).toMatchObject([
      { against: { verdict: 'only here', shrunk: 'passes', original: 'passes' } },
    ]);
    expect(report(result).text).toContain('the other subject: passes');
  });

  it('what both show is shared and does not fail the run', async () => {
    const result = await campaign('wrong@9', { against: serve('wrong@9') });
    expect([result.failures, exitCodeOf(result)]).toEqual([[], 0]);
    expect(result.excused).toMatchObject([
      { against: { verdict: 'shared', shrunk: 'fails in the same way' } },
    ]);
    expect(result.verdict).toBe('holds but for 1 shared failure: 2 properties on 1 model');
    const { text, summary, junit } = report(result);
    expect(text).toMatch(/shared with fake 1: echo\/fake\/row/);
    expect(summary.against).toMatchObject({ subject: 'fake 1', failures: [{ verdict: 'shared' }] });
    expect(junit).toContain('shared with fake 1');
  });

  it('a failure of another kind is not shared', async () => {
    const result = await campaign('wrong@9', { against: serve('throw@9') });
    expect(exitCodeOf(result)).toBe(1);
    expect(result.failures[0]!.against).toMatchObject({ verdict: 'fails differently' });
    expect(result.failures[0]!.against!.shrunk).toContain('fails differently:');
  });

  it('that cannot be opened ends the run before it begins', async () => {
    const against = { kind: 'module', path: '/no/such.mjs' } as const;
    await expect(campaign('', { against })).rejects.toMatchObject({ kind: 'file' });
  });

  it('is named as a program, a module or the engine, and is another one', () => {
    expect(againstSpec('engine')).toEqual({ kind: 'engine' });
    expect(againstSpec('cmd:python e.py')).toEqual({ kind: 'command', command: 'python e.py' });
    expect(againstSpec('/a/b.mjs')).toEqual({ kind: 'module', path: '/a/b.mjs' });
    for (const text of ['engin', 'cmd:', '']) expect(() => againstSpec(text)).toThrow(/after --against/);
    expect(() => checkAgainst({ kind: 'engine' }, undefined, { kind: 'engine' })).toThrow(/the same/);
    expect(() => checkAgainst({ kind: 'engine' }, 'mask-next-token', { kind: 'engine' })).not.toThrow();
  });
});

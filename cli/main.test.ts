/** The program as users meet it: exit codes, messages, reports. Runs the build. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const file = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const MAIN = file('dist/cli/main.js');
const FAKE = [
  '--subject',
  file('properties/fixtures/fake-subject.mjs'),
  '--properties-module',
  file('properties/fixtures/fake-properties.mjs'),
  '--model',
  file('properties/fixtures/fake.model'),
];

let out: string;
beforeAll(() => {
  out = mkdtempSync(join(tmpdir(), 'isobatch-cli-'));
});
afterAll(() => rmSync(out, { recursive: true, force: true }));

function cli(words: readonly string[], env: Record<string, string> = {}) {
  const done = spawnSync(process.execPath, [MAIN, ...words], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', ...env },
  });
  expect(done.stderr).not.toMatch(/^\s+at /m);
  return { code: done.status, out: done.stdout, err: done.stderr };
}

const verify = (words: readonly string[], env: Record<string, string> = {}) =>
  cli(['verify', ...FAKE, '--cases', '40', '--out', out, ...words], {
    FAKE_PROPERTIES: 'echo,count',
    ...env,
  });

describe('the program', () => {
  it('shows its version and help', () => {
    expect(cli(['--version']).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    const help = cli(['--help']);
    expect(help.code).toBe(0);
    for (const command of ['verify', 'replay CASE.json', 'subject check CMD', 'subject serve', 'doctor'])
      expect(help.out).toContain(command);
    const verifyHelp = cli(['verify', '--help']);
    expect(verifyHelp.code).toBe(0);
    for (const option of [
      '--subject-cmd CMD',
      '--minutes M',
      '--range A..B',
      '--shrink-seconds S',
      '--out DIR',
    ])
      expect(verifyHelp.out).toContain(option);
    expect(cli([]).code).toBe(2);
  });

  it.each([
    [['verfy'], 'unknown command verfy; did you mean verify?'],
    [['subject'], 'subject needs one of: check, serve'],
    [['verify', '--modle', 'x'], 'unknown option --modle; did you mean --model?'],
    [['verify', '--cases', 'many'], '--cases must be a whole number'],
    [['verify', '--cases'], '--cases needs a value'],
    [['verify', '--range', '5..5'], '--range must be A..B'],
    [['verify', '--model', 'recipe:lama'], 'did you mean llama?'],
    [['verify', '--subject', 'engin'], 'unknown subject engin'],
    [['verify', '--fault', 'mask-next-tokne'], 'did you mean mask-next-token?'],
    [['verify', '--quiet=yes'], '--quiet takes no value'],
    [['verify', 'extra'], 'does not know what to do with extra'],
    [['replay'], 'needs CASE.json'],
  ])('answers usage errors with 2 and the nearest name: %j', (words, message) => {
    const done = cli(words);
    expect(done.err).toContain(message);
    expect(done.code).toBe(2);
    expect(done.err.trim().split('\n')).toHaveLength(1);
  });

  it('answers an unknown property with 2, a missing or malformed model with 3', () => {
    const property = verify(['--property', 'ecko']);
    expect([property.code, property.err]).toEqual([2, expect.stringContaining('did you mean echo?')]);
    const missing = verify(['--model', '/no/such.gguf']);
    expect([missing.code, missing.err]).toEqual([3, expect.stringContaining('/no/such.gguf')]);
    const malformed = verify(['--model', MAIN]);
    expect([malformed.code, malformed.err]).toEqual([3, expect.stringContaining('not a fake model')]);
    const replay = cli(['replay', '/no/such.json']);
    expect([replay.code, replay.err]).toEqual([3, expect.stringContaining('no such file')]);
  });

  it('lists faults', () => {
    const list = cli(['verify', '--fault', 'list']);
    expect(list.code).toBe(0);
    expect(list.out).toContain('split-contiguous');
  });
});

describe('verify', () => {
  it('answers 0 if everything holds, and writes the report', () => {
    const done = verify([]);
    expect(done.out).toContain('fake holds: 2 properties on 1 model');
    expect(done.code).toBe(0);
    const summary = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'));
    expect(summary).toMatchObject({
      ok: true,
      seed: 'isobatch',
      cases: 40,
      white: 40,
      properties: {
        echo: { status: 'passed', cases: 40, divergent: 0, skipped: 0 },
        count: { status: 'passed' },
      },
      fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    const lines = readFileSync(join(out, 'results.jsonl'), 'utf8').trim().split('\n');
    expect(lines.map((line) => JSON.parse(line).record)).toEqual(['unit', 'unit']);
    expect(readFileSync(join(out, 'junit.xml'), 'utf8')).toContain(
      '<testsuite name="echo" tests="1" failures="0"',
    );
  });

  it('answers 1 for a failure, keeps it, and replay tells its story until it is gone', () => {
    const env = { FAKE_PLANT: 'wrong@9' };
    const done = verify([], env);
    expect(done.code).toBe(1);
    expect(done.out).toMatch(/FAILED echo on .*, case 3/);
    const [name] = readdirSync(join(out, 'cases'));
    const path = join(out, 'cases', name!);
    const kept = JSON.parse(readFileSync(path, 'utf8'));
    expect(kept).toMatchObject({
      index: 3,
      seed: 'isobatch',
      model_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(kept.again).toContain('--range 3..4');
    const again = cli(['replay', path], env);
    expect(again.code).toBe(1);
    expect(again.out).toContain('decode 1 token: {0} 9*');
    expect(again.out).toContain('element 5');
    expect(again.out).toMatch(/got .*bits 0x[0-9a-f]{8}/);
    expect(again.out).toContain(`  isobatch replay ${path}\n`);
    expect(again.out).toContain('Property echo: a sequence says what it says');
    expect(again.out).toContain('^ this row differs');
    const json = JSON.parse(cli(['replay', path, '--json'], env).out);
    expect(json).toMatchObject({ exit_code: 1, outcome: { status: 'failed' }, file: { isobatch_case: 2 } });
    expect(cli(['replay', path, '--quiet'], env).out).toBe('still fails\n');
    const gone = cli(['replay', path]);
    expect([gone.code, gone.out]).toEqual([0, expect.stringContaining('does not fail any more')]);
    writeFileSync(path, JSON.stringify({ ...kept, case: { ...kept.case, script: 5 } }));
    const broken = cli(['replay', path]);
    expect([broken.code, broken.err]).toEqual([3, expect.stringContaining('case.script must be an object')]);
    writeFileSync(path, JSON.stringify({ ...kept, model_sha256: '0'.repeat(64) }));
    const changed = cli(['replay', path]);
    expect([changed.code, changed.err]).toEqual([3, expect.stringContaining('has changed')]);
    // The next run has no failures, so it must not leave this one behind.
    expect(verify([]).code).toBe(0);
    expect(readdirSync(out)).not.toContain('cases');
  });

  it('answers 1 for a subject that crashes, 3 if nothing was compared', () => {
    const crash = verify(['--shrink-seconds', '0'], { FAKE_PLANT: 'kill@9' });
    expect(crash.code).toBe(1);
    expect(crash.out).toContain('was killed by SIGKILL');
    expect(crash.out).toContain('| about to kill at token 9');
    const nothing = verify([], { FAKE_PROPERTIES: 'idle' });
    expect([nothing.code, nothing.out]).toEqual([3, expect.stringContaining('nothing was compared')]);
    const absent = cli(['verify', '--subject-cmd', '/no/such/engine', '--out', out]);
    expect([absent.code, absent.err]).toEqual([3, expect.stringContaining('/no/such/engine')]);
  });

  it('takes a list of known failures, and says where it is malformed', () => {
    const env = { FAKE_PLANT: 'wrong@9' };
    const list = join(out, 'known.json');
    const entry = { signature: 'echo/fake/row', reason: 'being fixed' };
    writeFileSync(list, JSON.stringify({ version: 1, known: [entry] }));
    const known = verify(['--known', list], env);
    expect([known.code, known.out]).toEqual([0, expect.stringContaining('holds but for 1 known failure')]);
    expect(known.out).toContain('known: echo/fake/row');
    writeFileSync(list, JSON.stringify({ version: 1, known: [{ ...entry, reason: 5 }] }));
    const malformed = verify(['--known', list], env);
    expect(malformed.code).toBe(3);
    expect(malformed.err).toBe(`isobatch: ${list}: known[0].reason must be a text, got 5\n`);
  });

  it('compares with another subject, which must be another one', () => {
    const env = { FAKE_PLANT: 'wrong@9' };
    const other = `cmd:FAKE_PLANT= "${process.execPath}" "${file('properties/fixtures/fake-serve.mjs')}"`;
    const found = verify(['--against', other], env);
    expect([found.code, found.out]).toEqual([1, expect.stringContaining('the other subject: passes')]);
    const itself = verify(['--against', file('properties/fixtures/fake-subject.mjs')], env);
    expect([itself.code, itself.err]).toEqual([2, expect.stringContaining('are the same')]);
    const unknown = verify(['--against', 'engin'], env);
    expect([unknown.code, unknown.err]).toEqual([2, expect.stringContaining('unknown subject engin')]);
  });

  it('prints only the verdict if it shall be quiet', () => {
    expect(verify(['--quiet'])).toEqual({ code: 0, out: 'fake holds: 2 properties on 1 model\n', err: '' });
  });

  it('answers 4 to an interruption, with the report written', async () => {
    const words = ['verify', ...FAKE, '--minutes', '5', '--out', out];
    const child: ChildProcess = spawn(process.execPath, [MAIN, ...words], {
      env: { ...process.env, FAKE_PROPERTIES: 'count' },
      stdio: 'ignore',
    });
    rmSync(join(out, 'summary.json'), { force: true });
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
    await new Promise((resolve) => setTimeout(resolve, 3000));
    child.kill('SIGINT');
    expect(await ended).toBe(4);
    const summary = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'));
    expect(summary.interrupted).toBe(true);
    expect(summary.white).toBeGreaterThan(0);
  });
});

describe('subject check', () => {
  it('answers 0 for a subject that conforms, 1 for one that does not', () => {
    const command = `"${process.execPath}" "${file('properties/fixtures/fake-serve.mjs')}"`;
    const model = ['--model', file('properties/fixtures/fake.model')];
    const good = cli(['subject', 'check', command, ...model]);
    expect([good.code, good.out]).toEqual([0, expect.stringContaining(' 0 failed')]);
    const bad = cli(['subject', 'check', command, ...model, '--quiet'], { FAKE_FIRST: 'version' });
    expect([bad.code, bad.out]).toEqual([1, expect.stringContaining('info.protocol: got 2, want 1')]);
  });
});

/** Both ends of the protocol, with the fake subject in a process of its own. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import type { IsobatchError } from '../../contract/errors.ts';
import { checkSubject } from './check.ts';
import { type RemoteSubject, remoteSubject } from './remote.ts';

const serve = fileURLToPath(new URL('../fixtures/fake-serve.mjs', import.meta.url));
const fake = new URL('../fixtures/fake-subject.mjs', import.meta.url).href;
/** With variables it needs a shell, which must not stand between us and the process. */
const command = (env = '') => `${env === '' ? '' : `${env} exec `}"${process.execPath}" "${serve}"`;
const MODEL = Buffer.from('a fake model');
const PARAMS = { n_ctx: 64, n_batch: 32, n_ubatch: 8, n_seq_max: 2, split: 'equal' } as const;

/** Pids of the processes that this one has started. */
function childrenOfUs(): string[] {
  const tasks = readdirSync('/proc/self/task');
  return tasks.flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ').filter(Boolean),
  );
}

let subject: RemoteSubject | undefined;

async function start(env = '', timeout_s = 5): Promise<RemoteSubject> {
  subject = await remoteSubject(command(env), { timeout_s, start_timeout_s: 10 });
  return subject;
}

async function failureOf(promise: Promise<unknown>): Promise<IsobatchError> {
  return promise.then(
    () => {
      throw new Error('it was expected to fail');
    },
    (error) => error,
  );
}

afterEach(async () => {
  await subject?.close();
  subject = undefined;
});

describe('a remote subject', () => {
  it('goes on in a new process after a restart, with the same models', async () => {
    const remote = await start();
    const model = await remote.load(MODEL, 'm');
    const row = async (): Promise<readonly number[]> => [
      ...(await (await model.open(PARAMS)).decode({ token: [7] })).logits,
    ];
    const [before, children] = [await row(), childrenOfUs()];
    expect(children.length).toBeGreaterThan(0);
    await remote.restart();
    expect(childrenOfUs()).not.toContain(children[0]);
    expect(await row()).toEqual(before);
    expect(childrenOfUs()).not.toEqual(children);
  });

  it('answers like the one behind it', async () => {
    const remote = await start();
    const { subject: local, rowOf } = await import(fake);
    // Our server takes whole histories, whatever it serves.
    expect(remote.info).toEqual({ ...local.info, scripts: true });
    const model = await remote.load(MODEL, 'm');
    expect(model.info).toEqual(local.load(MODEL, 'm').info);
    const context = await model.open(PARAMS);
    const { n_outputs, logits } = await context.decode({ token: [1, 2, 3], logits: [true, false, true] });
    expect(n_outputs).toBe(2);
    expect([...logits]).toEqual([...rowOf([1]), ...rowOf([1, 2, 3])]);
    await context.seqCp(0, 1, -1, -1);
    expect(await context.seqPosMax(1)).toBe(2);
    await context.seqKeep(1);
    expect(await context.seqPosMin(0)).toBe(-1);
    await context.seqRm(1, 2, -1);
    expect(await context.seqPosMax(1)).toBe(1);
    await context.clear();
    expect(await context.seqPosMax(1)).toBe(-1);
    await context.close();
    await model.close();
  });

  it('loads a file by its path, and quantizes nothing if the one behind it does not', async () => {
    const remote = await start();
    const folder = mkdtempSync(join(tmpdir(), 'isobatch-remote-'));
    try {
      const path = join(folder, 'model.gguf');
      writeFileSync(path, MODEL);
      const model = await remote.loadFile(path, 'm');
      const context = await model.open(PARAMS);
      expect((await context.decode({ token: [1] })).n_outputs).toBe(1);
      const none = remote.loadFile(join(folder, 'none'), 'n');
      expect(await failureOf(none as Promise<unknown>)).toMatchObject({ kind: 'file' });
      const quantized = remote.quantize(path, `${path}.q`, 'Q8_0');
      expect(await failureOf(quantized as Promise<unknown>)).toMatchObject({ kind: 'protocol' });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('passes refusals on with their kind', async () => {
    const remote = await start();
    expect(await failureOf(remote.load(Buffer.from('x'), 'bad') as Promise<unknown>)).toMatchObject({
      kind: 'gguf',
      message: 'bad is not a fake model',
    });
    const model = await remote.load(MODEL, 'm');
    const context = await model.open(PARAMS);
    expect(await failureOf(context.decode({ token: [999] }) as Promise<unknown>)).toMatchObject({
      kind: 'batch.token',
    });
    expect((await context.decode({ token: [1] })).n_outputs).toBe(1);
  });

  it.each([
    ['exit', 'exit 3', /ended with exit code 3; its last words: about to exit at token 9/],
    ['kill', 'SIGKILL', /was killed by SIGKILL/],
    ['hang', 'hang', /gave no answer to decode within 1 s/],
    ['garbage', 'garbage', /wrote something that is not a frame/],
  ])(
    'that does this: %s, is an error of kind subject, and the next context a new process',
    async (plant, end, message) => {
      const remote = await start(`FAKE_PLANT=${plant}@9 FAKE_FD=1`, 1);
      const model = await remote.load(MODEL, 'm');
      const context = await model.open(PARAMS);
      const error = await failureOf(context.decode({ token: [1, 9] }) as Promise<unknown>);
      expect(error).toMatchObject({ kind: 'subject', detail: { end } });
      expect(error.message).toMatch(message);
      expect((error.detail as { log: string }).log).toContain(`about to ${plant}`);
      await context.close();
      const again = await model.open(PARAMS);
      expect((await again.decode({ token: [1, 2] })).n_outputs).toBe(1);
    },
  );

  const decode = (...token: number[]) => ({ op: 'decode', batch: { token } }) as const;

  it('that is killed inside a history is run again call by call, to say where', async () => {
    const remote = await start('FAKE_PLANT=kill@9 FAKE_FD=1');
    const model = await remote.load(MODEL, 'm');
    const context = await model.openFor!(PARAMS, [decode(1), decode(9)], []);
    expect((await context.decode({ token: [1] })).n_outputs).toBe(1);
    const error = await failureOf(context.decode({ token: [9] }) as Promise<unknown>);
    expect(error).toMatchObject({ kind: 'subject', detail: { end: 'SIGKILL', signal: 'SIGKILL' } });
    expect(error.message).toMatch(/^the subject was killed by SIGKILL; its last words: about to kill/);
    await context.close();
  });

  it('that is killed inside a history and gets through it the second time has died all the same', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'isobatch-once-'));
    try {
      const remote = await start(`FAKE_ONCE="${join(folder, 'once')}" FAKE_PLANT=kill@9 FAKE_FD=1`);
      const model = await remote.load(MODEL, 'm');
      const context = await model.openFor!(PARAMS, [decode(9)], []);
      expect((await context.decode({ token: [9] })).n_outputs).toBe(1);
      const error = await failureOf(context.close() as Promise<void>);
      expect(error).toMatchObject({ kind: 'subject', detail: { end: 'SIGKILL' } });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('that is killed between two requests has died: it is told once, then a new process goes on', async () => {
    const remote = await start('FAKE_PLANT=later@9 FAKE_FD=1');
    const model = await remote.load(MODEL, 'm');
    const context = await model.open(PARAMS);
    expect((await context.decode({ token: [9] })).n_outputs).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await context.close();
    const error = await failureOf(model.open(PARAMS) as Promise<unknown>);
    expect(error).toMatchObject({ kind: 'subject', detail: { end: 'SIGKILL', signal: 'SIGKILL' } });
    expect(error.message).toMatch(/^the subject was killed by SIGKILL between two requests/);
    const again = await model.open(PARAMS);
    expect((await again.decode({ token: [1] })).n_outputs).toBe(1);
  });

  it.each([
    ['garbage', 'subject', /not a frame/],
    ['truncated', 'subject', /ended with exit code 0/],
    ['version', 'protocol', /version 2/],
  ])('that begins with %s is refused', async (first, kind, message) => {
    const error = await failureOf(start(`FAKE_FIRST=${first}`));
    expect(error.kind).toBe(kind);
    expect(error.message).toMatch(message);
  });

  it('that cannot be started is an error of kind file', async () => {
    const error = await failureOf(remoteSubject('/no/such/program --x'));
    expect(error).toMatchObject({ kind: 'file' });
    expect(error.message).toContain('/no/such/program');
  });
});

describe('the conformance kit', () => {
  it('passes on a program that conforms, and names what one does wrong', async () => {
    const models = [fileURLToPath(new URL('../fixtures/fake.model', import.meta.url))];
    const good = await checkSubject(command(), { models });
    // It keeps no states, and says so.
    expect(good.filter((r) => r.status !== 'passed')).toEqual([
      expect.objectContaining({ name: expect.stringContaining('kept states'), status: 'skipped' }),
    ]);
    expect(good.length).toBeGreaterThan(30);
    const bad = await checkSubject(command('FAKE_PLANT=exit@22'), { models, timeout_s: 2 });
    const failed = bad.filter((r) => r.status === 'failed');
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.length).toBeLessThan(bad.length / 2);
    expect(failed[0]!.reason).toContain('exit code 3');
  });

  it('ends with a program that answers, but not in the protocol', async () => {
    const results = await checkSubject('cat');
    expect(results.find((r) => r.name.startsWith('hello: a complete'))).toMatchObject({ status: 'failed' });
    expect(results.filter((r) => r.status === 'failed').length).toBeGreaterThan(8);
  });

  it('skips models if there is none to run', async () => {
    const results = await checkSubject(command());
    expect(results.at(-1)).toMatchObject({ status: 'skipped', reason: expect.stringContaining('fake') });
  });
});

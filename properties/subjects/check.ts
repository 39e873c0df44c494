/**
 * The conformance kit of the subject protocol (`isobatch subject check CMD`): named checks that an implementer can
 * read one by one. It checks that a program can be talked to, not that its answers are right: that is what campaigns
 * are for.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IsobatchError } from '../../contract/errors.ts';
import { recipes } from '../../golden/recipes.ts';
import { modelBytes } from '../campaign-models.ts';
import { encodeFrame } from '../frames.ts';
import { errorRecord, objectField, PROTOCOL_VERSION, subjectInfoOf } from '../protocol.ts';
import { expect, expectEqual, Finding, Kit, ModelKit, Skip } from './check-kit.ts';
import { modelChecks } from './check-model.ts';
import type { Connection } from './remote.ts';

export interface CheckResult {
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Why it failed or was skipped. */
  readonly reason?: string;
}

export interface CheckOptions {
  /** Default: the recipes of the architectures that the subject runs. */
  readonly models?: readonly string[];
  /** An answer may take so long; default 20 seconds. */
  readonly timeout_s?: number;
  readonly signal?: AbortSignal;
  readonly onResult?: (result: CheckResult) => void;
}

interface TalkCheck {
  readonly name: string;
  run(kit: Kit): Promise<void>;
}

/** The process must be gone soon; `end` says how it went. */
async function goes(connection: Connection, kit: Kit, what: string) {
  const timer = setTimeout(() => void connection.peer.stop('had to be ended'), kit.timeout_s * 1000);
  const end = await connection.peer.ended;
  clearTimeout(timer);
  expect(end.stopped === undefined, `the process did not end ${what}`);
  return end;
}

async function stillThere(kit: Kit, connection: Connection): Promise<void> {
  const { header } = await connection.call('hello', { protocol: PROTOCOL_VERSION }, kit.timeout_s);
  subjectInfoOf(objectField(header, 'info'));
}

const talkChecks: readonly TalkCheck[] = [
  {
    name: 'hello: a complete description of itself, protocol version 1',
    async run(kit) {
      await kit.connection();
      expectEqual(kit.info!.protocol, PROTOCOL_VERSION, 'info.protocol');
      expect(kit.info!.architectures.length > 0, 'info.architectures is empty: nothing can be run');
    },
  },
  {
    name: 'hello: another version is refused',
    run: (kit) => kit.refuses(['protocol'], 'hello', { protocol: 999 }),
  },
  {
    name: 'an unknown verb is refused and does not end it',
    async run(kit) {
      const connection = await kit.connection();
      await kit.refuses(['protocol'], 'sing', {});
      await stillThere(kit, connection);
    },
  },
  {
    name: 'a request without its fields is refused and does not end it',
    async run(kit) {
      const connection = await kit.connection();
      await kit.refuses(['protocol'], 'decode', {});
      await kit.refuses(['protocol'], 'open', { model: 'first' });
      await stillThere(kit, connection);
    },
  },
  {
    name: 'a handle that was never given is refused',
    async run(kit) {
      await kit.refuses(['protocol'], 'decode', { context: 123456, batch: { token: [1] } });
      await kit.refuses(['protocol'], 'unload', { model: 123456 });
    },
  },
  {
    name: 'a header that is not JSON is answered with an error and does not end it',
    async run(kit) {
      const connection = await kit.fresh();
      try {
        connection.peer.sendRaw(garbledFrame('{"id": 1, "verb"'));
        connection.peer.sendRaw(garbledFrame('[1, 2, 3]'));
        await stillThere(kit, connection);
      } finally {
        await connection.peer.stop();
      }
    },
  },
  {
    name: 'several requests at once are answered in order',
    async run(kit) {
      const connection = await kit.connection();
      const order: number[] = [];
      const calls = [0, 1, 2].map(async (i) => {
        await connection.call('hello', { protocol: PROTOCOL_VERSION }, kit.timeout_s);
        order.push(i);
      });
      await Promise.all(calls);
      expectEqual(order, [0, 1, 2], 'order of the answers');
    },
  },
  {
    name: 'a request that arrives byte by byte is understood',
    async run(kit) {
      const connection = await kit.fresh();
      try {
        const bytes = encodeFrame({ id: 0, verb: 'hello', protocol: PROTOCOL_VERSION });
        const answer = connection.answerTo(0);
        for (const byte of bytes) {
          connection.peer.sendRaw(Uint8Array.of(byte));
          await new Promise((resolve) => setImmediate(resolve));
        }
        subjectInfoOf(objectField((await answer).header, 'info'));
        await stillThere(kit, connection);
      } finally {
        await connection.peer.stop();
      }
    },
  },
  {
    name: 'impossible lengths of a frame end it, not hang it',
    async run(kit) {
      const connection = await kit.fresh();
      connection.peer.sendRaw(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff));
      connection.peer.closeInput();
      const end = await goes(connection, kit, 'after a frame with impossible lengths');
      expect(end.signal === null, `it was killed by ${end.signal}`);
    },
  },
  {
    name: 'the end of its input ends it',
    async run(kit) {
      const connection = await kit.fresh();
      connection.peer.closeInput();
      await goes(connection, kit, 'at the end of its input');
    },
  },
  {
    name: 'bye is answered, then it ends with exit code 0',
    async run(kit) {
      const connection = await kit.fresh();
      await connection.call('bye', {}, kit.timeout_s);
      connection.peer.closeInput();
      const end = await goes(connection, kit, 'after bye');
      expectEqual([end.code, end.signal], [0, null], 'exit code and signal');
    },
  },
  {
    name: 'bytes that are no model are refused and do not end it',
    async run(kit) {
      const connection = await kit.connection();
      for (const bytes of [new Uint8Array(0), Buffer.from('GGUF'), Buffer.from('not a model, but some text')])
        await kit.refuses(['gguf', 'model'], 'load', { name: 'garbage' }, bytes);
      await stillThere(kit, connection);
    },
  },
  {
    name: 'a model file that is not there is refused',
    async run(kit) {
      const path = join(tmpdir(), `isobatch-no-such-model-${process.pid}.gguf`);
      await kit.refuses(['file', 'gguf'], 'load', { name: 'missing', path });
    },
  },
];

/** A frame with good lengths and this text as its header. */
function garbledFrame(header: string): Uint8Array {
  const frame = encodeFrame({});
  const text = Buffer.from(header);
  const out = Buffer.concat([frame.subarray(0, 8), text]);
  out.writeUInt32LE(4 + text.length, 0);
  out.writeUInt32LE(text.length, 4);
  return out;
}

/** Recipes of the architectures that it runs and that our engine runs too. */
function defaultModels(kit: Kit): string[] {
  return recipes
    .filter(({ name, arch, engine }) => engine && name === arch && kit.info?.architectures.includes(arch))
    .map(({ name }) => `recipe:${name}`);
}

async function runOne(name: string, run: () => Promise<void>): Promise<CheckResult> {
  try {
    await run();
    return { name, status: 'passed' };
  } catch (error) {
    if (error instanceof Skip) return { name, status: 'skipped', reason: error.message };
    if (error instanceof Finding) return { name, status: 'failed', reason: error.message };
    const { kind, message } = errorRecord(error);
    return {
      name,
      status: 'failed',
      reason: error instanceof IsobatchError ? `${kind}: ${message}` : message,
    };
  }
}

/** Runs all checks. Throws `usage` or `file` for models that do not exist, `file` if the command cannot be started. */
export async function checkSubject(command: string, options: CheckOptions = {}): Promise<CheckResult[]> {
  const kit = new Kit(command, options.timeout_s ?? 20);
  const results: CheckResult[] = [];
  const check = async (name: string, run: () => Promise<void>) => {
    if (options.signal?.aborted) return;
    const result = await runOne(name, run);
    results.push(result);
    options.onResult?.(result);
  };
  const folder = mkdtempSync(join(tmpdir(), 'isobatch-check-'));
  try {
    await kit.connection().catch((error: IsobatchError) => {
      if (error.kind === 'file') throw error;
    });
    for (const { name, run } of talkChecks) await check(name, () => run(kit));
    const names = options.models?.length ? options.models : defaultModels(kit);
    if (names.length === 0) await check('models', () => noModels(kit));
    for (const [i, name] of names.entries()) {
      const model = new ModelKit(kit, name, modelBytes(name));
      const path = join(folder, `${i}.gguf`);
      writeFileSync(path, model.bytes);
      for (const { name: what, run } of modelChecks)
        await check(`${name}: ${what}`, async () => {
          await model.model();
          await run(model, path);
        });
    }
  } finally {
    await kit.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return results;
}

async function noModels(kit: Kit): Promise<void> {
  const archs = kit.info?.architectures.join(', ') ?? 'none';
  throw new Skip(`there is no recipe of the architectures that it runs (${archs}); give --model FILE`);
}

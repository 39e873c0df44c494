/**
 * What the checks of the conformance kit work with: a connection that is replaced when it dies, a loaded model,
 * contexts, and assertions that say what was seen.
 */
import type { Batch } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';
import type { ContextParams, ModelInfo, SubjectInfo } from '../../contract/subject.ts';
import { type Frame, floatsOf } from '../frames.ts';
import {
  intField,
  modelInfoOf,
  objectField,
  PROTOCOL_VERSION,
  subjectInfoOf,
  type Verb,
} from '../protocol.ts';
import { Connection } from './remote.ts';

/** Thrown by a check that does not apply. */
export class Skip extends Error {}

/** Thrown by a check that found something. */
export class Finding extends Error {}

export function expect(condition: boolean, what: string): void {
  if (!condition) throw new Finding(what);
}

export function expectEqual(got: unknown, want: unknown, what: string): void {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  expect(a === b, `${what}: got ${a}, want ${b}`);
}

export class Kit {
  readonly command: string;
  readonly timeout_s: number;
  #shared: Promise<Connection> | undefined;
  /** Every process that was started, so that none outlives the kit, whatever a check threw at. */
  readonly #all: Connection[] = [];
  info: SubjectInfo | undefined;

  constructor(command: string, timeout_s: number) {
    this.command = command;
    this.timeout_s = timeout_s;
  }

  /** A new process that has not been spoken to. */
  raw(): Connection {
    const connection = new Connection(this.command);
    this.#all.push(connection);
    return connection;
  }

  /** A new process after the handshake. */
  async fresh(): Promise<Connection> {
    const connection = this.raw();
    const frame = await connection.call(
      'hello',
      { protocol: PROTOCOL_VERSION },
      Math.max(60, this.timeout_s),
    );
    this.info = subjectInfoOf(objectField(frame.header, 'info'));
    return connection;
  }

  /** The process that the checks share; a dead one is replaced. */
  async connection(): Promise<Connection> {
    const shared = await this.#shared?.catch(() => undefined);
    if (shared?.peer.alive) return shared;
    this.#shared = this.fresh();
    return this.#shared;
  }

  async call(verb: Verb | (string & {}), args: object = {}, payload?: Uint8Array): Promise<Frame> {
    return (await this.connection()).call(verb, args, this.timeout_s, payload);
  }

  /** The call must be refused with one of these kinds. */
  async refuses(kinds: readonly string[], verb: string, args: object, payload?: Uint8Array): Promise<void> {
    const error = await this.call(verb, args, payload).then(
      () => undefined,
      (e: unknown) => e,
    );
    const want = kinds.join(' or ');
    if (error === undefined) throw new Finding(`${verb} was accepted; it must be refused with ${want}`);
    if (!(error instanceof IsobatchError) || error.kind === 'subject') throw error;
    expect(
      kinds.includes(error.kind),
      `${verb} was refused with ${error.kind} (${error.message}); the kind must be ${want}`,
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.filter((c) => c.peer.alive).map((c) => c.peer.stop()));
  }
}

/** A model that the checks run on. */
export class ModelKit {
  readonly kit: Kit;
  readonly name: string;
  readonly bytes: Uint8Array;
  info!: ModelInfo;
  #handle: { connection: Connection; model: number } | undefined;

  constructor(kit: Kit, name: string, bytes: Uint8Array) {
    this.kit = kit;
    this.name = name;
    this.bytes = bytes;
  }

  /** The handle in the living process. */
  async model(): Promise<number> {
    const connection = await this.kit.connection();
    if (this.#handle?.connection === connection) return this.#handle.model;
    const { header } = await this.kit.call('load', { name: this.name }, this.bytes);
    this.info = modelInfoOf(objectField(header, 'info'));
    this.#handle = { connection, model: intField(header, 'model') };
    return this.#handle.model;
  }

  get recurrent(): boolean {
    return this.info.memory === 'recurrent' || this.info.memory === 'hybrid';
  }

  params(change: Partial<ContextParams> = {}): ContextParams {
    const splits = this.kit.info?.splits[this.info.memory] ?? [];
    const split = splits.includes('equal') ? 'equal' : (splits[0] ?? 'equal');
    return { n_ctx: 64, n_batch: 32, n_ubatch: 8, n_seq_max: 4, split, ...change };
  }

  async open(change: Partial<ContextParams> = {}): Promise<ContextKit> {
    const model = await this.model();
    const { header } = await this.kit.call('open', { model, params: this.params(change) });
    return new ContextKit(this.kit, intField(header, 'context'), this.info.n_vocab);
  }

  /** n tokens of the vocabulary, the same ones each time. */
  tokens(n: number, start = 1): number[] {
    return Array.from({ length: n }, (_, i) => (start + 7 * i) % this.info.n_vocab);
  }
}

export class ContextKit {
  readonly kit: Kit;
  readonly context: number;
  readonly #n_vocab: number;

  constructor(kit: Kit, context: number, n_vocab: number) {
    this.kit = kit;
    this.context = context;
    this.#n_vocab = n_vocab;
  }

  call(verb: Verb, args: object = {}): Promise<Frame> {
    return this.kit.call(verb, { context: this.context, ...args });
  }

  refuses(kind: string, verb: Verb, args: object): Promise<void> {
    return this.kit.refuses([kind], verb, { context: this.context, ...args });
  }

  /** Decodes and gives the rows, checked for their shape. */
  async decode(batch: Batch, outputs: number): Promise<Float32Array[]> {
    const { header, payload } = await this.call('decode', { batch });
    expectEqual(intField(header, 'n_outputs'), outputs, 'n_outputs');
    expectEqual(intField(header, 'n_vocab'), this.#n_vocab, 'n_vocab');
    const logits = floatsOf(payload, outputs * this.#n_vocab);
    expect(logits.every(Number.isFinite), 'a logit is not finite');
    return Array.from({ length: outputs }, (_, i) =>
      logits.subarray(i * this.#n_vocab, (i + 1) * this.#n_vocab),
    );
  }

  async positions(seq: number): Promise<[number, number]> {
    const min = await this.call('seqPosMin', { seq });
    const max = await this.call('seqPosMax', { seq });
    return [intField(min.header, 'pos'), intField(max.header, 'pos')];
  }

  async close(): Promise<void> {
    await this.call('close');
  }
}

/** Largest difference of two rows. */
export function apart(a: Float32Array, b: Float32Array): number {
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}

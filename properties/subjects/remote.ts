/**
 * A subject in another process, behind the subject protocol. Every call has a watchdog. A process that dies, hangs
 * or answers nonsense gives an error of kind `subject` with its exit code or signal and its last words; the next
 * `open` then starts a new one and loads the model again, so that a campaign goes on with the next case.
 */
import { statSync } from 'node:fs';
import type { Batch, CompleteBatch, MemoryKind, SplitOptions } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';
import {
  type ContextParams,
  type DecodeResult,
  type MaybePromise,
  type ModelInfo,
  rowWidth,
  type Subject,
  type SubjectContext,
  type SubjectInfo,
  type SubjectModel,
} from '../../contract/subject.ts';
import type { RulesInfo, ShownCells, ShownSplit } from '../../contract/white.ts';
import type { ModelSource } from '../campaign-models.ts';
import { type Frame, floatsOf, type Header } from '../frames.ts';
import {
  cellKindsOf,
  checkVersion,
  errorOf,
  intField,
  modelInfoOf,
  objectField,
  PROTOCOL_VERSION,
  rulesInfoOf,
  shownCellsOf,
  shownSplitOf,
  subjectInfoOf,
  type Verb,
} from '../protocol.ts';
import { endInWords, endKind, Peer, type PeerEnd } from '../worker-peer.ts';
import { parseCommand } from './command.ts';
import {
  AnsweredContext,
  SCRIPT_OPS,
  type ScriptAnswers,
  type ScriptCall,
  type ScriptQuestions,
} from './script.ts';

export interface RemoteOptions {
  /** A call that takes longer means that the subject hangs. Default 20 seconds. */
  readonly timeout_s?: number;
  /** The same for the first answer, when the process starts. Default 120 seconds. */
  readonly start_timeout_s?: number;
}

/** A program that is started without a shell, with a name for messages. */
export interface Program {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

function nameOf(command: string | Program): string {
  return typeof command === 'string' ? command : command.name;
}

interface Pending {
  readonly resolve: (frame: Frame) => void;
  readonly reject: (error: Error) => void;
}

/** One life of the child process: requests with ids, answers, a watchdog. */
export class Connection {
  readonly peer: Peer;
  readonly #command: string;
  readonly #pending = new Map<number, Pending>();
  #next = 1;
  /** Somebody was told of the end of the process. */
  #told = false;

  constructor(command: string | Program) {
    const { file, args, env } =
      typeof command === 'string' ? { ...parseCommand(command), env: undefined } : command;
    this.#command = nameOf(command);
    this.peer = new Peer({ file, args, env, channel: 1, onFrame: (frame) => this.#take(frame) });
    void this.peer.ended.then((end) => {
      for (const { reject } of this.#pending.values()) reject(this.#death(end));
      this.#pending.clear();
    });
  }

  /** Sends a request and gives its answer. Throws what the subject answered as an error, or `subject`. */
  async call(
    verb: Verb | (string & {}),
    args: object,
    timeout_s: number,
    payload?: Uint8Array,
  ): Promise<Frame> {
    if (!this.peer.alive) throw this.#death(await this.peer.ended, true);
    const id = this.#next++;
    const answer = this.answerTo(id);
    const timer = setTimeout(
      () => void this.peer.stop(`gave no answer to ${verb} within ${timeout_s} s`),
      timeout_s * 1000,
    );
    try {
      this.peer.send({ id, verb, ...args }, payload);
      const frame = await answer;
      if (frame.header.error !== undefined) throw errorOf(frame.header.error);
      return frame;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  /** Waits for the answer with this id, or for the end of the process. */
  answerTo(id: number): Promise<Frame> {
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #take(frame: Frame): void {
    const id = frame.header.id;
    const waiting = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (waiting !== undefined) waiting.resolve(frame);
    // An answer that nobody asked for: the talk is out of step, and no later answer can be trusted.
    else if (id !== null || frame.header.error === undefined)
      throw new Error(`an answer with the id ${JSON.stringify(id)}, which no request waits for`);
  }

  /** The end of a process that nobody was told of: it came between two requests, and was not ours. */
  async untold(): Promise<IsobatchError | null> {
    return this.#told || this.peer.alive ? null : this.#death(await this.peer.ended, true);
  }

  #death(end: PeerEnd, between = false): IsobatchError {
    this.#told = true;
    if (end.not_started !== undefined)
      return new IsobatchError('file', `the subject ${this.#command} ${endInWords(end)}`, {
        command: this.#command,
      });
    const when = between ? ' between two requests' : '';
    return new IsobatchError('subject', `the subject ${endInWords(end)}${when}${lastWords(end.log)}`, {
      end: endKind(end),
      code: end.code,
      signal: end.signal,
      log: end.log,
      command: this.#command,
    });
  }
}

function lastWords(log: string): string {
  const line = log.trim().split('\n').at(-1)?.trim();
  return line ? `; its last words: ${line.slice(0, 200)}` : '';
}

/** An answer of a legal form with illegal content is the subject's fault, not ours. */
function understood<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new IsobatchError('subject', `the subject answered nonsense: ${(error as Error).message}`);
  }
}

/** The subject behind a command, through as many processes as it takes. */
class Remote implements Subject {
  info!: SubjectInfo;
  readonly timeout_s: number;
  readonly #start_timeout_s: number;
  readonly #command: string | Program;
  #connection: Connection | undefined;

  constructor(command: string | Program, options: RemoteOptions) {
    this.#command = command;
    this.timeout_s = options.timeout_s ?? 20;
    this.#start_timeout_s = options.start_timeout_s ?? 120;
  }

  /** The living connection; a dead one is replaced. Throws `subject` once for a death that nobody was told of. */
  async connection(): Promise<Connection> {
    if (this.#connection?.peer.alive) return this.#connection;
    const untold = await this.#connection?.untold();
    if (untold) throw untold;
    const connection = new Connection(this.#command);
    const frame = await connection.call('hello', { protocol: PROTOCOL_VERSION }, this.#start_timeout_s);
    try {
      const info = subjectInfoOf(objectField(frame.header, 'info'));
      checkVersion(info.protocol);
      this.info = info;
    } catch (error) {
      await connection.peer.stop();
      throw error;
    }
    this.#connection = connection;
    return connection;
  }

  load(bytes: Uint8Array, name: string): Promise<SubjectModel> {
    return this.#loaded({ bytes }, name);
  }

  /** The path goes to the process; the file is not read here. Throws `file` if there is none. */
  async loadFile(path: string, name: string): Promise<SubjectModel> {
    return this.#loaded({ path, size: sizeOf(path) }, name);
  }

  async #loaded(source: ModelSource, name: string): Promise<SubjectModel> {
    const model = new RemoteModel(this, source, name);
    await model.handle();
    return model;
  }

  async quantize(from: string, to: string, type: string): Promise<void> {
    const connection = await this.connection();
    const timeout = Math.max(LOAD_S, this.timeout_s) + sizeOf(from) / QUANTIZED_PER_S;
    await connection.call('quantize', { from, to, type }, timeout);
  }

  async rules(): Promise<RulesInfo> {
    const connection = await this.connection();
    const { header } = await connection.call('rules', {}, Math.max(60, this.timeout_s));
    return understood(() => rulesInfoOf(objectField(header, 'rules')));
  }

  async split(batch: CompleteBatch, options: SplitOptions): Promise<ShownSplit> {
    const connection = await this.connection();
    const { policy, n_ubatch, n_keep_tail } = options;
    const request = { batch, policy, n_ubatch, n_keep_tail };
    const { header } = await connection.call('split', request, this.timeout_s);
    return understood(() => shownSplitOf(header));
  }

  async cells(): Promise<readonly MemoryKind[]> {
    const connection = await this.connection();
    const { header } = await connection.call('cells', {}, Math.max(60, this.timeout_s));
    return understood(() => cellKindsOf(header));
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    if (!connection?.peer.alive) return;
    await connection.call('bye', {}, this.timeout_s).catch(() => {}); // it goes anyway
    connection.peer.closeInput();
    const timer = setTimeout(() => void connection.peer.stop(), 1000);
    await connection.peer.ended;
    clearTimeout(timer);
  }

  /** Goes on in a new process, with the next request. */
  async restart(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.peer.stop();
  }

  /** Ends the process at once; for a worker that is told to end. */
  kill(): void {
    void this.#connection?.peer.stop();
  }
}

/** Time for `load`, and how much of a file may be read in a second more. */
const LOAD_S = 60;
const LOAD_BYTES_PER_S = 2 ** 24;
/** Searching the best scales of a block takes longer than reading it. */
const QUANTIZED_PER_S = 2 ** 21;

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    throw new IsobatchError('file', `cannot read ${path}: ${(error as Error).message}`, { path });
  }
}

class RemoteModel implements SubjectModel {
  info!: ModelInfo;
  readonly #remote: Remote;
  readonly #source: ModelSource;
  readonly #name: string;
  #loaded: { connection: Connection; handle: number } | undefined;

  constructor(remote: Remote, source: ModelSource, name: string) {
    this.#remote = remote;
    this.#source = source;
    this.#name = name;
  }

  /** The handle in the living process; loads again if that is a new one. */
  async handle(): Promise<{ connection: Connection; handle: number }> {
    const connection = await this.#remote.connection();
    if (this.#loaded?.connection === connection) return this.#loaded;
    const source = this.#source;
    const name = this.#name;
    const least = Math.max(LOAD_S, this.#remote.timeout_s);
    const frame =
      'path' in source
        ? await connection.call('load', { name, path: source.path }, least + source.size / LOAD_BYTES_PER_S)
        : await connection.call('load', { name }, least, source.bytes);
    this.info = understood(() => modelInfoOf(objectField(frame.header, 'info')));
    this.#loaded = { connection, handle: understood(() => intField(frame.header, 'model')) };
    return this.#loaded;
  }

  async open(params: ContextParams): Promise<SubjectContext> {
    const { connection, handle } = await this.handle();
    const { timeout_s } = this.#remote;
    const frame = await connection.call('open', { model: handle, params }, timeout_s);
    const context = understood(() => intField(frame.header, 'context'));
    const width = rowWidth(this.info, params);
    return new RemoteContext(connection, context, timeout_s, width);
  }

  async openFor(
    params: ContextParams,
    calls: readonly ScriptCall[],
    ask: ScriptQuestions,
  ): Promise<SubjectContext> {
    const { connection, handle } = await this.handle();
    const known = calls.every(({ op }) => SCRIPT_OPS.includes(op));
    if (this.#remote.info.scripts !== true || !known) return this.open(params);
    try {
      // As much time as the calls would have one by one, but a hang is a hang.
      const request = { model: handle, params, calls, ask };
      const { header, payload } = await connection.call('script', request, this.#remote.timeout_s);
      const width = rowWidth(this.info, params);
      return understood(() => new AnsweredContext(scriptAnswersOf(header, payload), width));
    } catch (error) {
      if (!(error instanceof IsobatchError) || error.kind !== 'subject') throw error;
      return new SuspectContext(await this.open(params), error);
    }
  }

  async close(): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    if (loaded?.connection.peer.alive)
      await loaded.connection.call('unload', { model: loaded.handle }, this.#remote.timeout_s);
  }
}

/** Checks the answer to a script. */
function scriptAnswersOf(header: Header, payload: Uint8Array): ScriptAnswers {
  const { calls, positions } = header as { calls?: unknown; positions?: unknown };
  if (!Array.isArray(calls) || !Array.isArray(positions))
    throw new IsobatchError('protocol', 'a script is answered by calls and positions', { header });
  return { calls, positions, rows: floatsOf(payload, payload.byteLength / 4) };
}

/**
 * The process died in the middle of a history; this context runs it again call by call, to say in which. If it gets
 * through this time, the death is told when it is closed, so that it is not lost.
 */
class SuspectContext implements SubjectContext {
  readonly #context: SubjectContext;
  readonly #death: IsobatchError;
  #died = false;

  constructor(context: SubjectContext, death: IsobatchError) {
    this.#context = context;
    this.#death = death;
  }

  async #try<T>(call: () => MaybePromise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      this.#died ||= (error as Partial<IsobatchError>).kind === 'subject';
      throw error;
    }
  }

  decode(batch: Batch): Promise<DecodeResult> {
    return this.#try(() => this.#context.decode(batch));
  }
  encode(batch: Batch): Promise<DecodeResult> {
    return this.#try(() => this.#context.encode!(batch));
  }
  seqRm(seq: number, p0: number, p1: number): Promise<void> {
    return this.#try(() => this.#context.seqRm(seq, p0, p1));
  }
  seqCp(from: number, to: number, p0: number, p1: number): Promise<void> {
    return this.#try(() => this.#context.seqCp(from, to, p0, p1));
  }
  seqKeep(seq: number): Promise<void> {
    return this.#try(() => this.#context.seqKeep(seq));
  }
  seqAdd(seq: number, p0: number, p1: number, delta: number): Promise<void> {
    return this.#try(() => this.#context.seqAdd!(seq, p0, p1, delta));
  }
  seqDiv(seq: number, p0: number, p1: number, divisor: number): Promise<void> {
    return this.#try(() => this.#context.seqDiv!(seq, p0, p1, divisor));
  }
  clear(): Promise<void> {
    return this.#try(() => this.#context.clear());
  }
  seqPosMin(seq: number): Promise<number> {
    return this.#try(() => this.#context.seqPosMin(seq));
  }
  seqPosMax(seq: number): Promise<number> {
    return this.#try(() => this.#context.seqPosMax(seq));
  }

  async close(): Promise<void> {
    await this.#try(() => this.#context.close());
    if (!this.#died) throw this.#death;
  }
}

class RemoteContext implements SubjectContext {
  readonly #connection: Connection;
  readonly #context: number;
  readonly #timeout_s: number;
  readonly #n_vocab: number;

  constructor(connection: Connection, context: number, timeout_s: number, n_vocab: number) {
    this.#connection = connection;
    this.#context = context;
    this.#timeout_s = timeout_s;
    this.#n_vocab = n_vocab;
  }

  async #call(
    verb: Verb,
    args: object = {},
    payload?: Uint8Array,
  ): Promise<Header & { payload: Uint8Array }> {
    const request = { context: this.#context, ...args };
    const frame = await this.#connection.call(verb, request, this.#timeout_s, payload);
    return { ...frame.header, payload: frame.payload };
  }

  decode(batch: Batch): Promise<DecodeResult> {
    return this.#rows('decode', batch);
  }

  encode(batch: Batch): Promise<DecodeResult> {
    return this.#rows('encode', batch);
  }

  async stateGet(seq?: number): Promise<Uint8Array> {
    return (await this.#call('stateGet', seq === undefined ? {} : { seq })).payload.slice();
  }

  async stateSet(bytes: Uint8Array, seq?: number): Promise<void> {
    await this.#call('stateSet', seq === undefined ? {} : { seq }, bytes);
  }

  async #rows(verb: 'decode' | 'encode', batch: Batch): Promise<DecodeResult> {
    const answer = await this.#call(verb, { batch });
    return understood(() => {
      const n_outputs = intField(answer, 'n_outputs');
      const n_vocab = intField(answer, 'n_vocab');
      if (n_vocab !== this.#n_vocab)
        throw new IsobatchError('protocol', `rows of ${n_vocab} logits; the vocabulary has ${this.#n_vocab}`);
      return { n_outputs, logits: floatsOf(answer.payload, n_outputs * n_vocab) };
    });
  }

  async seqRm(seq: number, p0: number, p1: number): Promise<void> {
    await this.#call('seqRm', { seq, p0, p1 });
  }

  async seqCp(from: number, to: number, p0: number, p1: number): Promise<void> {
    await this.#call('seqCp', { from, to, p0, p1 });
  }

  async seqKeep(seq: number): Promise<void> {
    await this.#call('seqKeep', { seq });
  }

  async seqAdd(seq: number, p0: number, p1: number, delta: number): Promise<void> {
    await this.#call('seqAdd', { seq, p0, p1, by: delta });
  }

  async seqDiv(seq: number, p0: number, p1: number, divisor: number): Promise<void> {
    await this.#call('seqDiv', { seq, p0, p1, by: divisor });
  }

  async clear(): Promise<void> {
    await this.#call('clear');
  }

  async seqPosMin(seq: number): Promise<number> {
    const answer = await this.#call('seqPosMin', { seq });
    return understood(() => intField(answer, 'pos'));
  }

  async seqPosMax(seq: number): Promise<number> {
    const answer = await this.#call('seqPosMax', { seq });
    return understood(() => intField(answer, 'pos'));
  }

  async cells(): Promise<ShownCells> {
    const { payload: _, ...answer } = await this.#call('cells');
    return understood(() => shownCellsOf(answer));
  }

  /** A context of a process that is gone needs no closing. */
  async close(): Promise<void> {
    if (this.#connection.peer.alive) await this.#call('close');
  }
}

export type RemoteSubject = Subject & {
  loadFile(path: string, name: string): Promise<SubjectModel>;
  quantize(from: string, to: string, type: string): Promise<void>;
  rules(): Promise<RulesInfo>;
  split(batch: CompleteBatch, options: SplitOptions): Promise<ShownSplit>;
  cells(): Promise<readonly MemoryKind[]>;
  /** Ends the process at once. */
  kill(): void;
  /** Goes on in a new process, with the next request. */
  restart(): Promise<void>;
};

/**
 * Starts `command` (see `command.ts` for how it is read) and shakes hands. Throws `file` if it cannot be started,
 * `protocol` if it speaks another version, `subject` if it dies or stays silent.
 */
export async function remoteSubject(
  command: string | Program,
  options: RemoteOptions = {},
): Promise<RemoteSubject> {
  const remote = new Remote(command, options);
  await remote.connection();
  return remote;
}

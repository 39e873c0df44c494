/**
 * A child process that talks in frames: started by us, watched by us, and killed by nobody else. Campaign workers
 * and subject commands are both one of these. What it prints is kept as a log tail, because a finding without the
 * last words of the process is hard to read.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { encodeFrame, type Frame, FrameDecoder } from './frames.ts';

/** Keeps the last `limit` bytes of what a process prints. */
export class LogTail {
  #text = '';
  readonly #limit: number;

  constructor(limit = 8192) {
    this.#limit = limit;
  }

  add(chunk: Uint8Array | string): void {
    const text = this.#text + (typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8'));
    this.#text = text.length > this.#limit ? text.slice(-this.#limit) : text;
  }

  toString(): string {
    return this.#text;
  }
}

/** How a process ended. */
export interface PeerEnd {
  readonly code: number | null;
  readonly signal: string | null;
  /** It could not be started at all. */
  readonly not_started?: string;
  /** It wrote something that is not a frame; we then ended it. */
  readonly garbage?: string;
  /** We ended it, and why. */
  readonly stopped?: string;
  readonly log: string;
}

export interface PeerOptions {
  readonly file: string;
  readonly args: readonly string[];
  readonly shell?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  /** Descriptor on which it writes frames: 1 (then only stderr is log) or 3 (then stdout is log too). */
  readonly channel: 1 | 3;
  readonly onFrame: (frame: Frame) => void;
}

/** In words, for messages: "was killed by SIGSEGV". */
export function endInWords(end: PeerEnd): string {
  if (end.not_started !== undefined) return `could not be started: ${end.not_started}`;
  if (end.garbage !== undefined) return `wrote something that is not a frame (${end.garbage})`;
  if (end.stopped !== undefined) return end.stopped;
  return end.signal === null ? `ended with exit code ${end.code}` : `was killed by ${end.signal}`;
}

/** In one word, for signatures: `SIGSEGV`, `exit 3`, `hang`, `garbage`. */
export function endKind(end: PeerEnd): string {
  if (end.garbage !== undefined) return 'garbage';
  if (end.stopped !== undefined) return 'hang';
  return end.signal ?? `exit ${end.code}`;
}

/** How long a process may take to end by itself after SIGTERM, and its pipes to drain after it ended. */
const GRACE_MS = 1000;

const NOTHING = new Uint8Array(0);

export class Peer {
  readonly pid: number | undefined;
  /** Resolves when the process is gone and all that it wrote has been read. */
  readonly ended: Promise<PeerEnd>;
  readonly #child: ChildProcess;
  readonly #log = new LogTail();
  #garbage: string | undefined;
  #stopped: string | undefined;
  #end: PeerEnd | undefined;

  constructor(options: PeerOptions) {
    // A process group of its own: Ctrl-C reaches us alone, and what a shell starts ends together with it.
    this.#child = spawn(options.file, options.args, {
      shell: options.shell ?? false,
      detached: true,
      env: options.env ?? process.env,
      stdio: options.channel === 3 ? ['pipe', 'pipe', 'pipe', 'pipe'] : ['pipe', 'pipe', 'pipe'],
    });
    this.pid = this.#child.pid;
    this.#child.stdin!.on('error', () => {}); // a dead child: its end tells the story
    this.#child.stderr!.on('data', (chunk) => this.#log.add(chunk));
    if (options.channel === 3) this.#child.stdout!.on('data', (chunk) => this.#log.add(chunk));
    this.#read(this.#child.stdio[options.channel] as Readable, options.onFrame);
    this.ended = this.#watch();
  }

  get alive(): boolean {
    return this.#end === undefined;
  }

  get log(): string {
    return this.#log.toString();
  }

  send(header: object, payload?: Uint8Array): void {
    (this.#child.stdin as Writable).write(encodeFrame(header, payload));
  }

  sendRaw(bytes: Uint8Array): void {
    (this.#child.stdin as Writable).write(bytes);
  }

  /** No more requests: a well-behaved process ends now. */
  closeInput(): void {
    this.#child.stdin!.end();
  }

  /** Ends the process that we started: SIGTERM, a second later SIGKILL. `why` becomes part of its end. */
  stop(why?: string): Promise<PeerEnd> {
    if (this.#end === undefined) {
      this.#stopped ??= why;
      this.#signal('SIGTERM');
      setTimeout(() => this.#signal('SIGKILL'), GRACE_MS).unref();
    }
    return this.ended;
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      this.#child.kill(signal); // the group is gone or was never made
    }
  }

  #read(stream: Readable, onFrame: (frame: Frame) => void): void {
    const decoder = new FrameDecoder();
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      if (this.#garbage !== undefined) return;
      try {
        for (const frame of decoder.push(chunk)) {
          if (frame.malformed !== undefined) throw new Error(frame.malformed);
          onFrame(frame);
        }
        decoder.push(NOTHING); // says so if what follows those frames is no frame
      } catch (error) {
        this.#garbage = (error as Error).message;
        this.#log.add(`\n[not a frame] ${JSON.stringify(chunk.subarray(0, 200).toString('latin1'))}\n`);
        this.#signal('SIGKILL'); // it is not the program that we think it is
      }
    });
  }

  #watch(): Promise<PeerEnd> {
    let drain: NodeJS.Timeout | undefined;
    return new Promise((resolve) => {
      const finish = (code: number | null, signal: string | null, not_started?: string) => {
        clearTimeout(drain);
        if (this.#end !== undefined) return;
        this.#end = {
          code,
          signal,
          not_started,
          garbage: this.#garbage,
          stopped: this.#stopped,
          log: this.log,
        };
        for (const stream of this.#child.stdio) stream?.destroy();
        resolve(this.#end);
      };
      this.#child.on('error', (error) => finish(null, null, error.message));
      this.#child.on('close', finish);
      // A grandchild may hold the pipes open for ever: then do not wait for 'close'.
      this.#child.on('exit', (code, signal) => {
        drain = setTimeout(() => finish(code, signal), GRACE_MS);
      });
    });
  }
}

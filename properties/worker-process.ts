/**
 * The parent's side of a worker: starts it, sends one request at a time, watches that events keep coming, and tells
 * how it ended if it did. The build of this folder is what runs, also when the parent runs from the sources.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { IsobatchError } from '../contract/errors.ts';
import { errorOf } from './protocol.ts';
import type { SubjectSpec } from './subjects/registry.ts';
import type { Event, Request } from './worker-messages.ts';
import { endInWords, endKind, Peer, type PeerEnd } from './worker-peer.ts';

export interface WorkerOptions {
  readonly fault?: string;
  /** Without an event for this long while a case runs, the worker hangs. */
  readonly watchdog_s: number;
  /** The same before the first case of a request: models are loaded, kernels may be compiled. */
  readonly setup_watchdog_s: number;
}

/** How much longer than a call of the subject a case may take where the subject has a process of its own. */
const OWN_WORK = 20;

/**
 * The watchdogs of a worker. A subject in the worker's process hangs with it; one in a process of its own is watched
 * call by call (`Setting.call_timeout_s`), and what the worker does besides, such as measuring bounds on copies of a
 * model, is no hang of the subject.
 */
export function watchdogsOf(
  subject: SubjectSpec,
  watchdog_s: number,
  setup_s = 300,
): Pick<WorkerOptions, 'watchdog_s' | 'setup_watchdog_s'> {
  const apart = subject.kind === 'llama' || subject.kind === 'command';
  const own = apart ? OWN_WORK * watchdog_s : watchdog_s;
  return { watchdog_s: own, setup_watchdog_s: Math.max(own, setup_s) };
}

/** The worker ended before it had answered. */
export interface Death {
  readonly end: PeerEnd;
  /** What it had announced last. */
  readonly announced?: Event & ({ event: 'case' } | { event: 'step' });
}

export interface Answer {
  readonly answer?: unknown;
  readonly death?: Death;
}

/** Where the compiled worker is. Throws `file` if nothing was built. */
export function workerFile(): string {
  const here = new URL('.', import.meta.url);
  const built = import.meta.url.endsWith('.ts') ? '../dist/properties/worker-main.js' : 'worker-main.js';
  const file = fileURLToPath(new URL(built, here));
  if (!existsSync(file))
    throw new IsobatchError('file', `there is no build at ${file}: run "npm run build"`, { file });
  return file;
}

export class WorkerProcess {
  readonly #options: WorkerOptions;
  readonly #peer: Peer;
  #onEvent: ((event: Event) => void) | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { NODE_OPTIONS: _, ...inherited } = process.env; // a debugger or coverage of the parent is not for workers
    this.#peer = new Peer({
      file: process.execPath,
      args: [workerFile()],
      channel: 3,
      env: { ...inherited, ISOBATCH_FAULT: options.fault ?? '' },
      onFrame: (frame) => this.#onEvent?.(frame.header as unknown as Event),
    });
  }

  get alive(): boolean {
    return this.#peer.alive;
  }

  /**
   * Sends a request and passes its events on. Throws the error that the worker reports; a death is an answer, since
   * it is what a campaign looks for.
   */
  async run(request: Request, onEvent: (event: Event) => void = () => {}): Promise<Answer> {
    let announced: Death['announced'];
    let timer: NodeJS.Timeout | undefined;
    const watch = (seconds: number) => {
      clearTimeout(timer);
      timer = setTimeout(
        () => void this.#peer.stop(`showed no progress for ${seconds} s and was ended`),
        seconds * 1000,
      );
    };
    watch(this.#options.setup_watchdog_s);
    const answered = new Promise<Answer>((resolve, reject) => {
      this.#onEvent = (event) => {
        if (event.event === 'done') return resolve({ answer: event.answer });
        if (event.event === 'error') return reject(errorOf(event.error));
        if (event.event === 'case' || event.event === 'step') announced = event;
        watch(announced === undefined ? this.#options.setup_watchdog_s : this.#options.watchdog_s);
        onEvent(event);
      };
      void this.#peer.ended.then((end) => resolve({ death: { end, announced } }));
    });
    this.#peer.send(request);
    try {
      return await answered;
    } finally {
      clearTimeout(timer);
      this.#onEvent = undefined;
    }
  }

  /** As `run`, for requests in which a death is an error of kind `subject`. */
  async ask(request: Request, what: string, onEvent?: (event: Event) => void): Promise<unknown> {
    const answer = await this.run(request, onEvent);
    if (answer.death === undefined) return answer.answer;
    throw deathError(answer.death.end, what);
  }

  /** Ends the process: gently if it is idle, within a second in any case. */
  stop(): Promise<PeerEnd> {
    return this.#peer.stop('was ended because the campaign is over');
  }
}

/** A worker that died outside any case: kind `subject`. */
export function deathError(end: PeerEnd, what: string): IsobatchError {
  const log = end.log.trim();
  const words = log === '' ? '' : `; its last words: ${log.split('\n').at(-1)!.trim().slice(0, 200)}`;
  return new IsobatchError('subject', `the process ${endInWords(end)} while it ${what}${words}`, {
    end: endKind(end),
    code: end.code,
    signal: end.signal,
    log: end.log,
  });
}

/**
 * Runs the tasks of a campaign on J workers and sums up. A worker that dies or hangs is a finding: its case is named
 * (blocks are run again one by one), its last words are kept, it is replaced, and the work goes on after that case.
 * All sums are over cases, so that nothing depends on J or on who ran what.
 */
import type { IsobatchError } from '../contract/errors.ts';
import { type Task, TaskQueue, type Unit } from './campaign-plan.ts';
import type { Case, Coverage, Failure } from './types.ts';
import {
  addCoverage,
  addTally,
  type CampaignRequest,
  type Event,
  emptyTally,
  type Setting,
  type Tally,
} from './worker-messages.ts';
import { endInWords, endKind, type PeerEnd } from './worker-peer.ts';
import { type Answer, deathError, type WorkerOptions, WorkerProcess } from './worker-process.ts';

/** Deaths of subjects before any case of a task, in a whole campaign, after which it ends. */
const MOST_UNPREPARED = 3;
/** Deaths in one unit after which the rest of it is left alone: each costs a new process, a hang the watchdog. */
const MOST_DEATHS = 5;

export interface UnitState {
  readonly unit: Unit;
  readonly tally: Tally;
  readonly coverage: Coverage;
  /** By signature: the failure with the lowest index. */
  readonly failures: Map<string, { failure: Failure; log?: string }>;
  fingerprint?: string;
  deaths: number;
  busy_ms: number;
  /** One after the highest case number that ran. */
  end: number;
}

export interface RunOptions {
  readonly setting: Setting;
  readonly worker: WorkerOptions;
  readonly jobs: number;
  readonly max_failures: number;
  /** Signatures that do not count as failures. */
  readonly known?: ReadonlySet<string>;
  readonly signal?: AbortSignal;
  /** Called after each piece of news. */
  readonly onProgress?: () => void;
}

type Outcome = Event & { event: 'outcome' };

export class CampaignRun {
  readonly units: readonly UnitState[];
  /** Stopped early because of too many failures. */
  stopped = false;
  /** What is being worked on. */
  current: string | undefined;
  readonly #options: RunOptions;
  readonly #queue: TaskQueue;
  readonly #workers = new Set<WorkerProcess>();
  /** Of subjects, before any case of a task. */
  #deaths = 0;

  constructor(units: readonly Unit[], options: RunOptions, deadline?: number) {
    this.#options = options;
    this.#queue = new TaskQueue(units, deadline);
    this.units = units.map((unit) => ({
      unit,
      tally: emptyTally(),
      coverage: {},
      failures: new Map(),
      deaths: 0,
      busy_ms: 0,
      end: unit.first,
    }));
  }

  /** Runs everything. Throws what a worker reports as an error, or `subject` if one dies outside any case. */
  async run(): Promise<void> {
    const { signal, jobs } = this.#options;
    const abort = () => {
      this.#queue.closeAll();
      for (const worker of this.#workers) void worker.stop();
    };
    signal?.addEventListener('abort', abort);
    try {
      await Promise.all(Array.from({ length: jobs }, (_, lane) => this.#lane(lane)));
    } catch (error) {
      abort();
      if (!signal?.aborted) throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
      await Promise.all([...this.#workers].map((worker) => worker.stop()));
    }
  }

  /** One worker after another, task after task. */
  async #lane(lane: number): Promise<void> {
    let worker: WorkerProcess | undefined;
    let current: Unit | undefined;
    for (let task = this.#queue.next(lane); task !== undefined; task = this.#queue.next(lane, current)) {
      if (this.#options.signal?.aborted) return;
      current = task.unit;
      this.current = `${current.property.name} on ${current.model}`;
      worker = this.#living(worker);
      const state = this.units.find((u) => u.unit === task!.unit)!;
      const began = performance.now();
      await this.#task(worker, task, state);
      state.busy_ms += performance.now() - began;
      if (this.#signatures() >= this.#options.max_failures && !this.stopped) {
        this.stopped = true;
        this.#queue.closeAll();
      }
    }
  }

  /** Histograms by property, over all models. */
  coverage(): Record<string, Coverage> {
    const out: Record<string, Coverage> = {};
    for (const { unit, coverage } of this.units) {
      const { name } = unit.property;
      out[name] ??= {};
      addCoverage(out[name], coverage);
    }
    return out;
  }

  #living(worker: WorkerProcess | undefined): WorkerProcess {
    if (worker?.alive) return worker;
    if (worker !== undefined) this.#workers.delete(worker);
    const fresh = new WorkerProcess(this.#options.worker);
    this.#workers.add(fresh);
    return fresh;
  }

  #signatures(): number {
    const found = new Set(this.units.flatMap((u) => [...u.failures.keys()]));
    for (const signature of this.#options.known ?? []) found.delete(signature);
    return found.size;
  }

  async #task(worker: WorkerProcess, task: Task, state: UnitState): Promise<void> {
    const { setting, signal } = this.#options;
    const request: CampaignRequest = {
      verb: 'campaign',
      setting,
      property: task.unit.property.name,
      model: task.unit.model,
      first: task.first,
      count: task.count,
      block: task.block,
      fingerprint: task.first === task.unit.first,
    };
    let next = task.first;
    let ran: Answer;
    try {
      ran = await worker.run(request, (event) => {
        if (event.event === 'setup') {
          this.current = event.what;
          this.#options.onProgress?.();
        }
        if (event.event !== 'outcome') return;
        this.#sum(state, event);
        next = event.first + event.count;
      });
    } catch (error) {
      return this.#unprepared(worker, task, state, next, error);
    }
    const { answer, death } = ran as Answer & { answer?: { fingerprint?: string } };
    if (answer?.fingerprint !== undefined) state.fingerprint = answer.fingerprint;
    if (death === undefined) {
      if (task.suspect !== undefined) await this.#unnamed(state, task, task.suspect);
      return;
    }
    if (signal?.aborted) return;
    const announced = death.announced;
    if (announced?.event !== 'case')
      throw deathError(death.end, `prepared ${request.property} on ${request.model}`);
    await this.#died(state, task, next, announced, death.end);
  }

  /**
   * The subject's process died while a worker got it ready, so no case is to blame: a finding, and another worker goes
   * on, unless that happens again and again. Throws every other error.
   */
  async #unprepared(
    worker: WorkerProcess,
    task: Task,
    state: UnitState,
    next: number,
    error: unknown,
  ): Promise<void> {
    const { kind, detail = {}, message } = error as Partial<IsobatchError>;
    if (kind !== 'subject' || detail.end === undefined || ++this.#deaths > MOST_UNPREPARED) throw error;
    const c = await this.#generate(state.unit, next);
    const signature = `${c.property}/${state.unit.family}/died: ${detail.end}, before a case`;
    const difference = {
      what: 'the process of the subject',
      got: String(detail.end),
      want: 'a loaded model',
    };
    const failure = { case: c, message: `${message}, before case ${next}`, difference, signature };
    this.#finding(state, failure, String(detail.log ?? ''), false);
    this.#queue.giveBack({ ...task, first: next, count: task.first + task.count - next });
    // It keeps what it could not load.
    await worker.stop();
  }

  /** What is left of a task whose worker died in the announced block. */
  async #died(
    state: UnitState,
    task: Task,
    next: number,
    block: { first: number; count: number },
    end: PeerEnd,
  ): Promise<void> {
    const after = block.first + block.count;
    const rest = { ...task, suspect: undefined };
    this.#queue.giveBack({ ...rest, first: after, count: task.first + task.count - after });
    // Done, but its sums were lost with the worker.
    this.#queue.giveBack({ ...rest, first: next, count: block.first - next });
    if (block.count > 1) {
      this.#queue.giveBack({ unit: task.unit, ...block, block: 1, suspect: end });
      return;
    }
    await this.#crash(state, block.first, end);
  }

  /** A case that took its worker with it. */
  async #crash(state: UnitState, index: number, end: PeerEnd): Promise<void> {
    const c = await this.#generate(state.unit, index);
    const failure = deathFailure(c, state.unit.family, end);
    this.#finding(state, failure, end.log);
    if (++state.deaths >= MOST_DEATHS) this.#queue.close(state.unit);
  }

  /** A block brought a worker down, none of its cases alone does: still a finding, of the block. */
  async #unnamed(state: UnitState, task: Task, end: PeerEnd): Promise<void> {
    const c = await this.#generate(state.unit, task.first);
    const died = deathFailure(c, state.unit.family, end);
    const message = `${died.message}, somewhere in cases ${task.first}..${task.first + task.count}; run one by one, none of them does it`;
    this.#finding(
      state,
      { ...died, message, signature: `${died.signature}, not repeatable` },
      end.log,
      false,
    );
  }

  #finding(state: UnitState, failure: Failure, log: string, counts = true): void {
    const { index } = failure.case;
    const tally = emptyTally();
    tally.cases = tally.failed = counts ? 1 : 0;
    tally.signatures[failure.signature] = 1;
    this.#sum(state, { first: index, count: counts ? 1 : 0, tally, coverage: {}, failures: [failure] }, log);
  }

  /** Asks a new worker what the case was; if even that is too much, the number alone must do. */
  async #generate(unit: Unit, index: number): Promise<Case> {
    const { setting } = this.#options;
    const { name } = unit.property;
    const worker = this.#living(undefined);
    try {
      const request = { verb: 'generate', setting, property: name, model: unit.model, index } as const;
      return (await worker.ask(request, `generated case ${index} of ${name}`)) as Case;
    } catch {
      return { version: 1, property: name, model: unit.model, seed: setting.seed, index };
    } finally {
      this.#workers.delete(worker);
      void worker.stop();
    }
  }

  #sum(state: UnitState, part: Omit<Outcome, 'event'>, log?: string): void {
    addTally(state.tally, part.tally);
    addCoverage(state.coverage, part.coverage);
    state.end = Math.max(state.end, part.first + part.count);
    for (const failure of part.failures) {
      const known = state.failures.get(failure.signature);
      if (known === undefined || failure.case.index < known.failure.case.index)
        state.failures.set(failure.signature, { failure, log });
    }
    this.#options.onProgress?.();
  }
}

/** The failure that stands for a process that died. */
export function deathFailure(c: Case, family: string, end: PeerEnd): Failure {
  const kind = endKind(end);
  return {
    case: c,
    message: `the process that ran the case ${endInWords(end)}`,
    difference: { what: 'the process of the subject', got: kind, want: 'an answer or a refusal' },
    signature: `${c.property}/${family}/died: ${kind}`,
  };
}

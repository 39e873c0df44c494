/**
 * Shrinks the first failure of a signature in a worker, and explains what is left of it. The shrinking itself is
 * `shrinker.ts`; here is what to do when a smaller case takes the worker with it: if that is the failure, it is a step
 * forward, else the candidate is left out; either way a new worker goes on from the smallest case so far.
 */
import { IsobatchError } from '../contract/errors.ts';
import { deathFailure } from './campaign-run.ts';
import type { Case, Failure } from './types.ts';
import type { Event, ExplainAnswer, Setting } from './worker-messages.ts';
import { type Death, type WorkerOptions, WorkerProcess } from './worker-process.ts';

export interface ShrinkJob {
  readonly failure: Failure;
  readonly family: string;
  readonly setting: Setting;
  readonly worker: WorkerOptions;
  readonly seconds: number;
  readonly signal?: AbortSignal;
}

export interface Shrunk {
  readonly failure: Failure;
  readonly tried: number;
  readonly accepted: number;
}

/** A candidate that takes a quarter of the time hangs; a subject in a process of its own is watched there. */
function watchdogOf(job: ShrinkJob): WorkerOptions {
  const { kind } = job.setting.subject;
  if (kind === 'llama' || kind === 'command') return job.worker;
  return { ...job.worker, watchdog_s: Math.min(job.worker.watchdog_s, Math.max(1, job.seconds / 4)) };
}

/** The same limit for the calls of such a subject, where a hang is what is shrunk. */
function settingOf({ setting, failure, seconds }: ShrinkJob): Setting {
  if (!failure.signature.includes('hang')) return setting;
  return { ...setting, call_timeout_s: Math.min(setting.call_timeout_s, Math.max(1, seconds / 4)) };
}

export async function shrinkFailure(job: ShrinkJob): Promise<Shrunk> {
  const deadline = Date.now() + job.seconds * 1000;
  const state = { best: job.failure, tried: 0, accepted: 0, skip: [] as string[], unprepared: 0 };
  let worker: WorkerProcess | undefined;
  const abort = () => void worker?.stop();
  job.signal?.addEventListener('abort', abort);
  try {
    while (Date.now() < deadline && !job.signal?.aborted) {
      await worker?.stop();
      worker = new WorkerProcess(watchdogOf(job));
      if (await attempt(worker, job, deadline, state)) break;
    }
    if (!job.signal?.aborted) {
      if (!worker?.alive) worker = new WorkerProcess(watchdogOf(job));
      state.best = await explained(worker, job.setting, state.best);
    }
  } finally {
    job.signal?.removeEventListener('abort', abort);
    await worker?.stop();
  }
  return { failure: state.best, tried: state.tried, accepted: state.accepted };
}

/** Time for explaining one failure. */
const EXPLAIN_MS = 2000;

/**
 * The failure with its explanation, made by a living worker in two seconds, and with what probe models say. If a
 * variation or a probe brings the worker down or cannot be run, with what was known until then.
 */
export async function explained(worker: WorkerProcess, setting: Setting, failure: Failure): Promise<Failure> {
  let found: Partial<ExplainAnswer> = {};
  const request = { verb: 'explain', setting, failure, milliseconds: EXPLAIN_MS } as const;
  const onEvent = (event: Event) => {
    if (event.event === 'explained') found = { explanation: event.explanation };
  };
  try {
    const { answer, death } = await worker.run(request, onEvent);
    if (death === undefined) found = answer as ExplainAnswer;
  } catch (error) {
    // A variation that the subject cannot even begin must not cost the finding.
    if (!(error instanceof IsobatchError)) throw error;
  }
  return { ...failure, ...found };
}

interface State {
  best: Failure;
  tried: number;
  accepted: number;
  skip: string[];
  /** Workers whose subject did not even load the model. */
  unprepared: number;
}

const MOST_UNPREPARED = 3;

/** One worker's part; true if there is nothing left to try. */
async function attempt(
  worker: WorkerProcess,
  job: ShrinkJob,
  deadline: number,
  state: State,
): Promise<boolean> {
  let candidate: Case | undefined;
  const onEvent = (event: Event) => {
    if (event.event === 'step') {
      state.tried++;
      state.skip.push(event.key);
      candidate = event.case;
    }
    // Whoever begins again from the last sure case needs it again.
    if (event.event === 'taken') state.skip.pop();
    if (event.event === 'smaller') {
      state.accepted++;
      state.best = event.failure;
    }
  };
  const milliseconds = deadline - Date.now();
  const setting = settingOf(job);
  const request = { verb: 'shrink', setting, failure: state.best, milliseconds, skip: state.skip } as const;
  let death: Death | undefined;
  try {
    ({ death } = await worker.run({ ...request }, onEvent));
  } catch (error) {
    // The subject's process died before there was a case to blame: another worker may get further.
    if (!(error instanceof IsobatchError) || error.kind !== 'subject') throw error;
    return ++state.unprepared >= MOST_UNPREPARED;
  }
  if (death === undefined) return true;
  if (job.signal?.aborted || candidate === undefined) return true; // cannot even begin: keep what there is
  const failure = deathFailure(candidate, job.family, death.end);
  if (failure.signature === job.failure.signature) {
    state.accepted++;
    state.best = failure;
  }
  return false;
}

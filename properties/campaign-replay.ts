/** Runs one given case in a worker, as a campaign does: a crash or a hang is its outcome. */
import { callTimeout } from './campaign.ts';
import { deathFailure } from './campaign-run.ts';
import { explained } from './campaign-shrink.ts';
import type { SubjectSpec } from './subjects/registry.ts';
import type { Case, Outcome, Reference } from './types.ts';
import type { ReplayAnswer } from './worker-messages.ts';
import { deathError, WorkerProcess, watchdogsOf } from './worker-process.ts';

export interface ReplayOptions {
  readonly subject: SubjectSpec;
  readonly fault?: string;
  readonly isa?: string;
  /** Chance of a false alarm in one comparison with a derived bound, default 1e-10. */
  readonly p?: number;
  readonly watchdog_s?: number;
  readonly reference?: Reference;
  readonly properties_module?: string;
  readonly signal?: AbortSignal;
  /** Also say what matters for the failure, in two seconds more: `outcome.failure.explanation`. */
  readonly explain?: boolean;
}

/** The facts beside the outcome are missing if the process died. */
export interface Replayed extends Partial<ReplayAnswer> {
  readonly outcome: Outcome;
  /** Last words, if the process died. */
  readonly log?: string;
}

/** Throws `usage`, `file`, `gguf` or `model` if the case cannot be run, `subject` if it dies before the case. */
export async function replayCase(c: Case, options: ReplayOptions): Promise<Replayed> {
  const watchdog_s = options.watchdog_s ?? 30;
  const { fault } = options;
  const worker = new WorkerProcess({ fault, ...watchdogsOf(options.subject, watchdog_s) });
  const abort = () => void worker.stop();
  options.signal?.addEventListener('abort', abort);
  const setting = {
    subject: options.subject,
    seed: c.seed,
    restrict: options.isa === undefined ? {} : { isa: options.isa },
    fault,
    p: options.p,
    reference: options.reference,
    properties_module: options.properties_module,
    call_timeout_s: callTimeout(watchdog_s),
  };
  try {
    const { answer, death } = await worker.run({ verb: 'replay', setting, case: c });
    if (death === undefined) {
      const replayed = answer as ReplayAnswer;
      const { failure } = replayed.outcome;
      if (!options.explain || failure === undefined || options.signal?.aborted) return replayed;
      return {
        ...replayed,
        outcome: { ...replayed.outcome, failure: await explained(worker, setting, failure) },
      };
    }
    if (death.announced === undefined) throw deathError(death.end, 'prepared the case');
    const failure = deathFailure(c, c.model, death.end);
    const none = { compared: 0, equal: 0, rounding: 0, divergent: 0, tokens: 0 };
    return { outcome: { status: 'failed', ...none, failure }, log: death.end.log };
  } finally {
    options.signal?.removeEventListener('abort', abort);
    await worker.stop();
  }
}

/** The exhaustive small scope as an item of a campaign: its parts in workers, with its own statement in the report. */
import type { FailureRecord, ScopePart, ScopeResult, Status } from './campaign-result.ts';
import type { Failure } from './types.ts';
import type { ScopeAnswer, Setting } from './worker-messages.ts';
import { endInWords } from './worker-peer.ts';
import { type WorkerOptions, WorkerProcess } from './worker-process.ts';
import { SCOPE_RULES, SMALL_SCOPE } from './worker-scope.ts';

export { SMALL_SCOPE };

/** Models on which the small scope runs end to end, if the campaign has them: one of each kind of memory. */
const SCOPE_MODELS = ['recipe:llama', 'recipe:mamba'];

export interface ScopeJob {
  readonly setting: Setting;
  readonly worker: WorkerOptions;
  readonly jobs: number;
  readonly models: readonly string[];
  readonly signal?: AbortSignal;
  readonly onProgress?: (what: string) => void;
}

export interface ScopeItem {
  readonly result: ScopeResult;
  readonly failures: FailureRecord[];
}

type PartDone = readonly [part: ScopePart, failures: readonly Failure[]];

export async function runScopeItem(job: ScopeJob): Promise<ScopeItem> {
  const began = performance.now();
  const names = [...SCOPE_RULES, ...SCOPE_MODELS.filter((model) => job.models.includes(model))];
  const done: PartDone[] = new Array(names.length);
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < names.length && !job.signal?.aborted; i = next++) {
      job.onProgress?.(names[i]!);
      done[i] = await runPart(job, names[i]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(job.jobs, names.length) }, lane));
  const finished = done.filter(Boolean);
  const parts = finished.map(([part]) => part);
  return {
    result: {
      status: joined(parts, job.signal?.aborted ?? false),
      cases: parts.reduce((sum, part) => sum + part.enumerated, 0),
      parts,
      elapsed_s: (performance.now() - began) / 1000,
    },
    failures: finished.flatMap(([part, failures]) => records(failures, part.failed)),
  };
}

function joined(parts: readonly ScopePart[], aborted: boolean): Status {
  const has = (status: Status) => parts.some((part) => part.status === status);
  if (has('failed')) return 'failed';
  if (aborted || has('not run')) return 'not run';
  return has('passed') ? 'passed' : 'skipped';
}

async function runPart(job: ScopeJob, name: string): Promise<PartDone> {
  const began = performance.now();
  const elapsed = () => ({ name, elapsed_s: (performance.now() - began) / 1000 });
  // A part is one long case: it may take as long as the preparation of a model.
  const worker = new WorkerProcess(job.worker);
  const abort = () => void worker.stop();
  job.signal?.addEventListener('abort', abort);
  try {
    const { answer, death } = await worker.run({ verb: 'scope', setting: job.setting, part: name });
    if (job.signal?.aborted)
      return [{ ...elapsed(), ...NOTHING, status: 'not run', reason: 'interrupted' }, []];
    if (death !== undefined) {
      const reason = `its process ${endInWords(death.end)}`;
      return [{ ...elapsed(), ...NOTHING, status: 'failed', reason }, []];
    }
    return partOf(elapsed(), answer as ScopeAnswer);
  } finally {
    job.signal?.removeEventListener('abort', abort);
    await worker.stop();
  }
}

const NOTHING = { enumerated: 0, legal: 0, refused: 0, compared: 0, failed: 0 };

/** An enumeration that did not look at as many inputs as there are has failed, whatever it found. */
function partOf(base: { name: string; elapsed_s: number }, answer: ScopeAnswer): PartDone {
  if ('skipped' in answer) return [{ ...base, ...NOTHING, status: 'skipped', reason: answer.skipped }, []];
  const { enumerated, formula, legal, refused, compared, failed, failures } = answer;
  const counts = { enumerated, legal, refused, compared, failed };
  if (enumerated !== formula || legal + refused !== enumerated) {
    const reason = `${enumerated} inputs were looked at (${legal} legal, ${refused} refused); there are ${formula}`;
    return [{ ...base, ...counts, status: 'failed', reason }, failures];
  }
  const status = failed > 0 ? 'failed' : compared > 0 ? 'passed' : 'not run';
  return [{ ...base, ...counts, status }, failures];
}

/** One record a signature. Nothing to shrink: the small scope goes from small to large. */
function records(failures: readonly Failure[], failed: number): FailureRecord[] {
  const first = new Map<string, { failure: Failure; count: number }>();
  for (const failure of failures) {
    const known = first.get(failure.signature);
    if (known === undefined) first.set(failure.signature, { failure, count: 1 });
    else known.count++;
  }
  // Only the first are told in full; where all are of one kind it is known how many there are.
  return [...first].map(([signature, { failure, count: told }]) => {
    const count = first.size === 1 ? failed : told;
    const { property, model } = failure.case;
    const shrink = { tried: 0, accepted: 0 };
    return { signature, property, model, scope: true, count, failure, original: failure.case, shrink };
  });
}

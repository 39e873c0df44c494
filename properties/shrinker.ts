/**
 * Makes a failing case smaller: greedily takes the first candidate of `Property.shrink` that fails with the same
 * signature, and starts again from it, until none does or the time is up. Keeping the signature keeps the finding: a
 * smaller case that fails differently is another bug.
 */
import { createHash } from 'node:crypto';
import type { Case, Env, Failure, Outcome, Property } from './types.ts';

export interface ShrinkOptions {
  /** When to stop: milliseconds since the epoch. */
  readonly deadline: number;
  /** Keys of candidates that must not be run (again). */
  readonly skip?: Iterable<string>;
  /** Called before a candidate runs: it may take the process with it. */
  readonly announce?: (c: Case, key: string) => void;
  /** Called with each smaller case. */
  readonly smaller?: (failure: Failure) => void;
  readonly run: (c: Case) => Promise<Outcome>;
}

export interface ShrinkResult {
  readonly failure: Failure;
  readonly tried: number;
  readonly accepted: number;
}

/** Names the content of a case, for not trying it twice. */
export function caseKey(c: Case): string {
  return createHash('sha256').update(JSON.stringify(c)).digest('hex').slice(0, 16);
}

export async function shrinkCase(
  property: Property,
  env: Env,
  failure: Failure,
  options: ShrinkOptions,
): Promise<ShrinkResult> {
  const seen = new Set<string>(options.skip);
  let best = failure;
  let tried = 0;
  let accepted = 0;
  for (let better: Failure | null = best; better !== null; ) {
    better = null;
    for (const candidate of property.shrink(env, best.case)) {
      if (Date.now() >= options.deadline) return { failure: best, tried, accepted };
      const key = caseKey(candidate);
      if (seen.has(key)) continue;
      seen.add(key);
      tried++;
      options.announce?.(candidate, key);
      const outcome = await options.run(candidate);
      if (outcome.failure?.signature !== failure.signature) continue;
      accepted++;
      best = better = outcome.failure;
      options.smaller?.(best);
      break;
    }
  }
  return { failure: best, tried, accepted };
}

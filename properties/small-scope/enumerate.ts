/**
 * Every batch of a small scope: 1 .. max_tokens tokens, each with any non-empty set of n_seq sequences. A batch is a
 * number written in base 2^n_seq - 1; nothing is drawn and nothing is left out, so the count is a formula.
 */
import type { Batch, CompleteBatch } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';

/** All non-empty subsets of 0 .. n_seq-1, ascending as bit masks. */
export function idSets(n_seq: number): (readonly number[])[] {
  const sets: number[][] = [];
  for (let mask = 1; mask < 1 << n_seq; mask++) {
    const ids: number[] = [];
    for (let id = 0; id < n_seq; id++) if ((mask >> id) & 1) ids.push(id);
    sets.push(ids);
  }
  return sets;
}

/** Calls `each` with every list of sets; the list is the same array each time. */
export function forEachPattern(
  n_seq: number,
  max_tokens: number,
  each: (seq_id: readonly (readonly number[])[]) => void,
): void {
  const sets = idSets(n_seq);
  for (let n = 1; n <= max_tokens; n++) {
    const count = sets.length ** n;
    const seq_id = new Array<readonly number[]>(n).fill(sets[0]!);
    for (let k = 0; k < count; k++) {
      for (let i = 0, rest = k; i < n; i++, rest = Math.floor(rest / sets.length)) {
        seq_id[i] = sets[rest % sets.length]!;
      }
      each(seq_id);
    }
  }
}

/** How many patterns there are: the sum of (2^n_seq - 1)^n. */
export function patternCount(n_seq: number, max_tokens: number, flags = 1): number {
  let sum = 0;
  for (let n = 1; n <= max_tokens; n++) sum += ((2 ** n_seq - 1) * flags) ** n;
  return sum;
}

/** What a rule set makes of a batch: the completed one, or the kind of refusal. */
export type Completion = { readonly batch: CompleteBatch } | { readonly refused: string };

/** Has the form of `completeBatch` of oracle and engine. */
export type CompleteBatchRule = (
  batch: Batch,
  memory: { posMax(seq: number): number; owned(seq: number): readonly unknown[] },
  limits: { readonly n_vocab: number; readonly n_batch: number; readonly n_seq_max: number },
) => CompleteBatch;

export function completionOf(rule: () => CompleteBatch): Completion {
  try {
    return { batch: rule() };
  } catch (error) {
    if (error instanceof IsobatchError) return { refused: error.kind };
    throw error;
  }
}

/**
 * Runs something that catches very many refusals: without stack traces, which cost ten times what a refusal costs and
 * which nobody reads.
 */
export function withoutStacks<T>(run: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return run();
  } finally {
    Error.stackTraceLimit = limit;
  }
}

export const EMPTY_MEMORY = { posMax: (): number => -1, owned: (): readonly unknown[] => [] };

/**
 * What another subject does with the failures of a campaign. For each failure (the first of its signature) the shrunk
 * case and the original are run on the other subject, with the same models, properties and kernels but without a
 * planted fault. It is **shared** if one of the two fails there with the same signature: the same property, model
 * family and kind of first difference. Values are not compared: two subjects may be wrong in different digits.
 */
import { resolve } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import { type ReplayOptions, replayCase } from './campaign-replay.ts';
import type { FailureRecord } from './campaign-result.ts';
import { type SubjectSpec, subjectSpec } from './subjects/registry.ts';
import type { Case } from './types.ts';
import { SMALL_SCOPE } from './worker-scope.ts';

export interface AgainstResult {
  /** `not comparable`: the case cannot be run there, so it counts. */
  readonly verdict: 'shared' | 'only here' | 'fails differently' | 'not comparable';
  /** What the other subject does with the shrunk case, and with the original if that is another one. */
  readonly shrunk: string;
  readonly original?: string;
}

/** Reads `--against`: "engine", the path of a compiled module, or "cmd:" and a command. Throws `usage`. */
export function againstSpec(text: string): SubjectSpec {
  if (text === 'engine') return { kind: 'engine' };
  if (/^llama:./.test(text)) return subjectSpec('llama', undefined, { lib: text.slice('llama:'.length) });
  if (/^cmd:./.test(text)) return { kind: 'command', command: text.slice('cmd:'.length) };
  if (/\.[mc]?js$/.test(text)) return { kind: 'module', path: resolve(text) };
  throw new IsobatchError(
    'usage',
    `unknown subject ${text} after --against: it is "engine", "llama:" and a release or path, the path of a compiled module (.js, .mjs), or "cmd:" and a command`,
    { subject: text },
  );
}

/** Throws `usage` where both are the same, so that everything would be shared. */
export function checkAgainst(subject: SubjectSpec, fault: string | undefined, against: SubjectSpec): void {
  if (fault !== undefined || JSON.stringify(subject) !== JSON.stringify(against)) return;
  throw new IsobatchError(
    'usage',
    'the subject and that of --against are the same, so there is nothing to compare',
    {
      subject,
    },
  );
}

type Ran = { readonly words: string; readonly outcome: 'same' | 'other' | 'passed' | 'not run' };

async function runThere(c: Case, signature: string, options: ReplayOptions): Promise<Ran> {
  try {
    const { outcome } = await replayCase(c, options);
    if (outcome.status === 'skipped')
      return { words: `not run: ${outcome.reason ?? 'no reason given'}`, outcome: 'not run' };
    if (outcome.status === 'passed')
      return outcome.compared > 0
        ? { words: 'passes', outcome: 'passed' }
        : { words: 'not run: nothing was compared', outcome: 'not run' };
    const found = outcome.failure?.signature;
    if (found === signature) return { words: 'fails in the same way', outcome: 'same' };
    return { words: `fails differently: ${outcome.failure?.message ?? found}`, outcome: 'other' };
  } catch (error) {
    // A model that it does not take, or a property that it does not know.
    if (!(error instanceof IsobatchError) || error.kind === 'internal') throw error;
    return { words: `not run: ${error.message}`, outcome: 'not run' };
  }
}

/** `options` name the other subject. Throws only for bugs of our own. */
export async function compareAgainst(
  record: Pick<FailureRecord, 'failure' | 'original' | 'signature'>,
  options: ReplayOptions,
): Promise<AgainstResult> {
  const { failure, original, signature } = record;
  if (failure.case.property === SMALL_SCOPE)
    return {
      verdict: 'not comparable',
      shrunk: 'not run: an input of the small scope is no case of a property',
    };
  const shrunk = await runThere(failure.case, signature, options);
  const twice = JSON.stringify(original) !== JSON.stringify(failure.case);
  const first = twice && shrunk.outcome !== 'same' ? await runThere(original, signature, options) : undefined;
  const outcomes = [shrunk.outcome, ...(first === undefined ? [] : [first.outcome])];
  return { verdict: verdictOf(outcomes), shrunk: shrunk.words, original: first?.words };
}

function verdictOf(outcomes: readonly Ran['outcome'][]): AgainstResult['verdict'] {
  if (outcomes.includes('same')) return 'shared';
  if (outcomes.includes('other')) return 'fails differently';
  return outcomes.includes('passed') ? 'only here' : 'not comparable';
}

/** What comes out of a campaign: the records that reports are made of. Plain JSON. */
import type { SubjectInfo } from '../contract/subject.ts';
import type { AgainstResult } from './against.ts';
import type { KnownFailure, KnownReport } from './known.ts';
import type { SubjectSpec } from './subjects/registry.ts';
import type { Case, Coverage, Failure, Reference } from './types.ts';
import type { KernelFacts, ModelFacts, Tally } from './worker-messages.ts';

/** `not run`: it applied, but nothing was compared. `excused`: all that failed is known, or shared with `against`. */
export type Status = 'passed' | 'failed' | 'skipped' | 'not run' | 'excused';

/** A property on a model. */
export interface UnitResult {
  readonly property: string;
  /** What the property states, in one sentence. */
  readonly statement?: string;
  readonly model: string;
  readonly white: boolean;
  readonly status: Status;
  /** Why it was skipped, or why it ended early. */
  readonly reason?: string;
  readonly tally: Tally;
  /** Numbers of the cases that were run: [first, one after the last). */
  readonly range: readonly [number, number];
  /** Time that workers spent on it; several at once count several times. */
  readonly busy_s: number;
  /** Hash of the first hundred cases of its generator. */
  readonly fingerprint?: string;
}

/** The first failure of a signature, made as small as time allowed. */
export interface FailureRecord {
  readonly signature: string;
  readonly property: string;
  readonly model: string;
  /** Failed cases with this signature, this one included. */
  readonly count: number;
  readonly failure: Failure;
  /** Before shrinking. */
  readonly original: Case;
  readonly shrink: { readonly tried: number; readonly accepted: number };
  /** Found by the exhaustive small scope. */
  readonly scope?: boolean;
  /** If the process died: its last words. */
  readonly log?: string;
  /** The entry that lists it as known. */
  readonly known?: KnownFailure;
  /** What another subject does with it. */
  readonly against?: AgainstResult;
}

/** A part of the exhaustive small scope. */
export interface ScopePart {
  /** `rules`, `slots`, or a model. */
  readonly name: string;
  readonly status: Status;
  readonly reason?: string;
  /** Inputs that were looked at: all that there are. */
  readonly enumerated: number;
  readonly legal: number;
  readonly refused: number;
  readonly compared: number;
  readonly failed: number;
  readonly elapsed_s: number;
}

/** The exhaustive small scope. */
export interface ScopeResult {
  readonly status: Status;
  /** Inputs that were looked at, in all parts. */
  readonly cases: number;
  readonly parts: readonly ScopePart[];
  readonly elapsed_s: number;
}

/** Everything that was asked for, with defaults filled in. */
export interface CampaignSettings {
  readonly subject: SubjectSpec;
  readonly models: readonly string[];
  readonly properties: readonly string[];
  readonly cases?: number;
  readonly minutes?: number;
  readonly scale?: number;
  /** Nobody has said how many cases: large models get fewer. */
  readonly unsaid?: boolean;
  readonly range?: readonly [number, number];
  readonly seed: string;
  readonly jobs: number;
  readonly isa?: string;
  readonly threads?: readonly number[];
  readonly fault?: string;
  /** Chance of a false alarm in one comparison with a derived bound. */
  readonly p: number;
  readonly shrink_seconds: number;
  readonly max_failures: number;
  readonly watchdog_s: number;
  /** What the property `reference` compared with, if not the oracle. */
  readonly reference?: Reference;
  readonly properties_module?: string;
  /** Failures that do not count. */
  readonly known?: readonly KnownFailure[];
  /** Only what this subject does not show counts. */
  readonly against?: SubjectSpec;
}

export interface CampaignResult {
  /** Version of this record. */
  readonly version: 1;
  readonly isobatch: string;
  readonly ok: boolean;
  /** One sentence. */
  readonly verdict: string;
  readonly settings: CampaignSettings;
  readonly subject: SubjectInfo;
  readonly kernels?: KernelFacts;
  readonly models: readonly ModelFacts[];
  readonly units: readonly UnitResult[];
  /** Those that count ... */
  readonly failures: readonly FailureRecord[];
  /** ... and those that are known, or shared with the subject of `against`. */
  readonly excused: readonly FailureRecord[];
  /** What became of the entries of the list of known failures, if there is one. */
  readonly known?: KnownReport;
  /** The subject that failures were compared with: its name and version. */
  readonly against?: string;
  /** By property. */
  readonly coverage: Readonly<Record<string, Coverage>>;
  /** By property: classes that no case reached. Only filled where enough cases ran to demand them. */
  readonly missing: Readonly<Record<string, readonly string[]>>;
  readonly scope?: ScopeResult;
  readonly interrupted: boolean;
  /** Stopped early because of this many failures. */
  readonly stopped: boolean;
  readonly elapsed_s: number;
  /** Hash over the fingerprints of all units. */
  readonly fingerprint: string;
}

/** 0 holds, 1 violated, 3 nothing compared, 4 interrupted; a violation wins over an interruption. */
export function exitCodeOf(result: CampaignResult): 0 | 1 | 3 | 4 {
  if (violated(result)) return 1;
  if (result.interrupted) return 4;
  return result.ok ? 0 : 3;
}

/** Whether anything was found: a failure, a failed scope, an empty class. */
export function violated(result: Pick<CampaignResult, 'failures' | 'missing' | 'scope'>): boolean {
  return (
    result.failures.length > 0 || Object.keys(result.missing).length > 0 || result.scope?.status === 'failed'
  );
}

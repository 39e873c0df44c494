/**
 * What a campaign and its workers say to each other, in frames: requests on the worker's standard input, events on
 * its descriptor 3. One request at a time; `done` or `error` ends it.
 */
import type { ModelInfo, SubjectInfo } from '../contract/subject.ts';
import type { ErrorRecord } from './protocol.ts';
import type { Sample } from './sample.ts';
import type { SubjectSpec } from './subjects/registry.ts';
import type { Case, Coverage, Difference, Env, Explanation, Failure, Outcome, Reference } from './types.ts';
import { addBounds, type BoundsTally, emptyBounds } from './verdict.ts';

/** What every request says: with what to run. A worker keeps it from one request to the next. */
export interface Setting {
  readonly subject: SubjectSpec;
  readonly seed: string;
  readonly restrict: Env['restrict'];
  /** A planted fault, applied before anything of the engine is loaded. */
  readonly fault?: string;
  /** Chance of a false alarm in one comparison with a derived bound. */
  readonly p?: number;
  /** What the property `reference` compares with; default: the oracle. */
  readonly reference?: Reference;
  /** Module that exports `properties`, instead of the built-in ones. */
  readonly properties_module?: string;
  /** A call of a remote subject that takes longer means that it hangs. */
  readonly call_timeout_s: number;
}

/** Learns what the subject and the models are. */
export interface ProbeRequest {
  readonly verb: 'probe';
  readonly setting: Setting;
  readonly models: readonly string[];
  /** Names of properties; unknown ones are an error of kind `usage`. Empty: all. */
  readonly properties: readonly string[];
}

/** Runs cases first .. first+count-1 of a property on a model. */
export interface CampaignRequest {
  readonly verb: 'campaign';
  readonly setting: Setting;
  readonly property: string;
  readonly model: string;
  readonly first: number;
  readonly count: number;
  /** Cases that are announced together: 1 for end-to-end properties. */
  readonly block: number;
  /** Also hash the first hundred cases. */
  readonly fingerprint: boolean;
}

/** Generates one case without running it: to name the case that brought a worker down. */
export interface GenerateRequest {
  readonly verb: 'generate';
  readonly setting: Setting;
  readonly property: string;
  readonly model: string;
  readonly index: number;
}

/** Runs one given case. */
export interface ReplayRequest {
  readonly verb: 'replay';
  readonly setting: Setting;
  readonly case: Case;
}

/** Makes a failing case smaller. */
export interface ShrinkRequest {
  readonly verb: 'shrink';
  readonly setting: Setting;
  readonly failure: Failure;
  readonly milliseconds: number;
  /** Keys (`caseKey`) of candidates that were tried already, or that bring the worker down. */
  readonly skip: readonly string[];
}

/** Says what matters for a failure, by running variations of its case. */
export interface ExplainRequest {
  readonly verb: 'explain';
  readonly setting: Setting;
  readonly failure: Failure;
  readonly milliseconds: number;
}

/** Runs a part of the exhaustive small scope: `rules`, `slots`, or a model. */
export interface ScopeRequest {
  readonly verb: 'scope';
  readonly setting: Setting;
  readonly part: string;
}

export type Request =
  | ProbeRequest
  | CampaignRequest
  | GenerateRequest
  | ReplayRequest
  | ShrinkRequest
  | ExplainRequest
  | ScopeRequest;

export interface PropertyFacts {
  readonly name: string;
  readonly statement: string;
  readonly white: boolean;
  readonly classes: Readonly<Record<string, readonly string[]>>;
  /** By model (or `rules`): why it does not apply. */
  readonly skip: Readonly<Record<string, string>>;
}

export interface ModelFacts {
  readonly name: string;
  readonly info: ModelInfo;
  readonly sha256: string;
  /** Of a large model: how much of its histories is sampled. */
  readonly sample?: Sample;
}

/** Which kernels the subject runs on, if it is our engine. */
export interface KernelFacts {
  readonly isas: readonly string[];
  /** The library, or why there is none and the portable implementation runs. */
  readonly native: { readonly path: string } | { readonly unavailable: string };
}

export interface ProbeAnswer {
  readonly subject: SubjectInfo;
  readonly models: readonly ModelFacts[];
  /** Models that the subject does not take, and its own words. */
  readonly refused: Readonly<Record<string, ErrorRecord>>;
  readonly properties: readonly PropertyFacts[];
  readonly kernels?: KernelFacts;
}

/** Sums over a number of cases; merging them in any order gives the same. */
export interface Tally {
  cases: number;
  passed: number;
  failed: number;
  /** Cases that were skipped, by reason. */
  skipped: Record<string, number>;
  compared: number;
  equal: number;
  rounding: number;
  divergent: number;
  tokens: number;
  /** Failed cases by signature. */
  signatures: Record<string, number>;
  /** Derived bounds, where they were used. */
  bounds?: BoundsTally;
}

export type Event =
  /** Still alive: a model is being loaded or the like. */
  | { readonly event: 'setup'; readonly what: string }
  /** Announced before it runs. */
  | {
      readonly event: 'case';
      readonly property: string;
      readonly model: string;
      readonly first: number;
      readonly count: number;
    }
  /** Cases first .. first+count-1 are done; the first failures of each signature among them are told in full. */
  | {
      readonly event: 'outcome';
      readonly first: number;
      readonly count: number;
      readonly tally: Tally;
      readonly coverage: Coverage;
      readonly failures: readonly Failure[];
    }
  /** Announced before a smaller case is tried. */
  | { readonly event: 'step'; readonly case: Case; readonly key: string }
  /** The announced case is taken after a look and will be judged in full later. */
  | { readonly event: 'taken' }
  /** A smaller case that fails in the same way, judged in full. */
  | { readonly event: 'smaller'; readonly failure: Failure }
  /** What is known so far: the next variation may bring the worker down. */
  | { readonly event: 'explained'; readonly explanation: Explanation }
  | { readonly event: 'done'; readonly answer?: unknown }
  | { readonly event: 'error'; readonly error: ErrorRecord };

export interface ReplayAnswer {
  readonly outcome: Outcome;
  readonly model_sha256: string;
  /** What the property states, in one sentence. */
  readonly statement: string;
  readonly subject: SubjectInfo;
  /** Undefined for white-box cases. */
  readonly model_info?: ModelInfo;
}

export interface ExplainAnswer {
  readonly explanation: Explanation;
  /** With what the oracle says, where it says something. */
  readonly difference: Difference;
  /** What probe models say about the history; empty if they see nothing wrong. */
  readonly probe: readonly string[];
}

export interface ShrinkAnswer {
  readonly tried: number;
  readonly accepted: number;
}

export type ScopeAnswer =
  | { readonly skipped: string }
  | {
      readonly enumerated: number;
      /** How many there are. */
      readonly formula: number;
      readonly legal: number;
      readonly refused: number;
      readonly compared: number;
      readonly failed: number;
      /** The first ones. */
      readonly failures: readonly Failure[];
    };

export function emptyTally(): Tally {
  return {
    cases: 0,
    passed: 0,
    failed: 0,
    skipped: {},
    compared: 0,
    equal: 0,
    rounding: 0,
    divergent: 0,
    tokens: 0,
    signatures: {},
  };
}

function bump(counts: Record<string, number>, key: string, by = 1): void {
  counts[key] = (counts[key] ?? 0) + by;
}

export function addOutcome(tally: Tally, outcome: Outcome): void {
  tally.cases++;
  if (outcome.status === 'passed') tally.passed++;
  if (outcome.status === 'failed') {
    tally.failed++;
    bump(tally.signatures, outcome.failure?.signature ?? 'failed without saying how');
  }
  if (outcome.status === 'skipped') bump(tally.skipped, outcome.reason ?? 'no reason given');
  for (const field of ['compared', 'equal', 'rounding', 'divergent', 'tokens'] as const)
    tally[field] += outcome[field];
  if (outcome.bounds !== undefined) mergeBounds(tally, outcome.bounds);
}

function mergeBounds(into: Tally, from: BoundsTally): void {
  into.bounds ??= emptyBounds();
  addBounds(into.bounds, from);
}

export function addTally(into: Tally, from: Tally): void {
  for (const field of [
    'cases',
    'passed',
    'failed',
    'compared',
    'equal',
    'rounding',
    'divergent',
    'tokens',
  ] as const)
    into[field] += from[field];
  for (const field of ['skipped', 'signatures'] as const)
    for (const [key, n] of Object.entries(from[field])) bump(into[field], key, n);
  if (from.bounds !== undefined) mergeBounds(into, from.bounds);
}

export function addCoverage(into: Coverage, from: Coverage): void {
  for (const [histogram, classes] of Object.entries(from)) {
    into[histogram] ??= {};
    const counts = into[histogram];
    for (const [name, n] of Object.entries(classes)) bump(counts, name, n);
  }
}

/** What was added to a coverage since a copy of it was taken. */
export function coverageSince(now: Coverage, before: Coverage): Coverage {
  const out: Coverage = {};
  for (const [histogram, classes] of Object.entries(now))
    for (const [name, n] of Object.entries(classes)) {
      const added = n - (before[histogram]?.[name] ?? 0);
      if (added === 0) continue;
      out[histogram] ??= {};
      out[histogram][name] = added;
    }
  return out;
}

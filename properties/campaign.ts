/**
 * A campaign: properties on models, run in workers, failures shrunk, everything summed up in one record. This is
 * what `isobatch verify` runs, and what other programs can call.
 */
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { IsobatchError } from '../contract/errors.ts';
import { checkAgainst } from './against.ts';
import { excuseScope, knownOf, signaturesOf, sortFailures } from './campaign-excuse.ts';
import { checkModelName, DEFAULT_MODELS, LLAMA_MODELS } from './campaign-models.ts';
import { demandsCoverage, planUnits, type Unit } from './campaign-plan.ts';
import type { ReplayOptions } from './campaign-replay.ts';
import type {
  CampaignResult,
  CampaignSettings,
  FailureRecord,
  ScopeResult,
  UnitResult,
} from './campaign-result.ts';
import { CampaignRun, type UnitState } from './campaign-run.ts';
import { runScopeItem, SMALL_SCOPE } from './campaign-scope.ts';
import { shrinkFailure } from './campaign-shrink.ts';
import { concludeUnits, missingOf, verdictOf } from './campaign-verdict.ts';
import { type KnownFailure, knownFor } from './known.ts';
import { isLarge } from './sample.ts';
import { PLAIN_MODELS } from './subjects/plain/subject.ts';
import type { SubjectSpec } from './subjects/registry.ts';
import type { Coverage, Reference } from './types.ts';
import { DEFAULT_P, widthOf } from './verdict.ts';
import { packageVersion } from './version.ts';
import type { ProbeAnswer, Setting } from './worker-messages.ts';
import { type WorkerOptions, WorkerProcess, watchdogsOf } from './worker-process.ts';

export interface VerifyOptions {
  readonly subject?: SubjectSpec;
  /** Default: the recipes and the trained models. */
  readonly models?: readonly string[];
  /** Default: all. */
  readonly properties?: readonly string[];
  /** For each property and model; trained models get a tenth. */
  readonly cases?: number;
  /** Instead of a number of cases: rounds until the time is up. */
  readonly minutes?: number;
  /** Instead: so many times the default campaign. */
  readonly scale?: number;
  /** Only the cases [first, end). */
  readonly range?: readonly [number, number];
  readonly seed?: string;
  /** Worker processes. Default: cores, at most 8. */
  readonly jobs?: number;
  readonly isa?: string;
  /** Numbers of threads that cases choose from, the plain one first; only for subjects that offer them. */
  readonly threads?: readonly number[];
  readonly fault?: string;
  /** Chance of a false alarm in one comparison with a derived bound, default 1e-10. */
  readonly p?: number;
  /** Time for shrinking one failure, default 10, on llama.cpp 5. */
  readonly shrink_seconds?: number;
  /** Stop after this many different failures, default 20, on llama.cpp 60. */
  readonly max_failures?: number;
  /** A worker without progress for this long hangs, default 30. */
  readonly watchdog_s?: number;
  /** The same while models are loaded and kernels compiled, default 300. */
  readonly setup_watchdog_s?: number;
  /** What the property `reference` compares with: the oracle (default), or the subject itself. */
  readonly reference?: Reference;
  /** Module that exports `properties`, instead of the built-in ones. */
  readonly properties_module?: string;
  /** The exhaustive small scope: by default in campaigns that choose neither properties nor a number of cases. */
  readonly scope?: boolean;
  /** Failures that are reported and do not count. */
  readonly known?: readonly KnownFailure[];
  /** Another subject: failures that it shows too do not count. */
  readonly against?: SubjectSpec;
}

export interface Progress {
  readonly stage: 'starting' | 'running' | 'small scope' | 'shrinking' | 'comparing' | 'done';
  /** Cases that ran, and those that will; undefined where time decides. */
  readonly cases: number;
  readonly total?: number;
  readonly failures: number;
  readonly elapsed_s: number;
  /** What is being worked on. */
  readonly what?: string;
}

export interface VerifyHooks {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * A campaign on real llama.cpp, if nobody says how large: cases for each property and model, different failures, and
 * seconds for making one smaller. An answer within five minutes on two cores, with a few dozen failures too.
 */
const LLAMA = { cases: 10, max_failures: 60, shrink_seconds: 5 };

/** Time limit of a call of a remote subject: below the watchdog, so that the worker ends its own child. */
export function callTimeout(watchdog_s: number): number {
  return watchdog_s * 0.8;
}

function usualModelsOf(kind: SubjectSpec['kind']): readonly string[] {
  if (kind === 'llama') return LLAMA_MODELS;
  return kind === 'plain' ? PLAIN_MODELS : DEFAULT_MODELS;
}

/** The options with every default filled in. Throws `usage` on impossible ones. */
export function settingsOf(options: VerifyOptions): CampaignSettings {
  const subject = options.subject ?? { kind: 'engine' };
  const real = subject.kind === 'llama';
  const models = [...new Set(options.models?.length ? options.models : usualModelsOf(subject.kind))];
  for (const model of models) checkModelName(model);
  const unsaid = [options.cases, options.minutes, options.scale, options.range].every((x) => x === undefined);
  widthOf(options.p ?? DEFAULT_P);
  if (options.fault !== undefined && subject.kind !== 'engine')
    throw new IsobatchError('usage', 'a planted fault needs our own engine as the subject', {
      fault: options.fault,
    });
  if (options.against !== undefined) checkAgainst(subject, options.fault, options.against);
  return {
    subject,
    models,
    properties: [...new Set(options.properties ?? [])],
    cases: real && unsaid ? LLAMA.cases : options.cases,
    minutes: options.minutes,
    scale: options.scale,
    ...(unsaid ? { unsaid } : {}),
    range: options.range,
    seed: options.seed ?? 'isobatch',
    jobs: options.jobs ?? Math.min(8, availableParallelism()),
    isa: options.isa,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    fault: options.fault,
    p: options.p ?? DEFAULT_P,
    shrink_seconds: options.shrink_seconds ?? (real ? LLAMA.shrink_seconds : 10),
    max_failures: options.max_failures ?? (real ? LLAMA.max_failures : 20),
    watchdog_s: options.watchdog_s ?? (options.threads === undefined ? 30 : SLOW_WATCHDOG_S),
    reference: options.reference,
    properties_module: options.properties_module,
    known: options.known,
    against: options.against,
  };
}

/** What workers are told. */
export function settingOf(settings: CampaignSettings): Setting {
  return {
    subject: settings.subject,
    seed: settings.seed,
    restrict: {
      ...(settings.isa === undefined ? {} : { isa: settings.isa }),
      ...(settings.threads === undefined ? {} : { n_threads: settings.threads }),
    },
    fault: settings.fault,
    p: settings.p,
    reference: settings.reference,
    properties_module: settings.properties_module,
    call_timeout_s: callTimeout(settings.watchdog_s),
  };
}

/** Asks a worker what the subject, the models and the properties are. */
export async function probeSubject(
  setting: Setting,
  worker: WorkerOptions,
  models: readonly string[],
  properties: readonly string[],
): Promise<ProbeAnswer> {
  const process = new WorkerProcess(worker);
  try {
    const request = { verb: 'probe', setting, models, properties } as const;
    return (await process.ask(request, 'loaded the subject and its models')) as ProbeAnswer;
  } finally {
    await process.stop();
  }
}

/** A model that the user named must load; one of the default set may be of an architecture that the subject lacks. */
function checkProbe(probe: ProbeAnswer, settings: CampaignSettings, named: boolean): void {
  for (const [model, error] of Object.entries(probe.refused))
    if (named || error.kind !== 'model')
      throw new IsobatchError(error.kind as IsobatchError['kind'], error.message, { model, ...error.detail });
  const { isa, threads } = settings;
  if (threads !== undefined && probe.subject.choices?.n_threads === undefined)
    throw new IsobatchError('usage', `${probe.subject.name} offers no number of threads`, { threads });
  if (isa !== undefined && !probe.subject.isas.includes(isa))
    throw new IsobatchError(
      'usage',
      `the subject has no implementation ${isa} here; it has ${probe.subject.isas.join(', ') || 'no choice'}`,
      { isa, known: probe.subject.isas },
    );
}

/** Part of the default campaign that the portable kernels alone can do in about a minute. */
const PORTABLE_PART = 0.02;

/** Without native kernels the default campaign is smaller; what was asked for stays. */
function sizedFor(
  probe: ProbeAnswer,
  settings: CampaignSettings,
  options: Pick<VerifyOptions, 'jobs' | 'watchdog_s'>,
): CampaignSettings {
  const { cases, minutes, range, scale } = settings;
  const chosen = [cases, minutes, range, scale].some((size) => size !== undefined);
  const portable = probe.kernels !== undefined && 'unavailable' in probe.kernels.native;
  const sized = portable && !chosen ? { ...settings, scale: PORTABLE_PART } : settings;
  if (!probe.models.some(({ info }) => isLarge(info))) return sized;
  // Every worker would measure bounds of its own, and one fills the memory bus.
  return { ...sized, jobs: options.jobs ?? 1, watchdog_s: options.watchdog_s ?? SLOW_WATCHDOG_S };
}

/** Seconds that a history of a large model may take, or one of threads that wait for each other. */
const SLOW_WATCHDOG_S = 180;

/**
 * Runs a campaign. Violations are in the result; throws `usage` for unknown names, `file`, `gguf` or `model` for a
 * model that does not load, `subject` if the subject dies before any case.
 */
export async function verify(options: VerifyOptions = {}, hooks: VerifyHooks = {}): Promise<CampaignResult> {
  const asked = settingsOf(options);
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  const workerOf = ({ subject, fault, watchdog_s }: CampaignSettings): WorkerOptions => ({
    fault,
    ...watchdogsOf(subject, watchdog_s, options.setup_watchdog_s),
  });
  const tell = (stage: Progress['stage'], more: Partial<Progress> = {}) =>
    hooks.onProgress?.({ stage, cases: 0, failures: 0, elapsed_s: elapsed(), ...more });

  tell('starting');
  const names = asked.properties.filter((name) => name !== SMALL_SCOPE);
  const probe = await probeSubject(settingOf(asked), workerOf(asked), asked.models, names);
  const settings = sizedFor(probe, asked, options);
  const [setting, worker] = [settingOf(settings), workerOf(settings)];
  checkProbe(probe, settings, (options.models?.length ?? 0) > 0);
  const known = knownFor(settings.known ?? [], probe.subject);
  const signatures = new Set(known.map(({ signature }) => signature));
  const against = await againstOf(settings, worker);
  const onlyScope = settings.properties.length > 0 && names.length === 0;
  const units = onlyScope ? [] : planUnits(probe, settings);
  const deadline = settings.minutes === undefined ? undefined : Date.now() + settings.minutes * 60_000;
  const { jobs, max_failures } = settings;
  const { signal } = hooks;
  const run: CampaignRun = new CampaignRun(
    units,
    {
      setting,
      worker,
      jobs,
      max_failures,
      known: signatures,
      signal,
      onProgress: () => tell('running', countsOf(run, units)),
    },
    deadline,
  );
  const scope = await scopeOf(options, settings, () =>
    runScopeItem({
      setting,
      worker,
      jobs,
      models: settings.models,
      signal,
      onProgress: (what) => tell('small scope', { what }),
    }),
  );
  tell('running');
  await run.run();
  const counts = countsOf(run, units);
  const found = [
    ...(scope?.failures ?? []),
    ...(await shrinkAll(run, {
      setting,
      worker,
      settings,
      known: signatures,
      signal,
      tell: (what) => tell('shrinking', { ...counts, what }),
    })),
  ];
  const sorted = await sortFailures(found, {
    known,
    against: against === undefined ? undefined : { ...against.options, signal },
    tell: (what) => tell('comparing', { ...counts, what }),
  });
  tell('done', counts);
  return conclude({
    settings,
    probe,
    run,
    ...sorted,
    scope: scope?.result,
    against: against?.name,
    elapsed_s: elapsed(),
    signal,
  });
}

/** The other subject is asked who it is before anything runs: if it cannot be opened, that is said at once. */
async function againstOf(
  settings: CampaignSettings,
  worker: WorkerOptions,
): Promise<{ name: string; options: ReplayOptions } | undefined> {
  const { against: subject, isa, watchdog_s, reference, properties_module } = settings;
  if (subject === undefined) return undefined;
  const setting = { ...settingOf(settings), subject, fault: undefined };
  const { name, version } = (await probeSubject(setting, { ...worker, fault: undefined }, [], [])).subject;
  return { name: `${name} ${version}`, options: { subject, isa, watchdog_s, reference, properties_module } };
}

async function scopeOf(
  options: VerifyOptions,
  settings: CampaignSettings,
  run: () => Promise<{ result: ScopeResult; failures: FailureRecord[] }>,
): Promise<{ result: ScopeResult; failures: FailureRecord[] } | undefined> {
  const named = settings.properties.includes(SMALL_SCOPE);
  const whole =
    settings.properties.length === 0 && settings.range === undefined && settings.cases === undefined;
  return (options.scope ?? (named || (whole && options.properties_module === undefined))) ? run() : undefined;
}

function countsOf(
  run: CampaignRun,
  units: readonly Unit[],
): Pick<Progress, 'cases' | 'total' | 'failures' | 'what'> {
  let cases = 0;
  const signatures = new Set<string>();
  for (const u of run.units) {
    cases += u.tally.cases;
    for (const signature of u.failures.keys()) signatures.add(signature);
  }
  const total = units.reduce((sum, u) => sum + (u.skip === undefined ? u.end - u.first : 0), 0);
  return {
    cases,
    total: Number.isFinite(total) ? total : undefined,
    failures: signatures.size,
    what: run.current,
  };
}

interface ShrinkAll {
  readonly setting: Setting;
  readonly worker: WorkerOptions;
  readonly settings: CampaignSettings;
  readonly known: ReadonlySet<string>;
  readonly signal?: AbortSignal;
  readonly tell: (what: string) => void;
}

/** The first failure of each signature (in the order of units, then of cases), shrunk by up to J workers at once. */
async function shrinkAll(run: CampaignRun, options: ShrinkAll): Promise<FailureRecord[]> {
  const found = new Map<
    string,
    { state: UnitState; first: NonNullable<ReturnType<UnitState['failures']['get']>> }
  >();
  const count: Record<string, number> = {};
  for (const state of run.units) {
    for (const [signature, n] of Object.entries(state.tally.signatures))
      count[signature] = (count[signature] ?? 0) + n;
    for (const [signature, first] of state.failures)
      if (!found.has(signature)) found.set(signature, { state, first });
  }
  const jobs = [...found.values()];
  const records: FailureRecord[] = new Array(jobs.length);
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < jobs.length; i = next++) {
      const { state, first } = jobs[i]!;
      records[i] = await shrinkOne(state, first, count, options);
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.settings.jobs, jobs.length) }, lane));
  return records;
}

async function shrinkOne(
  state: UnitState,
  first: { failure: FailureRecord['failure']; log?: string },
  count: Readonly<Record<string, number>>,
  options: ShrinkAll,
): Promise<FailureRecord> {
  const { setting, worker, settings, signal } = options;
  const { signature } = first.failure;
  // Somebody has looked at it already: its time goes to the others.
  const isKnown = options.known.has(signature);
  options.tell(signature);
  const shrunk =
    settings.shrink_seconds > 0 && !signal?.aborted && !isKnown
      ? await shrinkFailure({
          failure: first.failure,
          family: state.unit.family,
          setting,
          worker,
          seconds: settings.shrink_seconds,
          signal,
        })
      : { failure: first.failure, tried: 0, accepted: 0 };
  return {
    signature,
    property: state.unit.property.name,
    model: state.unit.model,
    count: count[signature] ?? 1,
    failure: shrunk.failure,
    original: first.failure.case,
    shrink: { tried: shrunk.tried, accepted: shrunk.accepted },
    log: first.log,
  };
}

interface Parts {
  readonly settings: CampaignSettings;
  readonly probe: ProbeAnswer;
  readonly run: CampaignRun;
  readonly failures: readonly FailureRecord[];
  readonly excused: readonly FailureRecord[];
  readonly scope?: ScopeResult;
  readonly against?: string;
  readonly elapsed_s: number;
  readonly signal?: AbortSignal;
}

function conclude(parts: Parts): CampaignResult {
  const { settings, probe, run, failures, excused, elapsed_s, against } = parts;
  const records = [...failures, ...excused];
  const signatures = signaturesOf(excused);
  const scope = excuseScope(parts.scope, records, signatures);
  const units: readonly UnitResult[] = concludeUnits(run, signatures);
  const coverage: Record<string, Coverage> = run.coverage();
  const interrupted = parts.signal?.aborted ?? false;
  const large = probe.models.some(({ info }) => isLarge(info));
  const whole = demandsCoverage(settings) && !large && !interrupted && !run.stopped;
  const missing = whole ? missingOf(coverage, probe, units) : {};
  const { ok, verdict } = verdictOf({
    units,
    failures,
    excused,
    missing,
    scope,
    interrupted,
    stopped: run.stopped,
  });
  const fingerprint = createHash('sha256');
  for (const u of units) fingerprint.update(`${u.property} ${u.model} ${u.fingerprint ?? ''}\n`);
  return {
    version: 1,
    isobatch: packageVersion(),
    ok,
    verdict,
    settings,
    subject: probe.subject,
    kernels: probe.kernels,
    models: probe.models,
    units,
    failures,
    excused,
    known:
      settings.known === undefined
        ? undefined
        : knownOf(settings.known, probe, run.units, scope, records, interrupted || run.stopped),
    against,
    coverage,
    missing,
    scope,
    interrupted,
    stopped: run.stopped,
    elapsed_s,
    fingerprint: fingerprint.digest('hex').slice(0, 16),
  };
}

/**
 * `isobatch verify --fault all`: the proof that a campaign can fail. Every planted fault and every canary gets the
 * default campaign with three seeds (or as many as are asked for), up to its first failure; what is found first is shrunk for the seed that took
 * longest; of a fault that only one property can see that property alone runs. Equivalent mutants get one campaign to its end, by default most of the default one, and must stay green.
 *
 * The exhaustive small scope is left out, except for the equivalent mutants: it takes no seed, and what it finds says
 * nothing about how soon random cases find it.
 */
import { IsobatchError } from '../contract/errors.ts';
import { type Progress, settingOf, type VerifyOptions, verify } from '../properties/campaign.ts';
import type { CampaignResult, FailureRecord } from '../properties/campaign-result.ts';
import { shrinkFailure } from '../properties/campaign-shrink.ts';
import { properties } from '../properties/registry.ts';
import type { Fault } from './apply.ts';
import { caseSize } from './case-size.ts';
import type { PlantedFault } from './planted.ts';
import { canaries, equivalents, faults, referenceFaults } from './registry.ts';

/** Campaigns a fault gets, if nobody says how many. */
const SEEDS = 3;
/** Part of the default campaign that an equivalent mutant gets, if nobody asks for a size: a green run is a long run. */
const GREEN_PART = 0.8;

export type FaultKind = 'fault' | 'reference' | 'canary' | 'equivalent';
/** `not here`: this machine, or this build, cannot have the fault or the property that finds it. */
export type FaultStatus = 'found' | 'missed' | 'green' | 'false alarm' | 'not here';

/** One campaign on one fault, up to the first failure. */
export interface SeedRun {
  readonly seed: string;
  /** From the start of the program to the start of the workers: the probe, which also compiles patched kernels. */
  readonly startup_s: number;
  /** From the start of the workers (kernels built) until the first failure was known, or the end. */
  readonly seconds: number;
  /** Cases that ran until then, the failing one included. Exact with one worker, else a bound. */
  readonly cases: number;
  readonly found: boolean;
  readonly property?: string;
  readonly model?: string;
  readonly signature?: string;
}

export interface FaultRow {
  readonly name: string;
  readonly kind: FaultKind;
  readonly file: string;
  readonly stands_for: string;
  readonly describe: string;
  readonly status: FaultStatus;
  /** Why it is not here, or what went wrong. */
  readonly reason?: string;
  readonly runs: readonly SeedRun[];
  /** The smallest case of the slowest seed. */
  readonly shrunk?: { readonly tokens: number; readonly calls: number; readonly tried: number };
}

export interface TableHooks {
  readonly signal?: AbortSignal;
  /** Before a campaign, and while it runs. */
  readonly onStep?: (what: string) => void;
  readonly onProgress?: (progress: Progress) => void;
  readonly onRow?: (row: FaultRow) => void;
}

/** Whether a `--fault` names a selection, not one fault: `all`, or a pattern with stars. */
export function selectsFaults(name: string | undefined): name is string {
  return name === 'all' || (name?.includes('*') ?? false);
}

function kindsOf(): [FaultKind, readonly Fault[]][] {
  return [
    ['fault', faults],
    ['reference', referenceFaults],
    ['canary', canaries],
    ['equivalent', equivalents],
  ];
}

/** The faults of a selection, in the order of the registry. Throws `usage` if there are none. */
export function selectedFaults(name: string): [FaultKind, Fault][] {
  const words = name.split('*').map((word) => word.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = new RegExp(`^${words.join('.*')}$`);
  const chosen = kindsOf().flatMap(([kind, list]) =>
    list
      .filter((fault) => name === 'all' || pattern.test(fault.name))
      .map((fault): [FaultKind, Fault] => [kind, fault]),
  );
  if (chosen.length > 0) return chosen;
  throw new IsobatchError('usage', `no planted fault is named like ${name}; --fault list shows all`, {
    name,
  });
}

/**
 * Runs the table. `options` are those of a campaign; `fault` is the selection, `max_failures` is not looked at. Throws
 * what a campaign throws, except where a subject died under a fault. If the signal fires, the rows so far are given.
 */
export async function faultTable(
  options: VerifyOptions,
  hooks: TableHooks = {},
  seeds = SEEDS,
): Promise<FaultRow[]> {
  const rows: FaultRow[] = [];
  for (const [kind, fault] of selectedFaults(options.fault ?? 'all')) {
    if (hooks.signal?.aborted) break;
    const row =
      kind === 'equivalent'
        ? await equivalentRow(kind, fault, options, hooks)
        : await foundRow(kind, fault, options, hooks, seeds);
    if (hooks.signal?.aborted) break;
    rows.push(row);
    hooks.onRow?.(row);
  }
  return rows;
}

/** Rows that say that the campaign cannot be trusted. */
export function unsound(rows: readonly FaultRow[]): FaultRow[] {
  return rows.filter(({ status }) => status === 'missed' || status === 'false alarm');
}

const about = (kind: FaultKind, { name, file, standsFor, describe }: Fault) => ({
  name,
  kind,
  file,
  stands_for: standsFor,
  describe,
});

async function foundRow(
  kind: FaultKind,
  fault: Fault,
  options: VerifyOptions,
  hooks: TableHooks,
  seeds: number,
): Promise<FaultRow> {
  const base = about(kind, fault);
  const absent = notHere(fault);
  if (absent !== undefined) return { ...base, status: 'not here', reason: absent, runs: [] };
  const runs: CampaignRun[] = [];
  for (let k = 1; k <= seeds && !hooks.signal?.aborted; k++) {
    const seed = `${options.seed ?? 'isobatch'}-${k}`;
    hooks.onStep?.(`${fault.name}, seed ${seed}`);
    const run = await campaign(fault, { ...options, seed }, hooks);
    const reason = run.result === undefined ? undefined : lacking(fault, run.result);
    if (reason !== undefined) return { ...base, status: 'not here', reason, runs: [] };
    runs.push(run);
    if (!run.record.found) break; // missed once is missed
  }
  const records = runs.map(({ record }) => record);
  const status = records.length === seeds && records.every(({ found }) => found) ? 'found' : 'missed';
  const reason = runs.find(({ reason }) => reason !== undefined)?.reason;
  const slowest = runs.reduce((a, b) => (b.record.seconds > a.record.seconds ? b : a));
  return { ...base, status, reason, runs: records, shrunk: await shrunkOf(slowest, options, hooks) };
}

async function equivalentRow(
  kind: FaultKind,
  fault: Fault,
  options: VerifyOptions,
  hooks: TableHooks,
): Promise<FaultRow> {
  const base = about(kind, fault);
  const seed = `${options.seed ?? 'isobatch'}-1`;
  hooks.onStep?.(`${fault.name}, seed ${seed}, to the end`);
  const sized = [options.cases, options.minutes, options.scale, options.range].some((x) => x !== undefined);
  const size = sized ? {} : { scale: GREEN_PART };
  const run = await campaign(fault, { ...options, ...size, seed }, hooks, true);
  const reason = run.result === undefined ? run.reason : lacking(fault, run.result);
  if (run.result !== undefined && reason !== undefined)
    return { ...base, status: 'not here', reason, runs: [] };
  const green = run.result?.ok === true;
  return {
    ...base,
    status: green ? 'green' : 'false alarm',
    reason: green ? undefined : (reason ?? run.result?.verdict),
    runs: [run.record],
  };
}

interface CampaignRun {
  readonly record: SeedRun;
  readonly options: VerifyOptions;
  readonly result?: CampaignResult;
  readonly first?: FailureRecord;
  readonly reason?: string;
}

async function campaign(
  fault: Fault,
  asked: VerifyOptions,
  hooks: TableHooks,
  whole = false,
): Promise<CampaignRun> {
  const { finds } = fault as Partial<PlantedFault>;
  const options: VerifyOptions = {
    ...asked,
    fault: fault.name,
    watchdog_s: asked.watchdog_s ?? (fault as { watchdog_s?: number }).watchdog_s,
    shrink_seconds: 0,
    // What only one property can see needs none of the others.
    ...(asked.properties === undefined && finds !== undefined ? { properties: [finds] } : {}),
    ...(whole ? {} : { max_failures: 1, scope: false }),
  };
  const seen = { running: Number.NaN, failed: Number.NaN, cases: 0, last: 0 };
  const onProgress = (p: Progress) => {
    seen.last = p.elapsed_s;
    if (p.stage === 'running') {
      if (Number.isNaN(seen.running)) seen.running = p.elapsed_s;
      if (Number.isNaN(seen.failed) && p.failures > 0) seen.failed = p.elapsed_s;
      seen.cases = p.cases;
    }
    hooks.onProgress?.(p);
  };
  const record = { seed: options.seed!, found: false };
  try {
    const result = await verify(options, { signal: hooks.signal, onProgress });
    const first = firstOf(result);
    const until = first === undefined || Number.isNaN(seen.failed) ? seen.last : seen.failed;
    const times = { startup_s: seen.running, seconds: until - seen.running };
    const cases = seen.cases - (first === undefined ? 0 : casesBehind(first, result));
    const { property, model, signature } = first ?? {};
    return {
      record: { ...record, ...times, cases, found: first !== undefined, property, model, signature },
      options,
      result,
      first,
    };
  } catch (error) {
    // The subject may die outside any case; everything else, such as a patch that does not fit, is for the caller.
    if (!(error instanceof IsobatchError) || error.kind !== 'subject') throw error;
    const times = { startup_s: seen.running || seen.last, seconds: 0, cases: seen.cases };
    return { record: { ...record, ...times }, options, reason: error.message };
  }
}

/** The failure with the lowest case number: the campaign stopped in the range in which it was found. */
function firstOf(result: CampaignResult): FailureRecord | undefined {
  const [any, ...rest] = result.failures;
  return any === undefined ? undefined : rest.reduce((a, b) => (indexOf(b) < indexOf(a) ? b : a), any);
}

function indexOf(failure: FailureRecord): number {
  return failure.original.index;
}

/** Cases of the last range that ran after the failing one. */
function casesBehind(first: FailureRecord, { units }: CampaignResult): number {
  const unit = units.find((u) => u.property === first.property && u.model === first.model);
  return unit === undefined ? 0 : Math.max(0, unit.range[1] - 1 - indexOf(first));
}

/** Why a fault cannot even be tried. */
function notHere(fault: Partial<PlantedFault>): string | undefined {
  if (fault.finds === undefined || properties.some(({ name }) => name === fault.finds)) return undefined;
  return `there is no property ${fault.finds}`;
}

/** What the machine of a campaign lacks for a fault. */
function lacking(
  fault: Fault & Partial<PlantedFault>,
  { subject, kernels }: CampaignResult,
): string | undefined {
  if (!fault.file.endsWith('.ts') && kernels !== undefined && 'unavailable' in kernels.native)
    return 'no native kernels';
  if (fault.isa !== undefined && !subject.isas.includes(fault.isa)) return `no ${fault.isa}`;
  return undefined;
}

async function shrunkOf(
  { first, result, options }: CampaignRun,
  asked: VerifyOptions,
  hooks: TableHooks,
): Promise<FaultRow['shrunk']> {
  const seconds = asked.shrink_seconds ?? 10;
  if (first === undefined || result === undefined || seconds === 0) return undefined;
  hooks.onStep?.(`${options.fault}, shrinking ${first.signature}`);
  const family = result.models.find(({ name }) => name === first.model)?.info.arch ?? first.model;
  const { settings } = result;
  const { failure, tried } = await shrinkFailure({
    failure: first.failure,
    family,
    setting: settingOf(settings),
    worker: { fault: settings.fault, watchdog_s: settings.watchdog_s, setup_watchdog_s: 300 },
    seconds,
    signal: hooks.signal,
  });
  return { ...caseSize(failure.case), tried };
}

/** From sums to statuses and one verdict. A property that compared nothing is "not run", never green. */
import { overflowOf } from '../golden/recipes.ts';
import type { FailureRecord, ScopeResult, Status, UnitResult } from './campaign-result.ts';
import { violated } from './campaign-result.ts';
import type { CampaignRun, UnitState } from './campaign-run.ts';
import { missingClasses } from './coverage.ts';
import { groupsOf } from './groups.ts';
import type { Coverage, Property } from './types.ts';
import type { ProbeAnswer } from './worker-messages.ts';

/** Units in the order of the plan, each with its status; failures of `excused` signatures do not count. */
export function concludeUnits(run: CampaignRun, excused: ReadonlySet<string> = new Set()): UnitResult[] {
  return run.units.map((state) => {
    const { unit, tally } = state;
    return {
      property: unit.property.name,
      statement: unit.property.statement,
      model: unit.model,
      white: unit.property.white,
      ...statusOf(state, excused),
      tally,
      range: [unit.first, state.end] as const,
      busy_s: state.busy_ms / 1000,
      fingerprint: state.fingerprint,
    };
  });
}

function statusOf(state: UnitState, excused: ReadonlySet<string>): { status: Status; reason?: string } {
  const { unit, tally } = state;
  if (unit.skip !== undefined) return { status: 'skipped', reason: unit.skip };
  const early = Number.isFinite(unit.end) && tally.cases < unit.end - unit.first;
  const reason = early ? `ended after ${tally.cases} of ${unit.end - unit.first} cases` : undefined;
  const signatures = Object.keys(tally.signatures);
  if (signatures.some((s) => !excused.has(s))) return { status: 'failed', reason };
  if (signatures.length > 0) {
    const failed = `${tally.failed} ${plural(tally.failed, 'case fails', 'cases fail')} as is known or shared`;
    return { status: 'excused', reason: reason === undefined ? failed : `${failed}; ${reason}` };
  }
  if (tally.compared > 0) return { status: 'passed', reason };
  const reasons = Object.keys(tally.skipped);
  if (tally.cases > 0 && reasons.length > 0) return { status: 'skipped', reason: reasons.join('; ') };
  return { status: 'not run', reason: reason ?? 'nothing was compared' };
}

/** The status of several units together: a failure wins, then what passed, then what should have run. */
export function joinStatus(statuses: readonly Status[]): Status {
  for (const status of ['failed', 'not run', 'excused', 'passed'] as const)
    if (statuses.includes(status)) return status;
  return 'skipped';
}

/**
 * Classes that no case of a property reached, for properties that ran and did not fail. Classes that neither the
 * subject nor any of the models can have are not demanded.
 */
export function missingOf(
  coverage: Readonly<Record<string, Coverage>>,
  probe: ProbeAnswer,
  units: readonly UnitResult[],
): Record<string, readonly string[]> {
  const missing: Record<string, readonly string[]> = {};
  for (const property of probe.properties) {
    const passed = units.filter(
      (u) => u.property === property.name && (u.status === 'passed' || u.status === 'excused'),
    );
    if (passed.length === 0) continue;
    const infos = passed.flatMap((u) => probe.models.find((m) => m.name === u.model)?.info ?? []);
    const memories = new Set(infos.length > 0 ? infos.map(({ memory }) => memory) : (['none'] as const));
    const empty = new Set<string>();
    for (const memory of memories) {
      const models = infos.filter((info) => info.memory === memory);
      const overflow = passed.some(
        ({ model }) =>
          probe.models.find((m) => m.name === model)?.info.memory === memory &&
          overflowOf(model) !== undefined,
      );
      const offered = property.white ? undefined : { subject: probe.subject, memory, models, overflow };
      for (const name of missingClasses(
        coverage[property.name] ?? {},
        property as unknown as Property,
        offered,
        property.white ? probe.subject.rules : undefined,
      ))
        empty.add(name);
    }
    if (empty.size > 0) missing[property.name] = [...empty];
  }
  return missing;
}

interface Sums {
  readonly units: readonly UnitResult[];
  readonly failures: readonly FailureRecord[];
  readonly excused: readonly FailureRecord[];
  readonly missing: Readonly<Record<string, readonly string[]>>;
  readonly scope?: ScopeResult;
  readonly interrupted: boolean;
  readonly stopped: boolean;
}

export function verdictOf(sums: Sums): { ok: boolean; verdict: string } {
  const { units, failures, excused, missing, interrupted, stopped } = sums;
  const empty = Object.values(missing).flat().length;
  if (violated(sums)) {
    const found = [
      failures.length > 0 ? failuresInWords(failures) : '',
      sums.scope?.status === 'failed' && failures.length === 0 ? 'the small scope failed' : '',
      empty > 0 ? `${empty} ${plural(empty, 'class', 'classes')} of inputs never reached` : '',
    ].filter(Boolean);
    return { ok: false, verdict: `does not hold: ${found.join(', ')}${stopped ? '; stopped early' : ''}` };
  }
  if (interrupted)
    return {
      ok: false,
      verdict: `interrupted; nothing ${excused.length > 0 ? 'new ' : ''}was found until then`,
    };
  const passed = units.filter((u) => u.status === 'passed' || u.status === 'excused');
  const scoped = sums.scope?.status === 'passed' || sums.scope?.status === 'excused';
  if (passed.length === 0 && !scoped) return { ok: false, verdict: 'nothing was compared' };
  const idle = units.filter((u) => u.status === 'not run');
  if (idle.length > 0) {
    const names = idle.map((u) => `${u.property} on ${u.model}`).join(', ');
    return { ok: false, verdict: `not run, although it applies: ${names}` };
  }
  const properties = new Set(passed.map((u) => u.property)).size;
  const models = new Set(passed.filter((u) => !u.white).map((u) => u.model)).size;
  const on = models > 0 ? ` on ${models} ${plural(models, 'model')}` : '';
  const held = [
    properties > 0 ? `${properties} ${plural(properties, 'property', 'properties')}${on}` : '',
    scoped ? 'the whole small scope' : '',
  ].filter(Boolean);
  return { ok: true, verdict: `holds${excusedInWords(excused)}: ${held.join(', ')}` };
}

/** Failures that look like one bug are one. */
function failuresInWords(failures: readonly FailureRecord[]): string {
  const n = groupsOf(failures).length;
  const shown = n < failures.length ? ` (${failures.length} by property and what differs)` : '';
  return `${n} different ${plural(n, 'failure')}${shown}`;
}

function excusedInWords(excused: readonly FailureRecord[]): string {
  const known = excused.filter((f) => f.known !== undefined).length;
  const shared = excused.length - known;
  const parts = [
    known > 0 ? `${known} known ${plural(known, 'failure')}` : '',
    shared > 0 ? `${shared} shared ${plural(shared, 'failure')}` : '',
  ].filter(Boolean);
  return parts.length > 0 ? ` but for ${parts.join(' and ')}` : '';
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return n === 1 ? one : many;
}

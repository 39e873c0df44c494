/**
 * Which failures of a campaign count: not those that are listed as known, and with `against` not those that the other
 * subject shows too. Everything is by signature, so a unit or a part of the small scope is excused only if each of its
 * signatures is.
 */
import { compareAgainst } from './against.ts';
import type { ReplayOptions } from './campaign-replay.ts';
import type { FailureRecord, ScopeResult } from './campaign-result.ts';
import type { UnitState } from './campaign-run.ts';
import { familyOf } from './facts.ts';
import { type KnownFailure, type KnownReport, knownReport, type RanUnit } from './known.ts';
import { MOST_SIGNATURES } from './small-scope/result.ts';
import type { ProbeAnswer } from './worker-messages.ts';
import { SMALL_SCOPE } from './worker-scope.ts';

export interface Sorted {
  readonly failures: readonly FailureRecord[];
  readonly excused: readonly FailureRecord[];
}

export interface ExcuseJob {
  readonly known: readonly KnownFailure[];
  /** How cases are run on the other subject, if there is one. */
  readonly against?: ReplayOptions;
  readonly tell: (what: string) => void;
}

/** Looks each failure up, and runs those that are not known on the other subject, one after another. */
export async function sortFailures(records: readonly FailureRecord[], job: ExcuseJob): Promise<Sorted> {
  const failures: FailureRecord[] = [];
  const excused: FailureRecord[] = [];
  for (const record of records) {
    const known = job.known.find(({ signature }) => signature === record.signature);
    if (known !== undefined) {
      excused.push({ ...record, known });
      continue;
    }
    if (job.against === undefined || job.against.signal?.aborted) {
      failures.push(record);
      continue;
    }
    job.tell(record.signature);
    const against = await compareAgainst(record, job.against);
    (against.verdict === 'shared' ? excused : failures).push({ ...record, against });
  }
  return { failures, excused };
}

export function signaturesOf(records: readonly FailureRecord[]): Set<string> {
  return new Set(records.map(({ signature }) => signature));
}

/** A part whose every signature is excused is; beyond a number of signatures it is not known what they all are. */
export function excuseScope(
  scope: ScopeResult | undefined,
  records: readonly FailureRecord[],
  excused: ReadonlySet<string>,
): ScopeResult | undefined {
  if (scope === undefined) return undefined;
  const parts = scope.parts.map((part) => {
    const own = records.filter((r) => r.scope && r.model === part.name);
    const all = own.length > 0 && own.length < MOST_SIGNATURES && own.every((r) => excused.has(r.signature));
    return part.status === 'failed' && part.reason === undefined && all
      ? { ...part, status: 'excused' as const }
      : part;
  });
  const failed = parts.some((part) => part.status === 'failed');
  const status = scope.status === 'failed' && !failed ? 'excused' : scope.status;
  return { ...scope, parts, status };
}

/** What became of the list of known failures. */
export function knownOf(
  known: readonly KnownFailure[],
  probe: ProbeAnswer,
  units: readonly UnitState[],
  scope: ScopeResult | undefined,
  records: readonly FailureRecord[],
  early: boolean,
): KnownReport {
  const ran = units.map((state): RanUnit => {
    const { unit, tally } = state;
    const info = probe.models.find((m) => m.name === unit.model)?.info;
    const family = info === undefined ? unit.family : familyOf({ model: info, modelName: unit.model });
    const whole = !early && (!Number.isFinite(unit.end) || tally.cases >= unit.end - unit.first);
    return {
      property: unit.property.name,
      arch: unit.family,
      family,
      compared: tally.compared,
      cases: tally.cases,
      whole: whole || unit.skip !== undefined,
    };
  });
  const parts = (scope?.parts ?? []).map((part): RanUnit => {
    const { name, compared, enumerated, status } = part;
    return {
      property: SMALL_SCOPE,
      arch: name,
      family: name,
      compared,
      cases: enumerated,
      whole: !early && status !== 'not run',
    };
  });
  // A failure that only counts in the sums has been seen too.
  const seen = signaturesOf(records);
  for (const { tally } of units) for (const signature of Object.keys(tally.signatures)) seen.add(signature);
  return knownReport(known, probe.subject, seen, [...ran, ...parts]);
}

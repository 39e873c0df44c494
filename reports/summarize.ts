/**
 * From the record of a campaign to the figures that people ask for: one row a property, totals and rates. All text
 * and file reports are made of these. Verdicts are not computed here; they come with the record.
 */
import type { CampaignResult, Status, UnitResult } from '../properties/campaign-result.ts';
import { joinStatus } from '../properties/campaign-verdict.ts';

export interface PropertyRow {
  readonly property: string;
  readonly white: boolean;
  readonly status: Status;
  readonly cases: number;
  readonly compared: number;
  readonly equal: number;
  readonly rounding: number;
  readonly divergent: number;
  readonly tokens: number;
  /** Cases that were skipped while they ran. */
  readonly skipped: number;
  /** Why, each with the models for which it holds. */
  readonly reasons: readonly string[];
  /** Cases that a worker runs in a second. */
  readonly cases_per_second: number;
}

export interface Totals {
  /** End-to-end cases, and apart from them white-box cases. */
  readonly cases: number;
  readonly white: number;
  readonly compared: number;
  readonly tokens: number;
  readonly cases_per_minute: number;
  readonly white_per_minute: number;
  /** Tokens of an end-to-end case. */
  readonly mean_tokens: number;
}

/** Rows in the order of the campaign. */
export function propertyRows(result: CampaignResult): PropertyRow[] {
  const names = [...new Set(result.units.map((u) => u.property))];
  return names.map((name) => rowOf(name, result));
}

function rowOf(property: string, result: CampaignResult): PropertyRow {
  const units = result.units.filter((u) => u.property === property);
  const sum = (of: (u: UnitResult) => number) => units.reduce((n, u) => n + of(u), 0);
  const statuses = units.map((u) => u.status);
  const cases = sum((u) => u.tally.cases);
  return {
    property,
    white: units[0]!.white,
    status: result.missing[property] === undefined ? joinStatus(statuses) : 'failed',
    cases,
    compared: sum((u) => u.tally.compared),
    equal: sum((u) => u.tally.equal),
    rounding: sum((u) => u.tally.rounding),
    divergent: sum((u) => u.tally.divergent),
    tokens: sum((u) => u.tally.tokens),
    skipped: sum((u) => Object.values(u.tally.skipped).reduce((a, b) => a + b, 0)),
    reasons: reasonsOf(units),
    cases_per_second: cases / sum((u) => u.busy_s),
  };
}

function reasonsOf(units: readonly UnitResult[]): string[] {
  const models = new Map<string, string[]>();
  const add = (reason: string, model: string) => models.set(reason, [...(models.get(reason) ?? []), model]);
  for (const u of units) {
    if (u.reason !== undefined && u.status !== 'passed') add(u.reason, u.model);
    for (const [reason, n] of Object.entries(u.tally.skipped)) add(`${n} cases: ${reason}`, u.model);
  }
  return [...models].map(([reason, on]) =>
    on.length === units.length ? reason : `${on.join(', ')}: ${reason}`,
  );
}

export function totalsOf(result: CampaignResult): Totals {
  const sum = (white: boolean, of: (u: UnitResult) => number) =>
    result.units.filter((u) => u.white === white).reduce((n, u) => n + of(u), 0);
  const [cases, white] = [sum(false, (u) => u.tally.cases), sum(true, (u) => u.tally.cases)];
  const tokens = sum(false, (u) => u.tally.tokens);
  // A rate of the machine, not of one worker: by the clock, shared among the two kinds as the workers' time was.
  const busy = sum(false, (u) => u.busy_s) + sum(true, (u) => u.busy_s);
  const perMinute = (n: number, part: number) =>
    n === 0 ? 0 : (60 * n) / ((result.elapsed_s * part) / busy);
  return {
    cases,
    white,
    compared:
      sum(false, (u) => u.tally.compared) +
      sum(true, (u) => u.tally.compared) +
      (result.scope?.parts ?? []).reduce((n, part) => n + part.compared, 0),
    tokens,
    cases_per_minute: perMinute(
      cases,
      sum(false, (u) => u.busy_s),
    ),
    white_per_minute: perMinute(
      white,
      sum(true, (u) => u.busy_s),
    ),
    mean_tokens: cases === 0 ? 0 : tokens / cases,
  };
}

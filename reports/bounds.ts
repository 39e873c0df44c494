/**
 * How much of their derived bounds the elements of a campaign used (spec: verdicts.md 8, "Bound-use report"): one row
 * an operator or model. A median that drifts by two is a finding even where no element is beyond its bound.
 */
import type { CampaignResult, UnitResult } from '../properties/campaign-result.ts';
import { type BoundsTally, type Use, useQuantile } from '../properties/verdict.ts';
import { grouped, table } from './text.ts';

/** Shares are |difference| / bound; 1 would be just within. */
export interface BoundUse {
  /** Elements with a bound above zero. */
  readonly elements: number;
  readonly median: number;
  /** 99.9 % of the elements stay below. */
  readonly most: number;
  readonly largest: number;
}

/** What one property says on one model. */
export interface BoundRows {
  /** By operator, or by the model. */
  readonly use: Readonly<Record<string, BoundUse>>;
  /** Elements whose bound is zero: their bits had to be equal. */
  readonly exact: number;
  /** Rows whose errors are too large for first order; their bounds were not widened. */
  readonly ill_conditioned: number;
  /** F16 values so near to the end of their range that a refusal was right too. */
  readonly overflow: number;
  /** Rows that were looked at again with keyed runs. */
  readonly escalated: number;
  /** Rows that are right only if a router that rounding may turn chose other experts. */
  readonly rerouted: number;
}

function useOf(use: Use): BoundUse {
  // A quantile is known to the width of a bin; no element lies beyond the largest.
  const below = (part: number) => Math.min(useQuantile(use, part), use.max);
  return { elements: use.n, median: below(0.5), most: below(0.999), largest: use.max };
}

function rowsOf({ use, ill, exact, overflow, escalated, rerouted }: BoundsTally): BoundRows {
  // Sums come in the order in which workers finish; a report is the same each time.
  const named = Object.entries(use)
    .filter(([, { n }]) => n > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    use: Object.fromEntries(named.map(([name, each]) => [name, useOf(each)])),
    exact,
    ill_conditioned: ill,
    overflow,
    escalated,
    rerouted,
  };
}

type Bounded = UnitResult & { readonly tally: { readonly bounds: BoundsTally } };

function boundedUnits(result: CampaignResult): Bounded[] {
  return result.units.filter((unit): unit is Bounded => unit.tally.bounds !== undefined);
}

/** For `summary.json`: by property, then by model (`rules` for white-box properties). Empty if no bound was derived. */
export function boundSummary(result: CampaignResult): Record<string, Record<string, BoundRows>> {
  const summary: Record<string, Record<string, BoundRows>> = {};
  for (const { property, model, tally } of boundedUnits(result)) {
    summary[property] ??= {};
    summary[property][model] = rowsOf(tally.bounds);
  }
  return summary;
}

const HEAD = ['use of bounds', '', 'elements', 'median', '99.9 %', 'largest', 'ill-conditioned', 'escalated'];

/**
 * For people: a table of shares, without lines if no bound was used: answers that are equal bit for bit use none. Rows
 * are counted where one name has them all.
 */
export function boundLines(result: CampaignResult): string[] {
  const rows = boundedUnits(result).flatMap(({ property, tally }) => {
    const { use, ill_conditioned, escalated } = rowsOf(tally.bounds);
    const names = Object.entries(use);
    const counts = names.length === 1 ? [grouped(ill_conditioned), grouped(escalated)] : ['-', '-'];
    const used = names.filter(([, { largest }]) => largest > 0);
    return used.map(([name, { elements, median, most, largest }]) => [
      property,
      name,
      grouped(elements),
      ...[median, most, largest].map(share),
      ...counts,
    ]);
  });
  return rows.length === 0 ? [] : table([HEAD, ...rows], [2, 3, 4, 5, 6, 7]);
}

function share(x: number): string {
  if (x === 0) return '0';
  return x < 0.001 || x >= 1000 ? x.toExponential(1) : x.toPrecision(2);
}

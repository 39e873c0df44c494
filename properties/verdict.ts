/**
 * The verdict on one compared element (spec: verdicts.md 1, 8; DESIGN "Verdicts without hand-set tolerances"), and how
 * much of their bounds the elements of a campaign used. The only number that a person chooses is p, the chance of
 * accusing a correct subject in one comparison.
 */
import { IsobatchError } from '../contract/errors.ts';

/** Chance of a false alarm in one comparison, unless `--p` says otherwise. */
export const DEFAULT_P = 1e-10;

/** How many standard deviations a bound is wide: Hoeffding for sums of independent, centred, bounded errors. */
export function widthOf(p: number): number {
  if (!(p > 0 && p < 1)) {
    throw new IsobatchError('usage', `p must be a probability between 0 and 1, got ${p}`, { p });
  }
  return Math.sqrt(2 * Math.log(2 / p)) * Math.sqrt(3);
}

export type Verdict = 'equal' | 'rounding' | 'divergent';

/**
 * `got` is a float32 of the subject, `want` what must come out, `bound` how far from it rounding may lead. A value that
 * is not finite must be of the same class and sign as the wanted one. Throws `internal` for a bound that is no bound:
 * NaN, infinite or negative is a mistake of the harness and never a pass.
 */
export function judge(got: number, want: number, bound: number): Verdict {
  if (!(bound >= 0 && bound < Infinity) && Number.isFinite(want)) {
    throw new IsobatchError('internal', `a bound of ${bound} was derived for ${want}`, {
      bound,
      want,
      harness: true,
    });
  }
  if (Object.is(got, Math.fround(want))) return 'equal';
  if (!Number.isFinite(want)) return 'divergent';
  // Written so that a NaN difference fails. A bound of zero leaves only +0 for -0, which are equal as numbers.
  return !(Math.abs(got - want) <= bound) ? 'divergent' : 'rounding';
}

/** Bins of difference / bound: eighths of an octave, numbered from 0 at 1. */
const BINS = 8;
const LOWEST = -40 * BINS;
const HIGHEST = 64 * BINS;

/** Distribution of the shares of their bounds that elements used. Plain JSON; sums of any parts in any order are equal. */
export interface Use {
  n: number;
  max: number;
  /** Elements by bin: floor(8 log2(share)); the lowest bin holds zeros too. */
  bins: Record<string, number>;
}

export function emptyUse(): Use {
  return { n: 0, max: 0, bins: {} };
}

/** Counts one element that used `share` of its bound. What is not finite counts as the largest number: this is JSON. */
export function noteUse(use: Use, share: number): void {
  const notes = new UseNotes();
  notes.add(share);
  notes.moveTo(use);
}

/** Counts many elements, and adds them to a `Use` at once. */
export class UseNotes {
  readonly #bins = new Uint32Array(HIGHEST - LOWEST + 1);
  #n = 0;
  #max = 0;

  /** As `noteUse`. */
  add(share: number): void {
    this.#n++;
    if (share === 0) {
      this.#bins[0]!++;
      return;
    }
    const size = Number.isFinite(share) ? share : Number.MAX_VALUE;
    if (size > this.#max) this.#max = size;
    this.#bins[Math.max(LOWEST, Math.min(Math.floor(BINS * Math.log2(size)), HIGHEST)) - LOWEST]!++;
  }

  moveTo(use: Use): void {
    use.n += this.#n;
    use.max = Math.max(use.max, this.#max);
    this.#bins.forEach((n, i) => {
      if (n > 0) use.bins[i + LOWEST] = (use.bins[i + LOWEST] ?? 0) + n;
    });
    this.#bins.fill(0);
    this.#n = 0;
    this.#max = 0;
  }
}

export function addUse(into: Use, from: Use): void {
  into.n += from.n;
  into.max = Math.max(into.max, from.max);
  for (const [bin, n] of Object.entries(from.bins)) into.bins[bin] = (into.bins[bin] ?? 0) + n;
}

/** The share that this part of the elements stays below, to the width of a bin (9 %). */
export function useQuantile(use: Use, part: number): number {
  const bins = Object.keys(use.bins)
    .map(Number)
    .sort((a, b) => a - b);
  let left = part * use.n;
  for (const bin of bins) {
    left -= use.bins[bin]!;
    if (left <= 0) return bin === LOWEST ? 0 : 2 ** ((bin + 0.5) / BINS);
  }
  return 0;
}

/** What derived bounds were used for in one case or in many. Plain JSON, summed like a tally. */
export interface BoundsTally {
  /** By operator or model. */
  use: Record<string, Use>;
  /** Rows whose errors are too large for first order: reported, not widened. */
  ill: number;
  /** F16 values so near to the end of their range that a refusal was right too. */
  overflow: number;
  /** Elements whose bound is zero: only equal bits pass. */
  exact: number;
  /** Rows that were looked at again with keyed runs. */
  escalated: number;
  /** Rows that are right only if a router that rounding may turn chose other experts than the exact numbers do. */
  rerouted: number;
}

export function emptyBounds(): BoundsTally {
  return { use: {}, ill: 0, overflow: 0, exact: 0, escalated: 0, rerouted: 0 };
}

export function addBounds(into: BoundsTally, from: BoundsTally): void {
  const counts = ['ill', 'overflow', 'exact', 'escalated', 'rerouted'] as const;
  for (const field of counts) into[field] += from[field];
  for (const [name, use] of Object.entries(from.use)) {
    into.use[name] ??= emptyUse();
    addUse(into.use[name], use);
  }
}

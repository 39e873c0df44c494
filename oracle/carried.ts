/** The numbers of the variance pass (`variance.ts`), and what its operators are built with. */
import type { RoundingProfile } from '../contract/subject.ts';
import type { Site } from './rounding.ts';
import type { Fork } from './routes.ts';

/** A row of numbers with their variances. */
export interface Carried {
  readonly v: Float64Array;
  readonly s: Float64Array;
  /**
   * Errors on the way were so large that first order does not describe them (spec: verdicts.md 8, linearity guard). Such
   * a row is reported and its bound is not made wider.
   */
  readonly ill: boolean;
  /** A stored K or V is so near to the end of F16 that a correct subject may refuse it. */
  readonly overflow: boolean;
  /** Where routers on the way could have chosen other experts by rounding; not there if nowhere. */
  readonly forks?: readonly Fork[];
}

/**
 * Keeps the sigma of each element of one operation. Used again for every call of an operator in a pass: a call states
 * each of its elements anew before they are read.
 */
export class Collected implements Site {
  readonly profile: RoundingProfile;
  #sigma = new Float64Array(64);
  readonly #steps = new Map<string, Collected>();

  constructor(profile: RoundingProfile) {
    this.profile = profile;
  }

  after(element: number, y: number, _b: number, sigma: number): number {
    if (element >= this.#sigma.length) {
      const larger = new Float64Array(2 * element);
      larger.set(this.#sigma);
      this.#sigma = larger;
    }
    this.#sigma[element] = sigma;
    return y;
  }

  step(name: string): Collected {
    let step = this.#steps.get(name);
    if (step === undefined) {
      step = new Collected(this.profile);
      this.#steps.set(name, step);
    }
    return step;
  }

  /** For operations that may be exact, and then say nothing: n elements without errors. */
  forget(n: number): void {
    for (let i = 0; i < n; i++) this.after(i, 0, 0, 0);
  }

  /** Variance that was added at an element. */
  variance(element: number): number {
    const sigma = this.#sigma[element]!;
    return sigma * sigma;
  }
}

/** A standard deviation is taken to reach this far when it is asked whether first order holds. */
export const REACH = 6;
/** The largest share of a norm's root for which it does. */
export const NORM_SHARE = 1 / 10;

/** The largest error of a score for which it does. */
export const SCORE_ERROR = 0.3;

/** A row whose flags are those of any row that it comes from. */
export function rowOf(v: Float64Array, s: Float64Array, ...from: readonly Carried[]): Carried {
  const row = { v, s, ill: from.some((x) => x.ill), overflow: from.some((x) => x.overflow) };
  if (!from.some(({ forks }) => forks !== undefined)) return row;
  return { ...row, forks: [...new Set(from.flatMap(({ forks = [] }) => forks))] };
}

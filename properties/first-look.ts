/**
 * A first look at a smaller case whose bounds would have to be measured: sixteen copies of a model cost far more than
 * the case itself. Bounds of one model and one kind of numbers lie close together, while what a fault does lies far
 * beyond them and what rounding does far below; so most rows can be told apart by the bounds of others. Whoever takes
 * such a verdict has the case judged in full before anybody hears of it (`shrinker.ts`).
 */
import { type Numerics, numericsOf } from './choices.ts';

/** A difference so many times as large as every bound that was seen, or as small a part of them, is told at sight. */
const FAR = 8;

interface Seen {
  least: number;
  most: number;
}

export class FirstLook {
  /** Whether the next case is only looked at; otherwise it is judged in full, and its bounds are kept in mind. */
  on = false;
  readonly #seen = new Map<string, Seen>();

  /** Bounds of elements that were judged in full. */
  learn(numerics: Numerics, least: number, most: number): void {
    const key = numericsOf(numerics);
    const seen = this.#seen.get(key);
    if (!(least > 0)) return;
    this.#seen.set(key, {
      least: Math.min(least, seen?.least ?? least),
      most: Math.max(most, seen?.most ?? most),
    });
  }

  /** What the largest difference in a row seems to be; null if it must be judged in full. */
  verdict(numerics: Numerics, difference: number): 'divergent' | 'rounding' | null {
    if (difference === 0) return 'rounding';
    const seen = this.#seen.get(numericsOf(numerics));
    if (seen === undefined) return null;
    if (difference > FAR * seen.most) return 'divergent';
    return difference < seen.least / FAR ? 'rounding' : null;
  }

  /** The largest bound that was seen with these numbers. */
  most(numerics: Numerics): number {
    return this.#seen.get(numericsOf(numerics))?.most ?? 0;
  }
}

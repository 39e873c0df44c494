/**
 * Numbers for weights: seeded, and the same on every machine, since only 32-bit integers, sums, products and square
 * roots (all exact or correctly rounded) are used. Never for cryptography, and never for choosing test cases.
 */

/** A 32-bit generator whose next number is the mixed value of a counter (the splitmix construction). */
export class Random {
  #state: number;

  /** The seed is any text, so that each tensor of a recipe has numbers of its own, whatever stands beside it. */
  constructor(seed: string) {
    // FNV-1a over UTF-16 units.
    let hash = 0x811c9dc5;
    for (let i = 0; i < seed.length; i++) hash = Math.imul(hash ^ seed.charCodeAt(i), 0x01000193);
    this.#state = hash | 0;
  }

  /** 0 .. 2^32-1. */
  u32(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /** 0 <= x < 1, in steps of 2^-32. */
  uniform(): number {
    return this.u32() * 2 ** -32;
  }

  /** 0 .. n-1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /**
   * About N(0, 1): the sum of 12 uniform numbers has variance 1. All sums are of integers below 2^36, so exact;
   * logarithm and cosine, which differ between machines, are not needed.
   */
  normal(): number {
    let sum = 0;
    for (let i = 0; i < 12; i++) sum += this.u32();
    return sum * 2 ** -32 - 6;
  }
}

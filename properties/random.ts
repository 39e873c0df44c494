/**
 * The random numbers of the generators: small, fast, and the same on every machine. A case is drawn from
 * hash(seed, property, model family, index), so any case can be drawn alone, without the ones before it.
 */

/** 32 bits of a text, well mixed (FNV-1a, then the finalizer of MurmurHash3). */
export function hashText(text: string, salt = 0): number {
  let h = (0x811c9dc5 ^ salt) >>> 0;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return mix32(h);
}

/** A bijection of 32-bit numbers that leaves no bit where it was. */
export function mix32(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A generator with 128 bits of state (three chaotic words and a counter, so that no state repeats early). */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private count: number;

  constructor(a: number, b: number, c: number) {
    this.a = a | 0;
    this.b = b | 0;
    this.c = c | 0;
    this.count = 1;
    for (let i = 0; i < 12; i++) this.u32();
  }

  /** 0 .. 2^32-1. */
  u32(): number {
    const t = (((this.a + this.b) | 0) + this.count) | 0;
    this.count = (this.count + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  /** 0 .. n-1, for n up to 2^20. */
  below(n: number): number {
    return Math.floor((this.u32() * n) / 4294967296);
  }

  /** a .. b, both included. */
  between(a: number, b: number): number {
    return a + this.below(b - a + 1);
  }

  /** True with probability p. */
  chance(p: number): boolean {
    return this.u32() < p * 4294967296;
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError('pick from an empty list');
    return list[this.below(list.length)]!;
  }

  /** Index i with probability weights[i] / sum. */
  weighted(weights: readonly number[]): number {
    let sum = 0;
    for (const w of weights) sum += w;
    let x = (this.u32() * sum) / 4294967296;
    for (let i = 0; i < weights.length; i++) {
      x -= weights[i]!;
      if (x < 0) return i;
    }
    return weights.length - 1;
  }

  /** Shuffles in place, and answers the list. */
  shuffle<T>(list: T[]): T[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const t = list[i]!;
      list[i] = list[j]!;
      list[j] = t;
    }
    return list;
  }

  /** A ragged length, 1 .. max: often tiny, sometimes long. */
  ragged(max: number): number {
    const x = this.below(8);
    const top = x < 2 ? 3 : x < 5 ? 12 : x < 7 ? 32 : max;
    return this.between(1, Math.min(top, max));
  }
}

const roots = new Map<string, readonly [number, number]>();

/** The random numbers of one case. */
export function caseRandom(seed: string, property: string, family: string, index: number): Random {
  const name = `${seed}\u0000${property}\u0000${family}`;
  let root = roots.get(name);
  if (root === undefined) {
    root = [hashText(name, 1), hashText(name, 2)];
    roots.set(name, root);
  }
  return new Random(root[0], root[1], mix32(index + 0x9e3779b9));
}

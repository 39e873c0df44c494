/**
 * How a subject may round, told operator by operator (spec: verdicts.md 1 and 5). Every operator of the oracle that is
 * given a `Site` says for each element that it has computed how far a subject's value may be from it by rounding this
 * one operation: `b`, the worst case, and `sigma`, the standard deviation. What becomes of that is the business of
 * the rounding: nothing, a random error, or one error at one place.
 */
import type { RoundingProfile } from '../contract/subject.ts';

/** Half a unit in the last place of 1 in float32 and in F16. */
export const U32 = 2 ** -24;
export const U16 = 2 ** -11;
/** Half the smallest float32 and F16 numbers: what is below is rounded by this much. */
export const TINY32 = 2 ** -150;
export const TINY16 = 2 ** -25;

export interface Rounding {
  /** How the subject rounds. */
  readonly profile: RoundingProfile;
  /**
   * What an operation gives after rounding. `op` names it with its layer, `element` is the index in its result, `y`
   * the exact value, `b` the largest local error, `sigma` its standard deviation.
   */
  after(op: string, element: number, y: number, b: number, sigma: number): number;
}

/** A rounding at one operation of the forward pass. */
export interface Site {
  readonly profile: RoundingProfile;
  /**
   * As `Rounding.after`. `channel` is what the draws of `rounding` see instead of the element, where that would say at
   * which token it stands: equal values at different tokens round equally.
   */
  after(element: number, y: number, b: number, sigma: number, channel?: number): number;
  /** A step inside of the operation that rounds by itself. */
  step(name: string): Site;
}

export function siteOf(rounding: Rounding, op: string): Site {
  return {
    profile: rounding.profile,
    after: (element, y, b, sigma, channel = element) => rounding.after(op, channel, y, b, sigma),
    step: (name) => siteOf(rounding, `${op}.${name}`),
  };
}

/** FNV-1a over the name of an operation. */
function hashOf(op: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < op.length; i++) h = Math.imul(h ^ op.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

function mix(h: number, word: number): number {
  let z = Math.imul(h ^ word, 0x9e3779b1);
  z = Math.imul(z ^ (z >>> 15), 0x85ebca6b);
  return (z ^ (z >>> 13)) >>> 0;
}

const value = new Float64Array(1);
const words = new Uint32Array(value.buffer);

/** Uniform in (0, 1), from (seed, operation, element, bits of the value). */
class KeyedDraws {
  readonly #seed: number;
  readonly #ops = new Map<string, number>();

  constructor(seed: number) {
    this.#seed = mix(0x243f6a88, seed);
  }

  draw(op: string, element: number, y: number): number {
    let h = this.#ops.get(op);
    if (h === undefined) {
      h = mix(this.#seed, hashOf(op));
      this.#ops.set(op, h);
    }
    value[0] = y;
    h = mix(mix(mix(h, element), words[0]!), words[1]!);
    h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
    h ^= h >>> 15;
    return ((h >>> 0) + 0.5) / 2 ** 32;
  }
}

/**
 * One possible subject: every operation has an error of its standard deviation. The draw depends on the value and not
 * on the place in the batch, so equal operands round equally, as in a real program.
 */
export function keyed(seed: number, profile: RoundingProfile): Rounding {
  const draws = new KeyedDraws(seed);
  const width = Math.sqrt(3);
  return {
    profile,
    after: (op, element, y, _b, sigma) =>
      sigma === 0 ? y : y + sigma * width * (2 * draws.draw(op, element, y) - 1),
  };
}

/** Injected errors are this much smaller than drawn, so that huge draws stay linear. */
export const CAUCHY_SCALE = 2 ** -16;

/**
 * Cauchy-distributed errors of size b: the median of what they change is the sum of |sensitivity| b over all
 * operations, the worst that roundings can do together. Times CAUCHY_SCALE.
 */
export function cauchy(seed: number, profile: RoundingProfile): Rounding {
  const draws = new KeyedDraws(seed);
  return {
    profile,
    after: (op, element, y, b) =>
      b === 0 ? y : y + CAUCHY_SCALE * b * Math.tan(Math.PI * (draws.draw(op, element, y) - 0.5)),
  };
}

/** Every place where something is rounded, in the order of the forward pass: [b, sigma]. */
export function recorder(profile: RoundingProfile): Rounding & { readonly sites: [number, number][] } {
  const sites: [number, number][] = [];
  return {
    profile,
    sites,
    after(_op, _element, y, b, sigma) {
      sites.push([b, sigma]);
      return y;
    },
  };
}

/** An error at place k only. */
export function one(k: number, error: number, profile: RoundingProfile): Rounding {
  let next = 0;
  return { profile, after: (_op, _element, y) => (next++ === k ? y + error : y) };
}

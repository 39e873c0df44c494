/**
 * The error rules of the oracle against exact sensitivities (spec: verdicts.md 2): every place where something is
 * rounded is moved by itself, on a list of two tokens of a tiny model, and what the logits do is added up.
 */
import { describe, expect, it } from 'vitest';
import type { RoundingProfile, TypeKv } from '../contract/subject.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { loadModel } from '../model/load.ts';
import { Sequences } from './entries.ts';
import { carriedLogits, logits, roundedLogits } from './forward.ts';
import { CAUCHY_SCALE, cauchy, keyed, one, type Rounding, recorder } from './rounding.ts';

const PROFILE: RoundingProfile = {
  fma: false,
  products: { order: 'any' },
  rows: { order: 'any' },
  keys: { order: 'any' },
  rope: 'F32',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'logistic',
  kv: 'as asked',
};

/** Fused chains in stated orders, as our engine states them. */
const ORDERED: RoundingProfile = {
  ...PROFILE,
  fma: true,
  products: { order: 'blocks', size: 64 },
  rows: { order: 'lanes', lanes: 16 },
  keys: { order: 'blocks', size: 256 },
  rope: 'F64',
};

/** What ggml does with F16 weights and caches. */
const HALVES: RoundingProfile = {
  ...PROFILE,
  f16_activations: 'F16',
  softplus: 'log',
  rows: { order: 'double' },
};

function listOf(tokens: readonly number[]) {
  return new Sequences(1).decode({
    token: [...tokens],
    pos: tokens.map((_, i) => i),
    seq_id: tokens.map(() => [0]),
    logits: tokens.map(() => true),
  });
}

/** Standard deviation and worst case of each logit of the last entry, place by place. */
function exact(name: string, tokens: readonly number[], type_kv: TypeKv, profile: RoundingProfile) {
  const model = loadModel(buildRecipe(name), name);
  const entries = [listOf(tokens).at(-1)!];
  const run = (rounding: Rounding) => roundedLogits(model, entries, rounding, { type_kv })[0]!;
  const places = recorder(profile);
  const plain = run(places);
  const variance = new Float64Array(plain.length);
  const worst = new Float64Array(plain.length);
  // Large against float64's own rounding, small against curvature.
  const STEP = 256;
  places.sites.forEach(([b, sigma], k) => {
    if (sigma === 0) return;
    const moved = run(one(k, STEP * sigma, profile));
    for (let j = 0; j < plain.length; j++) {
      const slope = (moved[j]! - plain[j]!) / STEP;
      variance[j]! += slope * slope;
      worst[j]! += (Math.abs(slope) * b) / sigma;
    }
  });
  return { model, entries, run, plain, sigma: variance.map(Math.sqrt), worst, places: places.sites.length };
}

/** Least, middle and largest of a_j / b_j. */
function ratios(a: ArrayLike<number>, b: ArrayLike<number>) {
  const all = Array.from({ length: a.length }, (_, j) => a[j]! / b[j]!).sort((x, y) => x - y);
  return { least: all[0]!, middle: all[all.length >> 1]!, most: all.at(-1)! };
}

const TWO = { tokens: [3, 17], middle: 1.25, most: 2.3 };
const GEMMA = { ...TWO, most: 2.5 };
/**
 * Errors of a key or decay reach all values of a head alike, and the norm of the head takes away what they have in common:
 * the variance pass, which does not know of that, is wider here.
 */
const FOUR = { tokens: [3, 17, 44, 9], middle: 1.5, most: 4 };

describe.each([
  ['llama', 'F32', 'any order', PROFILE, TWO],
  ['llama', 'F16', 'any order', PROFILE, TWO],
  ['mamba', 'F32', 'any order', PROFILE, TWO],
  ['llama', 'F32', 'stated orders', ORDERED, TWO],
  ['mamba', 'F32', 'stated orders', ORDERED, TWO],
  ['llama-f16', 'F16', 'halves', HALVES, TWO],
  ['mamba-f16', 'F32', 'halves', HALVES, TWO],
  ['mamba2-fuzz', 'F32', 'any order', PROFILE, TWO],
  ['mamba2-fuzz', 'F32', 'stated orders', ORDERED, TWO],
  ['mamba2-fuzz-f16', 'F32', 'halves', HALVES, TWO],
  ['gemma2-fuzz@2x32', 'F32', 'any order', { ...PROFILE, gelu: 'tanh' }, GEMMA],
  ['gemma2-fuzz@2x32', 'F16', 'a table for GELU', { ...HALVES, gelu: 'F16 table' }, GEMMA],
  ['gemma3-fuzz@2x32', 'F32', 'stated orders', ORDERED, GEMMA],
  ['rwkv6-fuzz@1x16', 'F32', 'any order', PROFILE, FOUR],
  ['rwkv6-fuzz@1x16', 'F32', 'stated orders', ORDERED, FOUR],
  ['rwkv7-fuzz@1x16', 'F32', 'any order', PROFILE, FOUR],
  ['rwkv7-fuzz@1x16', 'F32', 'stated orders', ORDERED, FOUR],
] as const)('%s with K and V in %s, %s', (name, type_kv, _what, profile, limits) => {
  const { model, entries, run, plain, sigma, worst, places } = exact(name, limits.tokens, type_kv, profile);

  it('is what the forward pass gives without rounding, at thousands of places', () => {
    expect(plain).toEqual(logits(model, entries)[0]);
    expect(places).toBeGreaterThan(1500);
  });

  it('the variance pass is right to a factor', () => {
    const carried = carriedLogits(model, entries, profile, { type_kv })[0]!;
    expect(carried.v).toEqual(plain);
    const { least, middle, most } = ratios(carried.s.map(Math.sqrt), sigma);
    // What B and C of a group are off moves all its channels, which variances take for independent of each other: here
    // one logit of mamba2 is short by almost 3.
    expect(least).toBeGreaterThan(name.startsWith('mamba2') ? 0.33 : 0.5);
    expect(middle).toBeGreaterThan(0.85);
    expect(middle).toBeLessThan(limits.middle);
    expect(most).toBeLessThan(limits.most);
  });

  it('64 keyed runs are right to a factor', () => {
    const squares = new Float64Array(plain.length);
    for (let seed = 0; seed < 64; seed++) {
      const y = run(keyed(seed, profile));
      for (let j = 0; j < y.length; j++) squares[j]! += (y[j]! - plain[j]!) ** 2;
    }
    const { least, middle, most } = ratios(
      squares.map((s) => Math.sqrt(s / 64)),
      sigma,
    );
    expect(least).toBeGreaterThan(0.6);
    expect(middle).toBeGreaterThan(0.85);
    expect(middle).toBeLessThan(1.2);
    expect(most).toBeLessThan(1.5);
  });

  it('31 Cauchy runs find the worst case to a factor of 4', () => {
    const runs = Array.from({ length: 31 }, (_, seed) => run(cauchy(seed, profile)));
    const found = plain.map((v, j) => {
      const moved = runs.map((y) => Math.abs(y[j]! - v)).sort((a, b) => a - b);
      return moved[15]! / CAUCHY_SCALE;
    });
    const { least, middle, most } = ratios(found, worst);
    expect(least).toBeGreaterThan(1 / 4);
    expect(middle).toBeGreaterThan(0.6);
    expect(middle).toBeLessThan(2);
    expect(most).toBeLessThan(4);
    // The worst case is far from the usual one.
    expect(ratios(worst, sigma).least).toBeGreaterThan(5);
  });
});

describe('keyed errors', () => {
  const rounding = keyed(1, PROFILE);
  const round = (op: string, element: number, y: number, b: number, sigma: number) =>
    rounding.after(op, element, y, b, sigma);

  it('are the same for the same value at the same place of the program, and else not', () => {
    expect(round('a', 0, 1.5, 1, 0.1)).toBe(round('a', 0, 1.5, 1, 0.1));
    const others = [
      round('a', 1, 1.5, 1, 0.1),
      round('b', 0, 1.5, 1, 0.1),
      keyed(2, PROFILE).after('a', 0, 1.5, 1, 0.1),
    ];
    expect(new Set([round('a', 0, 1.5, 1, 0.1), ...others]).size).toBe(4);
    expect(round('a', 0, 1.5 + 2 ** -52, 1, 0.1) - 2 ** -52).not.toBe(round('a', 0, 1.5, 1, 0.1));
  });

  it('are uniform, centred, and have the stated standard deviation', () => {
    let [sum, squares, most] = [0, 0, 0];
    const n = 20_000;
    for (let i = 0; i < n; i++) {
      const error = round('x', i, i / 7, 9, 0.25) - i / 7;
      sum += error;
      squares += error * error;
      most = Math.max(most, Math.abs(error));
    }
    expect(Math.abs(sum / n)).toBeLessThan(0.25 / 30);
    expect(Math.sqrt(squares / n)).toBeCloseTo(0.25, 2);
    expect(most).toBeLessThanOrEqual(0.25 * Math.sqrt(3));
  });

  it('an exact operation stays exact', () => {
    expect(round('x', 0, 0.1, 0, 0)).toBe(0.1);
    expect(cauchy(1, PROFILE).after('x', 0, 0.1, 0, 0)).toBe(0.1);
  });
});

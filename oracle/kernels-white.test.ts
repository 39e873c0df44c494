import { describe, expect, test } from 'vitest';
import type { OperatorInput } from '../contract/operators.ts';
import type { RoundingProfile } from '../contract/subject.ts';
import { boundedOperators } from './kernels-white.ts';
import { U16, U32 } from './rounding.ts';

const profile: RoundingProfile = {
  fma: true,
  products: { order: 'blocks', size: 64 },
  rows: { order: 'lanes', lanes: 16 },
  keys: { order: 'blocks', size: 256 },
  rope: 'F64',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'logistic',
  kv: 'as asked',
};

const f32 = (...values: number[]) => Float32Array.from(values);

/** The first output, and its bounds in units of u. */
function run(input: OperatorInput, more: Partial<RoundingProfile> = {}) {
  const [output] = boundedOperators.run({ ...profile, ...more }, input);
  return { values: [...output!.values], units: [...output!.bounds].map((b) => b / U32) };
}

/** Second order is some u of it. */
function expectUnits(units: readonly number[], ...wanted: number[]): void {
  expect(units.length).toBe(wanted.length);
  units.forEach((unit, i) => {
    expect(unit).toBeGreaterThanOrEqual(wanted[i]!);
    expect(unit).toBeLessThanOrEqual(wanted[i]! * (1 + 1e-5) + 1e-30);
  });
}

describe('bounds by hand', () => {
  const product = { op: 'matmul', k: 2, n: 1, rows: 1, type: 'F32', x: f32(5, -1), w: f32(3, 4) } as const;

  test('a product: the terms go through two roundings, then bias and old value are added', () => {
    const { values, units } = run({ ...product, bias: f32(7), old: f32(-20) });
    expect(values).toEqual([15 - 4 + 7 - 20]);
    expectUnits(units, 2 * (15 + 4) + 18 + 2);
    expectUnits(run({ ...product, bias: null, old: null }, { fma: false }).units, 3 * 19);
  });

  test('inputs that are rounded to F16 first', () => {
    const { units } = run({ ...product, type: 'F16', bias: null, old: null }, { f16_activations: 'F16' });
    expectUnits(units, 2 * 19 + (U16 / U32) * (3 * 5 + 4));
  });

  test('a norm: half the error of its sum, three roundings of the scale, two of each element', () => {
    const input = { op: 'rmsNorm', n: 2, rows: 1, eps: 0, x: f32(1, -1), weight: f32(2, 4) } as const;
    const { values, units } = run(input);
    expect(values).toEqual([2, -4]);
    // Two lanes of one term each, folded once: a depth of 2.
    expectUnits(units, 2 * (1 + 3 + 2), 4 * (1 + 3 + 2));
    expectUnits(run({ ...input, weight: null }).units, 1 + 3 + 1, 1 + 3 + 1);
  });

  test('norms of heads are norms of rows', () => {
    const input = { n_head: 2, n_embd_head: 2, rows: 1, eps: 0, x: f32(1, -1, 7, 0), weight: f32(2, 4) };
    const { values, units } = run({ op: 'headNorm', ...input });
    expect(values.map((v) => v ** 2)).toEqual([4, 16, 8, 0].map((v) => expect.closeTo(v, 12)));
    // A square of zero is exact.
    expectUnits(units.slice(0, 2), 2 * (1 + 3 + 2), 4 * (1 + 3 + 2));
    expect(units[3]).toBeLessThan(1e-30);
  });

  test('a norm behind a gate where all cancels: off by no more than what was lost allows, and finite', () => {
    const input = {
      op: 'ssmGateNorm',
      n: 4,
      n_group: 2,
      rows: 1,
      eps: Math.fround(1e-12),
      // The first group is 1000 - 1000 in both channels, the second stands for itself.
      y: f32(1000, 1000, 3, -4),
      x: f32(-1000, -1000, 0, 0),
      z: f32(9, 9, 9, 9),
      skip: f32(1, 1, 1, 1),
      weight: f32(1, 1, 1, 2),
    } as const;
    const { values, units } = run(input);
    expect(values.map((v) => v ** 2)).toEqual([0, 0, 0.72, 5.12].map((v) => expect.closeTo(v, 9)));
    // Of both channels 1000 u are lost by the product, then the gate of 9 goes on: far above the root of eps.
    for (const unit of units.slice(0, 2)) {
      expect(unit).toBeGreaterThan((1000 * 9 * Math.SQRT2) / 1e-6 / 1.1);
      expect(unit).toBeLessThan(((1000 * 9 * Math.SQRT2) / 1e-6) * 1.1);
    }
    for (const unit of units.slice(2)) expect(unit).toBeLessThan(100);
  });

  test('attention to one key is its value: quotient, product, and a sum of one weight', () => {
    const input = {
      op: 'attention',
      n_head: 2,
      n_head_kv: 1,
      n_embd_head: 2,
      type: 'F32',
      q: f32(1, 2, 3, 4, 1, 1, 1, 1),
      k: f32(1, 1),
      v: f32(8, -16),
      pos: [0],
      ranges: [
        [0, 1],
        [0, 0],
      ],
    } as const;
    const { values, units } = run(input);
    expect(values).toEqual([8, -16, 8, -16, 0, 0, 0, 0]);
    expectUnits(units, 24, 48, 24, 48, 0, 0, 0, 0);
  });

  test('a quarter turn: the angle is the only thing that is not rounded', () => {
    const input = {
      op: 'rope',
      rope_type: 'NORMAL',
      n_head: 1,
      n_embd_head: 4,
      n_rot: 2,
      freq_base: 10_000,
      freq_scale: Math.PI / 2,
      pos: [1],
      x: f32(3, 5, 7, 9),
    } as const;
    const { values, units } = run(input);
    [-5, 3, 7, 9].forEach((y, i) => {
      expect(values[i]).toBeCloseTo(y, 12);
    });
    // The sine is rounded, its product and the sum with zero.
    expectUnits([units[0]! / 15, units[1]! / 9], 1, 1);
    expectUnits(units.slice(2), 0, 0);
  });

  test('what is moved as it is has no error, and F16 refuses what it cannot hold', () => {
    const table = f32(1, 2, 3, 4);
    expect(run({ op: 'embed', n: 2, type: 'F32', table, tokens: [1, 0] })).toEqual({
      values: [3, 4, 1, 2],
      units: [0, 0, 0, 0],
    });
    const store = { op: 'kvStore', n: 2, rows: 1, x: f32(3, 65_519) } as const;
    expectUnits(run({ ...store, type: 'F32' }).units, 0, 0);
    expectUnits(run({ ...store, type: 'F16' }).units, (3 * U16) / U32, (65_519 * U16) / U32);
    const refused = expect.objectContaining({ kind: 'memory.overflow' });
    expect(() => run({ ...store, type: 'F16', x: f32(3, 65_520) })).toThrow(refused);
  });
});

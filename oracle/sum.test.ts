import { describe, expect, it } from 'vitest';
import type { SumOrder } from '../contract/subject.ts';
import { U32 } from './rounding.ts';
import { depthOf, sumError } from './sum.ts';
import { type Random, seeded, signed } from './testing.ts';

const ORDERS: readonly SumOrder[] = [
  { order: 'sequential' },
  { order: 'blocks', size: 64 },
  { order: 'lanes', lanes: 16 },
];

/** A float32 sum in a stated order, products rounded. */
function sumOf(terms: Float64Array, order: SumOrder): number {
  const f = Math.fround;
  const chain = (part: ArrayLike<number>) => Array.from(part, f).reduce((sum, t) => f(sum + t));
  if (order.order === 'blocks') {
    const parts: number[] = [];
    for (let i = 0; i < terms.length; i += order.size) parts.push(chain(terms.slice(i, i + order.size)));
    return chain(parts);
  }
  if (order.order === 'lanes') {
    const lanes = new Array<number>(order.lanes).fill(0);
    terms.forEach((t, i) => {
      lanes[i % order.lanes] = f(lanes[i % order.lanes]! + f(t));
    });
    for (let half = order.lanes / 2; half >= 1; half /= 2) {
      for (let i = 0; i < half; i++) lanes[i] = f(lanes[i]! + lanes[i + half]!);
    }
    return lanes[0]!;
  }
  return chain(terms);
}

function shuffled(list: number[], random: Random): number[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}

describe('the error of a sum', () => {
  it('has the depth of its order', () => {
    const depth = (n: number, order: SumOrder) => depthOf(n, order);
    expect(depth(64, { order: 'any' })).toBe(64);
    expect(depth(64, { order: 'sequential' })).toBe(64);
    expect(depth(64, { order: 'blocks', size: 64 })).toBe(64);
    expect(depth(65, { order: 'blocks', size: 64 })).toBe(65);
    expect(depth(4096, { order: 'blocks', size: 64 })).toBe(127);
    expect(depth(4096, { order: 'lanes', lanes: 16 })).toBe(260);
    expect(depth(3, { order: 'lanes', lanes: 16 })).toBe(3);
    expect(depth(1, { order: 'lanes', lanes: 16 })).toBe(1);
  });

  it.each(ORDERS)('%o: float32 sums keep the rigorous bound and have the stated variance', (order) => {
    const random = seeded(7);
    for (const n of [1, 5, 16, 64, 100, 300]) {
      let [squares, expected, most] = [0, 0, 0];
      for (let run = 0; run < 400; run++) {
        const terms = Float64Array.from({ length: n }, () => signed(random) * signed(random));
        const exact = terms.reduce((sum, t) => sum + t, 0);
        const { b, variance } = sumError(terms, n, order, 'products');
        const error = Math.abs(sumOf(terms, order) - exact);
        expect(error).toBeLessThanOrEqual(b);
        squares += error * error;
        expected += variance;
        most = Math.max(most, error / Math.sqrt(variance));
      }
      const ratio = Math.sqrt(squares / expected);
      expect(ratio).toBeGreaterThan(0.6);
      expect(ratio).toBeLessThan(1.2);
      expect(most).toBeLessThan(6);
    }
  });

  it('of an unknown order is that of the mean over all orders', () => {
    const random = seeded(3);
    const terms = Float64Array.from({ length: 40 }, () => signed(random) + 0.3);
    for (const n of [1, 2, 4, 40]) {
      for (const kind of ['numbers', 'fused'] as const) {
        const { b, variance } = sumError(terms, n, { order: 'any' }, kind);
        expect(b).toBe(n * U32 * terms.slice(0, n).reduce((s, t) => s + Math.abs(t), 0));
        let partials = 0;
        const runs = 4000;
        for (let run = 0; run < runs; run++) {
          let sum = 0;
          shuffled([...terms.slice(0, n)], random).forEach((t, i) => {
            sum += t;
            if (i > 0 || kind === 'fused') partials += sum * sum;
          });
        }
        const mean = ((U32 * U32) / 3) * (partials / runs);
        if (mean === 0) expect(variance).toBe(0);
        else expect(variance / mean).toBeCloseTo(1, 1);
      }
    }
  });

  it('in double is rounded once', () => {
    const { b, variance } = sumError(Float64Array.of(3, -1), 2, { order: 'double' }, 'products');
    expect([b, variance]).toEqual([2 * U32, ((U32 * U32) / 3) * 4]);
  });

  it('rounds products too, unless they are fused', () => {
    const terms = Float64Array.of(3, 4);
    const of = (kind: 'products' | 'fused' | 'numbers') =>
      sumError(terms, 2, { order: 'sequential' }, kind).variance / ((U32 * U32) / 3);
    expect(of('numbers')).toBeCloseTo(49);
    expect(of('fused')).toBeCloseTo(9 + 49);
    expect(of('products')).toBeCloseTo(9 + 16 + 49);
  });
});

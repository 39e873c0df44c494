/** The generator of weights: pinned numbers, and roughly the distributions that it claims. */
import { describe, expect, it } from 'vitest';
import { Random } from './random.ts';

describe('Random', () => {
  it('gives these numbers on every machine', () => {
    const random = new Random('isobatch');
    expect([random.u32(), random.u32(), random.u32()]).toEqual([597388959, 2052153330, 3014280991]);
    expect(new Random('a').u32()).not.toBe(new Random('b').u32());
  });

  it('normal numbers have mean 0, variance 1, and tails', () => {
    const random = new Random('moments');
    const values = Float64Array.from({ length: 20_000 }, () => random.normal());
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.03);
    expect(Math.abs(variance - 1)).toBeLessThan(0.05);
    expect(Math.max(...values)).toBeGreaterThan(3);
  });

  it('picks below a limit reach every value', () => {
    const random = new Random('below');
    const seen = new Set(Array.from({ length: 200 }, () => random.below(7)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(['x', 'y']).toContain(random.pick(['x', 'y']));
    const x = random.uniform();
    expect(x >= 0 && x < 1).toBe(true);
  });
});

import { expect, it } from 'vitest';
import { layerNorm } from './layer-norm.ts';

const f = (...x: number[]) => Float64Array.from(x);

it('takes the mean off, divides by the biased deviation, then scales and shifts', () => {
  // Mean 3, squares 4 + 0 + 4, variance 8/3; with eps 4/3 the root is 2.
  expect(layerNorm(f(1, 3, 5), 4 / 3, f(1, 1, 10), f(0, 7, 0.5))).toEqual(f(-1, 7, 10.5));
});

it('is b for equal numbers, and leaves its operands as they are', () => {
  const x = f(4, 4);
  expect(layerNorm(x, 1e-5, f(2, 2), f(-1, 3))).toEqual(f(-1, 3));
  expect(x).toEqual(f(4, 4));
});

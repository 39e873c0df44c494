import { describe, expect, it } from 'vitest';
import { distance, ulp } from './compare.ts';
import { byHead, Draw, joined, transposed } from './draw.ts';
import { float32 } from './feeds.ts';

const f = (...x: number[]) => Float64Array.from(x);

describe('ulp', () => {
  it.each([
    [1, 2 ** -52, 2 ** -23],
    [-1.5, 2 ** -52, 2 ** -23],
    [2, 2 ** -51, 2 ** -22],
    [2 - 2 ** -52, 2 ** -52, 2 ** -23],
    [2 ** 40, 2 ** -12, 2 ** 17],
    [2 ** -1022, 2 ** -1074, 2 ** -149],
    [2 ** -1074, 2 ** -1074, 2 ** -149],
    [0, 2 ** -1074, 2 ** -149],
  ])('of %d is %d, in float32 %d', (x, in64, in32) => {
    expect(ulp(x, 'float64')).toBe(in64);
    expect(ulp(x, 'float32')).toBe(in32);
  });

  it('is the step to the next number, next to every power of two', () => {
    for (let e = -1021; e < 1023; e++) {
      const x = 2 ** e;
      expect(ulp(x, 'float64'), `2^${e}`).toBe(x * 2 ** -52);
      expect(ulp(x - ulp(x, 'float64') / 2, 'float64'), `below 2^${e}`).toBe(x * 2 ** -53);
    }
  });
});

describe('distance', () => {
  const rows = [f(1, -8), f(0.5)];

  it('is zero between equal numbers, zeros of both signs and equal infinities', () => {
    expect(distance(f(1, -8, 0.5), rows, rows, 'float64')).toEqual({ absolute: 0, relative: 0, ulps: 0 });
    const odd = [f(0, Infinity)];
    expect(distance(f(-0, Infinity), odd, odd, 'float64').ulps).toBe(0);
  });

  it('takes the largest of all elements, each over its own row and its own magnitude', () => {
    const got = f(1 + 2 ** -50, -8, 0.5 + 2 ** -52);
    expect(distance(got, rows, rows, 'float64')).toEqual({ absolute: 2 ** -50, relative: 2 ** -51, ulps: 4 });
    const magnitude = [f(16, 16), f(0.5)];
    expect(distance(got, rows, magnitude, 'float64').ulps).toBe(2);
    expect(distance(got, rows, rows, 'float32').ulps).toBe(2 ** -27);
  });

  it.each([
    ['NaN', Number.NaN, 1],
    ['NaN on both sides', Number.NaN, Number.NaN],
    ['an infinity', Infinity, 1],
    ['the other infinity', Infinity, -Infinity],
  ])('is infinite for %s', (_, got, wanted) => {
    expect(distance(f(1, got), [f(1, wanted)], [f(1, 1)], 'float64').ulps).toBe(Infinity);
  });

  it('refuses answers of another size', () => {
    expect(() => distance(f(1, -8), rows, rows, 'float64')).toThrow('2 numbers, but the rows hold 3');
  });
});

describe('what trials are made of', () => {
  it('are the same for the same seed, and of all digits', () => {
    expect(new Draw(3).numbers(20)).toEqual(new Draw(3).numbers(20));
    expect(new Draw(3).numbers(20)).not.toEqual(new Draw(4).numbers(20));
    const x = new Draw(5).numbers(1000, 7);
    expect(x.every((xi) => Math.abs(xi) <= 7)).toBe(true);
    expect(x.filter((xi) => Math.fround(xi) === xi).length).toBeLessThan(5);
  });

  it('have sizes from 1 to the largest', () => {
    const draw = new Draw(1);
    const sizes = new Set(Array.from({ length: 2000 }, () => draw.size(33)));
    expect(sizes.size).toBe(33);
    expect([Math.min(...sizes), Math.max(...sizes)]).toEqual([1, 33]);
  });

  it('are laid out by head, in columns, and one behind the other', () => {
    const rows = [f(1, 2, 3, 4), f(5, 6, 7, 8)];
    expect(byHead(rows, 2)).toEqual([f(1, 2), f(5, 6), f(3, 4), f(7, 8)]);
    expect(transposed(rows)).toEqual([f(1, 5), f(2, 6), f(3, 7), f(4, 8)]);
    expect(joined(rows)).toEqual(f(1, 2, 3, 4, 5, 6, 7, 8));
  });

  it('are float32 numbers already where ONNX Runtime computes in float32', () => {
    expect(() => float32(f(0.1), 1)).toThrow('no float32');
    expect(float32(f(0.5, Number.NEGATIVE_INFINITY), 2).data).toEqual(Float32Array.of(0.5, -Infinity));
  });
});

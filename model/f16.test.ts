/** Halves: all 65,536 of them, and rounding checked against a search over all of them. */
import { describe, expect, it } from 'vitest';
import { floatsToHalves, floatToHalf, halfToFloat, halvesToFloats } from './f16.ts';

const isNaNHalf = (bits: number): boolean => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;

describe('halves', () => {
  it('all 65,536 survive the way to float and back', () => {
    let n_nan = 0;
    for (let bits = 0; bits < 0x10000; bits++) {
      const x = halfToFloat(bits);
      if (isNaNHalf(bits)) {
        n_nan++;
        if (!Number.isNaN(x)) throw new Error(`0x${bits.toString(16)} is not NaN`);
      } else if (floatToHalf(x) !== bits || Math.fround(x) !== x) {
        throw new Error(`0x${bits.toString(16)} became 0x${floatToHalf(x).toString(16)}`);
      }
    }
    expect(n_nan).toBe(2 * 1023);
  });

  it('are built from sign, exponent and fraction as IEEE 754 says', () => {
    expect(halfToFloat(0x3c00)).toBe(1);
    expect(halfToFloat(0xc000)).toBe(-2);
    expect(halfToFloat(0x0001)).toBe(2 ** -24);
    expect(halfToFloat(0x0400)).toBe(2 ** -14);
    expect(halfToFloat(0x7bff)).toBe(65504);
    expect(halfToFloat(0x7c00)).toBe(Infinity);
    expect(halfToFloat(0xfc00)).toBe(-Infinity);
    expect(halfToFloat(0x8000)).toBe(-0);
    expect(halfToFloat(0x3555)).toBe(0.333251953125);
  });

  it('round to nearest even between every two neighbours, also when the neighbours are doubles apart', () => {
    for (let bits = 0; bits < 0x7bff; bits++) {
      const low = halfToFloat(bits);
      const high = halfToFloat(bits + 1);
      const middle = (low + high) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      // One double step beside the middle decides; a detour through float32 would lose it.
      const nudge = middle * 2 ** -52;
      const wrong =
        floatToHalf(middle) !== even ||
        floatToHalf(-middle) !== (0x8000 | even) ||
        floatToHalf(middle + nudge) !== bits + 1 ||
        floatToHalf(middle - nudge) !== bits;
      if (wrong) throw new Error(`around ${middle}, between 0x${bits.toString(16)} and the next`);
    }
    expect(floatToHalf(65519.999)).toBe(0x7bff);
  });

  it('overflow to infinity at the middle above the largest, and underflow to a signed zero', () => {
    expect(floatToHalf(65520)).toBe(0x7c00);
    expect(floatToHalf(-1e300)).toBe(0xfc00);
    expect(floatToHalf(Infinity)).toBe(0x7c00);
    expect(floatToHalf(2 ** -25)).toBe(0);
    expect(floatToHalf(-(2 ** -25))).toBe(0x8000);
    expect(floatToHalf(2 ** -25 * (1 + 2 ** -52))).toBe(1);
    expect(floatToHalf(-1e-300)).toBe(0x8000);
    expect(floatToHalf(-0)).toBe(0x8000);
    expect(floatToHalf(Number.NaN)).toBe(0x7e00);
  });

  it('come in arrays', () => {
    const values = Float32Array.of(0, 1, -2.5, 65504, 1 / 3);
    const bits = floatsToHalves(values);
    expect([...bits]).toEqual([0, 0x3c00, 0xc100, 0x7bff, 0x3555]);
    expect([...halvesToFloats(bits)]).toEqual([0, 1, -2.5, 65504, 0.333251953125]);
  });
});

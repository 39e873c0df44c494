/** The exact fma against rational arithmetic, halves, and the accuracy of the engine's own functions. */

import { describe, expect, test } from 'vitest';
import { Random } from '../testkit.ts';
import { exp, fma, gelu, HALF, log1p, sigmoid, silu, softplus, tanh, toHalf } from './math.ts';

const view = new DataView(new ArrayBuffer(8));

function fromBits(bits: number): number {
  view.setUint32(0, bits >>> 0);
  return view.getFloat32(0);
}

function toBits(x: number): number {
  view.setFloat32(0, x);
  return view.getUint32(0);
}

/** A finite float as an integer multiple of 2^-149. */
function exact(x: number): bigint {
  const bits = toBits(x);
  const exponent = (bits >>> 23) & 255;
  const mantissa = BigInt(bits & 0x7fffff);
  const magnitude = exponent === 0 ? mantissa : (mantissa | 0x800000n) << BigInt(exponent - 1);
  return bits >>> 31 ? -magnitude : magnitude;
}

/** fma of finite floats by integers: a*b + c as a multiple of 2^-298, rounded to nearest even. */
function rational(a: number, b: number, c: number): number {
  const sum = exact(a) * exact(b) + (exact(c) << 149n);
  if (sum === 0n) return a * b + c; // the sign of zero, which float64 gets right
  const negative = sum < 0n;
  const magnitude = negative ? -sum : sum;
  const length = magnitude.toString(2).length;
  // Keep 24 bits, or fewer where the result is denormal: its last bit is at least 2^-149, that is bit 149 here.
  const drop = BigInt(Math.max(length - 24, 149));
  const half = 1n << (drop - 1n);
  const rest = magnitude & ((1n << drop) - 1n);
  let kept = magnitude >> drop;
  if (rest > half || (rest === half && kept & 1n)) kept += 1n;
  const value = Number(kept) * 2 ** (Number(drop) - 298);
  const rounded = value > 3.4028234663852886e38 ? Number.POSITIVE_INFINITY : value;
  return negative ? -rounded : rounded;
}

/** Hard operands: any bits, near cancellation, ties and near ties, denormals, overflow. */
function hard(random: Random): [number, number, number] {
  const any = () => {
    for (;;) {
      const x = fromBits(random.bits());
      if (Number.isFinite(x)) return x;
    }
  };
  const near = (x: number) => {
    const y = fromBits(toBits(x) + random.int(-2, 2));
    return Number.isFinite(y) ? y : x;
  };
  const kind = random.int(0, 6);
  if (kind === 0) return [any(), any(), any()];
  if (kind === 1) {
    const [a, b] = [random.float(), random.float()];
    return [a, b, near(-Math.fround(a * b))];
  }
  if (kind === 2) {
    // c is large, a*b lies half an ulp of c away, or a hair from it.
    const c = fromBits((random.int(100, 150) << 23) | (random.bits() & 0x7fffff));
    const half = 2 ** (((toBits(c) >>> 23) & 255) - 151);
    return [Math.fround(half * near(1)) * random.pick([1, -1]), near(1), c];
  }
  if (kind === 3) {
    const tiny = () => fromBits(((random.bits() & 0x80000000) | random.int(0, 0x1000000)) >>> 0);
    return random.int(0, 1) ? [tiny(), random.float(), tiny()] : [tiny(), tiny(), tiny()];
  }
  if (kind === 4) {
    const small = () =>
      fromBits(
        ((random.bits() & 0x80000000) | (random.int(40, 80) << 23) | (random.bits() & 0x7fffff)) >>> 0,
      );
    return [small(), small(), fromBits(random.int(0, 0x2000000))];
  }
  if (kind === 5) {
    const large = () =>
      fromBits(((random.bits() & 0x80000000) | (random.int(188, 192) << 23) | random.int(0, 3)) >>> 0);
    return [
      large(),
      large(),
      near(random.pick([3.4028234663852886e38, -3.4028234663852886e38, 2 ** 103, -(2 ** 103)])),
    ];
  }
  // Few bits: exact products and many exact ties.
  const few = () => Math.fround(random.int(-4097, 4097) * 2 ** random.int(-3, 3));
  return [few(), few(), Math.fround(few() * 2 ** random.int(0, 14))];
}

describe('fma', () => {
  test('is exact in 100,000 hard cases', () => {
    const random = new Random(7);
    let ties = 0;
    for (let i = 0; i < 100_000; i++) {
      const [a, b, c] = hard(random);
      const got = fma(a, b, c);
      const want = rational(a, b, c);
      if (!Object.is(got, want)) expect.fail(`fma(${a}, ${b}, ${c}) is ${want}, not ${got}`);
      if (got !== Math.fround(a * b + c)) ties++;
    }
    // The cases must reach what makes it hard: naive double rounding fails in some of them.
    expect(ties).toBeGreaterThan(100);
  });

  test('handles the overflow edge, infinities and NaN', () => {
    const max = 3.4028234663852886e38;
    expect(fma(2 ** 103, 1, max)).toBe(Number.POSITIVE_INFINITY);
    expect(fma(2 ** 103, 1 - 2 ** -24, max)).toBe(max);
    // The sum in float64 is exactly the edge; what it lost says which side.
    const c = -(2 ** -100);
    expect(fma(31 * 2 ** 50, 1082401 * 2 ** 53, c)).toBe(max);
    expect(fma(-31 * 2 ** 50, 1082401 * 2 ** 53, -c)).toBe(-max);
    expect(fma(31 * 2 ** 50, 1082401 * 2 ** 53, -c)).toBe(Number.POSITIVE_INFINITY);
    expect(fma(Number.POSITIVE_INFINITY, 1, Number.NEGATIVE_INFINITY)).toBeNaN();
    expect(fma(Number.POSITIVE_INFINITY, 0, 1)).toBeNaN();
    expect(fma(Number.POSITIVE_INFINITY, -1, 5)).toBe(Number.NEGATIVE_INFINITY);
    expect(fma(Number.NaN, 1, 1)).toBeNaN();
    expect(Object.is(fma(-0, 1, -0), -0)).toBe(true);
    expect(Object.is(fma(-0, 1, 0), 0)).toBe(true);
  });
});

test('halves go there and back, and round to nearest even', () => {
  for (let h = 0; h < 65536; h++) {
    const x = HALF[h]!;
    if (Number.isFinite(x)) expect(toHalf(x)).toBe(h);
  }
  const random = new Random(8);
  for (let i = 0; i < 20_000; i++) {
    const x = Math.fround(random.float() * 2 ** random.int(-27, 15));
    const h = toHalf(x);
    const distance = Math.abs(HALF[h]! - x);
    for (const other of [h - 1, h + 1]) {
      if ((other & 0x7fff) >= 0x7c00 || (other & 0x8000) !== (h & 0x8000) || other < 0) continue;
      const theirs = Math.abs(HALF[other]! - x);
      expect(theirs > distance || (theirs === distance && (h & 1) === 0)).toBe(true);
    }
  }
});

/** Distance of `got` from `want` in units of the last place of float32 at `want`. */
function ulps(got: number, want: number): number {
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(want))), -126);
  return Math.abs(got - want) / 2 ** (exponent - 23);
}

describe('accuracy', () => {
  /** Largest error over a sweep of [low, high]. */
  function worst(
    f: (x: number) => number,
    reference: (x: number) => number,
    low: number,
    high: number,
  ): number {
    let max = 0;
    for (let i = 0; i <= 40_000; i++) {
      const x = Math.fround(low + ((high - low) * i) / 40_000);
      const want = reference(x);
      if (want !== 0) max = Math.max(max, ulps(f(x), want));
    }
    return max;
  }
  const sigmoidTimes = (x: number) => x / (1 + Math.exp(-x));
  const logOnePlusExp = (x: number) => Math.log1p(Math.exp(x));

  test('exp, log1p, softplus and silu are within a few ulp', () => {
    const found = {
      exp: Math.max(worst(exp, Math.exp, -87, 88.7), worst(exp, Math.exp, -1, 1)),
      expDenormal: worst(exp, Math.exp, -103, -87),
      log1p: Math.max(
        worst(log1p, Math.log1p, 0, 2),
        worst(log1p, Math.log1p, 0, 5e8),
        worst(log1p, Math.log1p, 0, 1e-30),
      ),
      softplus: Math.max(worst(softplus, logOnePlusExp, -87, 25), worst(softplus, logOnePlusExp, -3, 3)),
      silu: Math.max(worst(silu, sigmoidTimes, -80, 80), worst(silu, sigmoidTimes, -2, 2)),
    };
    console.log('largest errors in ulp:', found);
    expect(found.exp).toBeLessThan(1.5);
    expect(found.expDenormal).toBeLessThan(1.5);
    expect(found.log1p).toBeLessThan(3);
    expect(found.softplus).toBeLessThan(4);
    expect(found.silu).toBeLessThan(4);
  });

  test('sigmoid is within 2.5 ulp and tanh within 2, at every size of number', () => {
    const logistic = (x: number) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
    /** Every 20,011th float of one sign, from the smallest to `last`. */
    const everywhere = (
      f: (x: number) => number,
      reference: (x: number) => number,
      last: number,
      sign: 1 | -1,
    ) => {
      let max = 0;
      for (let bits = 1; bits <= toBits(last); bits += 20_011) {
        const x = sign * fromBits(bits);
        max = Math.max(max, ulps(f(x), reference(x)));
      }
      return max;
    };
    const found = {
      sigmoid: Math.max(
        worst(sigmoid, logistic, -103, 40),
        worst(sigmoid, logistic, -2, 2),
        everywhere(sigmoid, logistic, 40, 1),
        everywhere(sigmoid, logistic, 103, -1),
      ),
      tanh: Math.max(
        worst(tanh, Math.tanh, -12, 12),
        worst(tanh, Math.tanh, 0.5, 0.75),
        everywhere(tanh, Math.tanh, 20, 1),
        everywhere(tanh, Math.tanh, 20, -1),
      ),
    };
    console.log('largest errors in ulp:', found);
    expect(found.sigmoid).toBeLessThan(2.5);
    expect(found.tanh).toBeLessThan(2);
    // Odd, bit for bit; and rising where the two formulas meet.
    let before = 0;
    for (let bits = toBits(0.62); bits < toBits(0.63); bits++) {
      const x = fromBits(bits);
      expect(tanh(-x)).toBe(-tanh(x));
      expect(tanh(x)).toBeGreaterThanOrEqual(before - 2 ** -23);
      before = tanh(x);
    }
  });

  test('sigmoid and tanh at the ends', () => {
    expect(sigmoid(0)).toBe(0.5);
    expect(sigmoid(Number.POSITIVE_INFINITY)).toBe(1);
    expect(sigmoid(Number.NEGATIVE_INFINITY)).toBe(0);
    expect(sigmoid(-103)).toBeGreaterThan(0);
    expect(sigmoid(Number.NaN)).toBeNaN();
    expect(tanh(Number.POSITIVE_INFINITY)).toBe(1);
    expect(tanh(-100)).toBe(-1);
    expect(tanh(Number.NaN)).toBeNaN();
    expect(tanh(-0) === 0).toBe(true);
    expect(tanh(2 ** -149)).toBe(2 ** -149);
  });

  test('tanh is within two ulp, gelu too where its exponential is not huge', () => {
    const inner = (x: number) => 2 * Math.sqrt(2 / Math.PI) * x * (1 + 0.044715 * x * x);
    const geluExact = (x: number) => x / (1 + Math.exp(-inner(x)));
    const found = {
      tanh: Math.max(worst(tanh, Math.tanh, -10, 10), worst(tanh, Math.tanh, -0.7, 0.7)),
      tanhTiny: worst(tanh, Math.tanh, -1e-30, 1e-30),
      gelu: Math.max(worst(gelu, geluExact, -0.5, 10), worst(gelu, geluExact, -0.01, 0.01)),
      // The exponent is rounded: relative errors grow with it.
      geluNegative: worst(gelu, geluExact, -5, -0.5),
    };
    console.log('largest errors in ulp:', found);
    expect(found.tanh).toBeLessThan(1.5);
    expect(found.tanhTiny).toBeLessThan(1);
    expect(found.gelu).toBeLessThan(4);
    expect(found.geluNegative).toBeLessThan(50);
    expect([tanh(100), tanh(-100), tanh(Infinity), tanh(-Infinity)]).toEqual([1, -1, 1, -1]);
    expect(tanh(Number.NaN)).toBeNaN();
    expect(tanh(-0)).toBe(0);
    expect(Object.is(gelu(-1e20), -0)).toBe(true);
    expect(gelu(Infinity)).toBe(Infinity);
    expect(gelu(Number.NaN)).toBeNaN();
  });

  test('the ends: overflow, underflow, infinities, NaN', () => {
    expect(exp(88.72283)).toBeGreaterThan(3.4e38);
    expect(exp(88.73)).toBe(Number.POSITIVE_INFINITY);
    expect(exp(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
    expect(exp(-103.5)).toBe(2 ** -149);
    expect(exp(-104)).toBe(0);
    expect(exp(Number.NEGATIVE_INFINITY)).toBe(0);
    expect(exp(0)).toBe(1);
    expect(exp(-0)).toBe(1);
    expect(exp(Number.NaN)).toBeNaN();
    expect(softplus(20.5)).toBe(20.5);
    expect(softplus(Number.NEGATIVE_INFINITY)).toBe(0);
    expect(softplus(Number.NaN)).toBeNaN();
    expect(silu(Number.NaN)).toBeNaN();
    expect(Object.is(silu(-200), -0)).toBe(true);
  });
});

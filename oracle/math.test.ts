import { describe, expect, it } from 'vitest';
import { halfToNumber, roundToHalf } from './half.ts';
import {
  elements,
  type Matrix,
  matrix,
  matVec,
  pairOf,
  rmsNorm,
  rope,
  row,
  silu,
  softmax,
  softplus,
} from './math.ts';
import { type ScanInput, ssmConv, ssmScan } from './ssm.ts';
import { seeded } from './testing.ts';

const f = (...x: number[]) => Float64Array.from(x);
const m = (n_in: number, n_out: number, ...x: number[]): Matrix => ({ n_in, n_out, data: f(...x) });

describe('half precision', () => {
  it.each([
    [0x0000, 0],
    [0x3c00, 1],
    [0xc000, -2],
    [0x3555, 0.333251953125],
    [0x7bff, 65504],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
  ])('%i is %d', (bits, value) => {
    expect(halfToNumber(bits)).toBe(value);
  });

  it('knows minus zero and NaN', () => {
    expect(halfToNumber(0x8000)).toBe(-0);
    expect(halfToNumber(0x7e00)).toBeNaN();
    expect(roundToHalf(-0)).toBe(-0);
    expect(roundToHalf(Number.NaN)).toBeNaN();
  });

  it('rounds every half to itself and every middle to the even one', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 0x7bff; bits++) {
      const low = halfToNumber(bits);
      const high = halfToNumber(bits + 1);
      const middle = (low + high) / 2;
      const eighth = (high - low) / 8;
      const right =
        low < high &&
        roundToHalf(low) === low &&
        roundToHalf(-high) === -high &&
        roundToHalf(middle) === (bits % 2 === 0 ? low : high) &&
        roundToHalf(middle + eighth) === high &&
        roundToHalf(eighth - middle) === -low;
      if (!right) {
        wrong.push(bits);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('overflows from 65520 on', () => {
    expect(roundToHalf(65519.99)).toBe(65504);
    expect(roundToHalf(65520)).toBe(Infinity);
    expect(roundToHalf(-1e9)).toBe(-Infinity);
    expect(roundToHalf(1e-9)).toBe(0);
  });
});

describe('tensors', () => {
  it('are decoded exactly, in file order', () => {
    const f32 = new Float32Array([1.5, -2, 0.1, 4, 5, 6]);
    const w = matrix({ name: 'w', ne: [3, 2], type: 'F32', data: f32 });
    expect(w).toMatchObject({ n_in: 3, n_out: 2, data: f(1.5, -2, Math.fround(0.1), 4, 5, 6) });
    expect(row(w, 1)).toEqual(f(4, 5, 6));
    expect(() => row(w, 2)).toThrow('token 2 is not in 0..1');
    expect(elements({ name: 'h', ne: [2], type: 'F16', data: new Uint16Array([0x3c00, 0xc500]) })).toEqual(
      f(1, -5),
    );
  });
});

describe('operators', () => {
  it('matVec', () => {
    expect(matVec(m(3, 2, 1, 2, 3, 4, 5, 6), f(1, 0, -1))).toEqual(f(-2, -2));
  });

  it('rmsNorm', () => {
    // mean of squares 12.5, eps 3.5: divided by 4
    expect(rmsNorm(f(3, 4), 3.5)).toEqual(f(0.75, 1));
    expect(rmsNorm(f(3, 4), 3.5, f(2, -1))).toEqual(f(1.5, -1));
  });

  it('silu and softplus', () => {
    expect(silu(0)).toBe(0);
    expect(silu(Math.log(3))).toBeCloseTo(Math.log(3) * 0.75, 14);
    expect(softplus(0)).toBeCloseTo(Math.LN2, 15);
    expect(softplus(21)).toBe(21);
    expect(softplus(20)).toBeGreaterThan(20);
    // the newer float32 form of real releases is 0 here
    expect(softplus(-40)).toBeCloseTo(Math.exp(-40), 30);
  });

  it('softmax', () => {
    const p = softmax(f(1000, 1000 + Math.log(3)));
    expect(p[0]).toBeCloseTo(0.25, 12);
    expect(p[1]).toBeCloseTo(0.75, 12);
    expect(softmax(f(-5))).toEqual(f(1));
  });

  it('rope turns pairs 2i, 2i+1 of each head and copies the rest', () => {
    // frequencies 1 and 100^(-1/2) = 0.1, scale 0.5
    const shape = { n_embd_head: 5, n_rot: 4, freq_base: 100, freq_scale: 0.5 };
    const y = rope(f(1, 0, 0, 1, 7, 0, 1, 1, 0, 8), 6, shape);
    const [a, b] = [3, 0.3];
    const expected = [
      ...[Math.cos(a), Math.sin(a), -Math.sin(b), Math.cos(b), 7],
      ...[-Math.sin(a), Math.cos(a), Math.cos(b), Math.sin(b), 8],
    ];
    expected.forEach((value, i) => {
      expect(y[i]).toBeCloseTo(value, 14);
    });
    expect(rope(f(1, 2, 3, 4, 5), 0, shape)).toEqual(f(1, 2, 3, 4, 5));
  });

  it('rope of type NEOX turns pairs i, i + n_rot/2', () => {
    const shape = { type: 'NEOX', n_embd_head: 5, n_rot: 4, freq_base: 100, freq_scale: 0.5 } as const;
    const y = rope(f(1, 0, 0, 1, 7, 0, 1, 1, 0, 8), 6, shape);
    const [a, b] = [3, 0.3];
    const expected = [
      ...[Math.cos(a), -Math.sin(b), Math.sin(a), Math.cos(b), 7],
      ...[-Math.sin(a), Math.cos(b), Math.cos(a), Math.sin(b), 8],
    ];
    expected.forEach((value, i) => {
      expect(y[i]).toBeCloseTo(value, 14);
    });
    expect(pairOf(shape, 1)).toEqual([1, 3]);
    expect(pairOf({ ...shape, type: 'NORMAL' }, 1)).toEqual([2, 3]);
  });

  it('rope keeps the products of equal distances', () => {
    const shape = { n_embd_head: 4, n_rot: 4, freq_base: 10000, freq_scale: 1 };
    const dot = (p: number, q: number) =>
      rope(f(1, 2, 3, 4), p, shape).reduce((sum, x, i) => sum + x * rope(f(-2, 1, 0.5, 3), q, shape)[i]!, 0);
    expect(dot(7, 3)).toBeCloseTo(dot(104, 100), 10);
    expect(dot(7, 3)).not.toBeCloseTo(dot(7, 4), 3);
  });
});

describe('ssm operators', () => {
  it('ssmConv sums ascending columns', () => {
    // two channels, d_conv 3
    const w = m(3, 2, 1, 10, 100, 2, 0, -1);
    const columns = [f(0, 0), f(1, 5), f(2, 6), f(3, 7)];
    expect(ssmConv(columns, w)).toEqual([f(210, -6), f(321, 3)]);
    expect(ssmConv(columns.slice(0, 2), w)).toEqual([]);
  });

  it('ssmScan by hand', () => {
    // one channel, two states; dt so large that softplus is the identity; A = ln(1/2)/25 and 0: decay 1/2 and none
    const A = m(2, 1, -Math.LN2 / 25, 0);
    const token = (x: number): ScanInput => ({ x: f(x), dt: f(25), B: f(1, 2), C: f(1, 0.5) });
    const { y, state } = ssmScan(f(8, 1), A, [token(1), token(0)]);
    // state: 8/2 + 25 = 29, 1 + 50 = 51; then 14.5, 51
    expect(y[0]![0]).toBeCloseTo(29 + 25.5, 12);
    expect(y[1]![0]).toBeCloseTo(14.5 + 25.5, 12);
    expect(state[0]).toBeCloseTo(14.5, 12);
    expect(state[1]).toBeCloseTo(51, 12);
  });

  it('a scan of T tokens is T scans of one (INV-OP-1), and leaves the given state alone', () => {
    const random = seeded(5);
    const numbers = (n: number) => Float64Array.from({ length: n }, () => random(2001) / 1000 - 1);
    const A = { n_in: 3, n_out: 4, data: numbers(12).map((a) => -Math.abs(a)) };
    const tokens = Array.from({ length: 7 }, () => ({
      x: numbers(4),
      dt: numbers(4),
      B: numbers(3),
      C: numbers(3),
    }));
    const zero = new Float64Array(12);
    const whole = ssmScan(zero, A, tokens);
    let state: Float64Array = zero;
    tokens.forEach((token, t) => {
      const one = ssmScan(state, A, [token]);
      expect(one.y[0]).toEqual(whole.y[t]);
      state = one.state;
    });
    expect(state).toEqual(whole.state);
    expect(zero.every((value) => value === 0)).toBe(true);
    expect(state.every((value) => value !== 0)).toBe(true);
  });
});

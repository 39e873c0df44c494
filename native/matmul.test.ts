/** Matrix products: bits across implementations, a row alone and among others, values within the rigorous bound. */

import { describe, expect, test } from 'vitest';
import { packMatrix, SPACE } from './plan.ts';
import { DIM, firstDifference, Layout, pad16, Random, runEverywhere, TYPE, typed } from './testkit.ts';

interface Shape {
  readonly rows: number;
  readonly k: number;
  readonly n: number;
  readonly type: number;
  readonly bias?: boolean;
  readonly add?: boolean;
  readonly map?: boolean;
  readonly toOut?: boolean;
}

/** A product with random operands; what each output should be in float64, and the sum of |terms|. */
function build(shape: Shape, seed: number) {
  const { rows, k, n, type } = shape;
  const random = new Random(seed);
  const layout = new Layout();
  layout.dims[DIM.tokens] = rows;
  const x = random.floats(rows * k);
  const { raw, exact } = typed(random.floats(n * k), type);
  const bias = random.floats(n);
  const old = random.floats(rows * n);
  const map = random.shuffled(Array.from({ length: rows }, (_, i) => i));
  const src = layout.rows(x, k, pad16(k) + 16);
  const dstStride = shape.toOut ? n : pad16(n);
  const dst = shape.toOut
    ? layout.out(rows * n)
    : shape.add
      ? layout.rows(old, n)
      : layout.hole(rows * dstStride);
  layout.plan.matmul({
    rows: DIM.tokens,
    src,
    srcStride: pad16(k) + 16,
    dstSpace: shape.toOut ? SPACE.out : SPACE.act,
    dst,
    dstStride,
    k,
    n,
    store: shape.toOut ? n : pad16(n),
    w: layout.weights(packMatrix(raw as Float32Array, k, n)),
    type,
    bias: shape.bias ? layout.weights(bias) : -1,
    add: shape.add === true,
    rowMap: shape.map ? layout.index(map) : -1,
  });
  const expected = (r: number, c: number) => {
    let sum = shape.bias ? bias[c]! : 0;
    let size = Math.abs(sum);
    if (shape.add) {
      sum += old[(shape.map ? map[r]! : r) * n + c]!;
      size += Math.abs(old[(shape.map ? map[r]! : r) * n + c]!);
    }
    for (let i = 0; i < k; i++) {
      const term = x[r * k + i]! * exact[c * k + i]!;
      sum += term;
      size += Math.abs(term);
    }
    return { sum, size };
  };
  return { layout, dst, dstStride, expected, map };
}

const KS = [1, 15, 16, 17, 31, 63, 64, 65, 128, 130, 200];
const NS = [1, 15, 16, 17, 31, 32, 33, 64, 65, 130, 144];
const ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 17, 24, 25, 40];

describe('matmul', () => {
  test('gives the same bits everywhere, within depth * u * sum |terms| of the exact value', () => {
    const random = new Random(1);
    let compared = 0;
    for (let i = 0; i < 150; i++) {
      const toOut = random.int(0, 3) === 0;
      const shape: Shape = {
        rows: i < ROWS.length ? ROWS[i]! : random.pick(ROWS),
        k: random.pick(KS),
        n: random.pick(NS),
        type: random.pick([TYPE.F32, TYPE.F16]),
        bias: random.int(0, 1) === 1,
        add: !toOut && random.int(0, 1) === 1,
        map: random.int(0, 1) === 1,
        toOut,
      };
      const { layout, dst, dstStride, expected, map } = build(shape, 100 + i);
      const { status, memory } = runEverywhere(layout);
      expect(status).toBe(0);
      const to = shape.toOut ? memory.out : memory.act;
      const depth = Math.min(shape.k, 64) + Math.ceil(shape.k / 64) + 2;
      for (let r = 0; r < shape.rows; r++) {
        const at = dst + (shape.map ? map[r]! : r) * dstStride;
        for (let c = 0; c < shape.n; c += 7) {
          const { sum, size } = expected(r, c);
          const bound = depth * 2 ** -24 * size + 2 ** -149;
          expect(
            Math.abs(to[at + c]! - sum),
            `${JSON.stringify(shape)} row ${r} column ${c}`,
          ).toBeLessThanOrEqual(bound);
          compared++;
        }
        for (let c = shape.n; c < dstStride; c++) expect(Object.is(to[at + c], 0)).toBe(true);
      }
    }
    expect(compared).toBeGreaterThan(1000);
  });

  test('gives a row the same bits alone, in any order and among any number of others', () => {
    const random = new Random(2);
    for (const type of [TYPE.F32, TYPE.F16]) {
      for (const rows of [2, 3, 4, 5, 9, 13, 30]) {
        const k = random.pick(KS);
        const n = random.pick(NS);
        const x = random.floats(rows * k);
        const { raw } = typed(random.floats(n * k), type);
        const product = (order: readonly number[]) => {
          const layout = new Layout();
          layout.dims[DIM.tokens] = order.length;
          const src = layout.rows(
            Float32Array.from(order.flatMap((r) => [...x.subarray(r * k, (r + 1) * k)])),
            k,
          );
          const out = layout.out(order.length * n);
          layout.plan.matmul({
            rows: DIM.tokens,
            src,
            srcStride: pad16(k),
            dstSpace: SPACE.out,
            dst: out,
            dstStride: n,
            k,
            n,
            store: n,
            w: layout.weights(packMatrix(raw as Float32Array, k, n)),
            type,
            bias: -1,
            add: false,
            rowMap: -1,
          });
          return runEverywhere(layout).memory.out;
        };
        const order = random.shuffled(Array.from({ length: rows }, (_, i) => i));
        const together = product(order);
        for (let i = 0; i < rows; i += 3) {
          expect(firstDifference(product([order[i]!]), together.subarray(i * n, (i + 1) * n))).toBeNull();
        }
      }
    }
  });

  test('passes on NaN and infinities, but never into the zeros behind the last column', () => {
    const layout = new Layout();
    layout.dims[DIM.tokens] = 6;
    const x = new Random(3).floats(6 * 20);
    x[3] = Number.NaN;
    x[25] = Number.POSITIVE_INFINITY;
    const src = layout.rows(x, 20);
    const dst = layout.hole(6 * 16);
    const w = layout.weights(packMatrix(new Random(4).floats(5 * 20), 20, 5));
    layout.plan.matmul({
      rows: DIM.tokens,
      src,
      srcStride: 32,
      dstSpace: SPACE.act,
      dst,
      dstStride: 16,
      k: 20,
      n: 5,
      store: 16,
      w,
      type: TYPE.F32,
      bias: -1,
      add: false,
      rowMap: -1,
    });
    const { act } = runEverywhere(layout).memory;
    expect([...act.subarray(dst, dst + 5)].every(Number.isNaN)).toBe(true);
    expect([...act.subarray(dst + 16, dst + 21)].some(Number.isFinite)).toBe(false);
    expect([...act.subarray(dst + 32, dst + 37)].every(Number.isFinite)).toBe(true);
    for (let r = 0; r < 6; r++) {
      for (let c = 5; c < 16; c++) expect(Object.is(act[dst + r * 16 + c], 0)).toBe(true);
    }
  });
});

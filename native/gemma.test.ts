/** Gemma's operations: bits across implementations, values against float64, zeros behind the last column. */

import { describe, expect, test } from 'vitest';
import { DIM, Layout, pad16, Random, runEverywhere } from './testkit.ts';

const U = 2 ** -24;
const NS = [1, 2, 15, 16, 17, 31, 64, 65, 130];
const ROWS = 3;

/** Small and huge numbers, and what has no number. */
function nasty(random: Random, n: number): Float32Array {
  const special = [0, -0, 1e-40, 0.625, -0.6250001, 9.9, -9.9, 40, -40, 1e20, -1e20, 3e38];
  const wild = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
  return Float32Array.from({ length: n }, () => {
    const kind = random.int(0, 9);
    if (kind === 0) return random.pick(special);
    if (kind === 1) return random.pick(wild);
    return random.float() * 2 ** random.int(-20, 4);
  });
}

const gelu = (x: number) => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * x * (1 + 0.044715 * x * x)));

function expectZeros(act: Float32Array, at: number, n: number): void {
  for (let r = 0; r < ROWS; r++)
    for (let c = n; c < pad16(n); c++) expect(Object.is(act[at + r * pad16(n) + c], 0)).toBe(true);
}

describe('gemma', () => {
  test('geluMul, with NaN, infinities and denormals', () => {
    const random = new Random(1);
    for (const n of NS) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = ROWS;
      const [gate, up] = [nasty(random, ROWS * n), random.floats(ROWS * n)];
      const dst = layout.hole(ROWS * pad16(n));
      const stride = pad16(n);
      const operands = { gate: layout.rows(gate, n), up: layout.rows(up, n) };
      layout.plan.geluMul({ rows: DIM.tokens, ...operands, dst, stride, n });
      const { act } = runEverywhere(layout).memory;
      gate.forEach((x, i) => {
        const got = act[dst + Math.floor(i / n) * stride + (i % n)]!;
        const want = gelu(x) * up[i]!;
        // The exponent of a negative number is rounded: an error of some u of the number itself.
        const bound = 12 * U * Math.abs(want) + (x < 0 ? 8 * U * Math.abs(up[i]!) : 0);
        if (x !== Number.NEGATIVE_INFINITY && Math.abs(want) < 1e38)
          expect(Math.abs(got - want), `${x}`).toBeLessThanOrEqual(bound + 1e-36);
        else if (Number.isNaN(x)) expect(got).toBeNaN();
      });
      expectZeros(act, dst, n);
    }
  });

  test('scaleRows', () => {
    const random = new Random(2);
    for (const n of NS) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = ROWS;
      const data = nasty(random, ROWS * n);
      const x = layout.rows(data, n);
      const factor = Math.fround(Math.sqrt(n + 1));
      layout.plan.scaleRows({ rows: DIM.tokens, x, stride: pad16(n), n, factor });
      const { act } = runEverywhere(layout).memory;
      data.forEach((v, i) => {
        expect(act[x + Math.floor(i / n) * pad16(n) + (i % n)]).toBe(Math.fround(v * factor));
      });
      expectZeros(act, x, n);
    }
  });

  test('normAdd', () => {
    const random = new Random(3);
    for (const n of NS) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = ROWS;
      const [x, old, weight] = [random.floats(ROWS * n, 8), random.floats(ROWS * n), random.floats(n)];
      const src = layout.rows(x, n, pad16(n) + 16);
      const dst = layout.rows(old, n);
      const padded = new Float32Array(pad16(n));
      padded.set(weight);
      layout.plan.normAdd({
        rows: DIM.tokens,
        src,
        srcStride: pad16(n) + 16,
        dst,
        dstStride: pad16(n),
        n,
        weight: layout.weights(padded),
        eps: 1e-5,
      });
      const { act } = runEverywhere(layout).memory;
      for (let r = 0; r < ROWS; r++) {
        const own = x.subarray(r * n, (r + 1) * n);
        const scale = 1 / Math.sqrt(own.reduce((sum, v) => sum + v * v, 0) / n + 1e-5);
        for (let c = 0; c < n; c++) {
          const normed = own[c]! * scale * weight[c]!;
          const want = old[r * n + c]! + normed;
          const got = act[dst + r * pad16(n) + c]!;
          expect(Math.abs(got - want)).toBeLessThanOrEqual(U * (16 * Math.abs(normed) + Math.abs(want)));
        }
      }
      expectZeros(act, dst, n);
    }
  });

  test('capOutputs, each row where it belongs, and no other', () => {
    const random = new Random(4);
    for (const n of NS) {
      const rows = [4, 0, 3];
      // The numbers come from a product by one, as logits do.
      const x = nasty(random, ROWS * n);
      const layout = new Layout();
      layout.dims[DIM.outputs] = ROWS;
      const out = layout.out(6 * n);
      const rowMap = layout.index(rows);
      const identity = new Float32Array(pad16(n) * n);
      for (let i = 0; i < n; i++) identity[(i >> 4) * n * 16 + i * 16 + (i & 15)] = 1;
      const finite = x.map((v) => (Number.isFinite(v) ? v : 7));
      layout.plan.matmul({
        rows: DIM.outputs,
        src: layout.rows(finite, n),
        srcStride: pad16(n),
        dstSpace: 4,
        dst: out,
        dstStride: n,
        k: n,
        n,
        store: n,
        w: layout.weights(identity),
        type: 0,
        bias: -1,
        add: false,
        rowMap,
      });
      layout.plan.capOutputs({ rows: DIM.outputs, n, cap: 15, rowMap });
      const after = runEverywhere(layout).memory.out;
      for (let r = 0; r < 6; r++) {
        for (let c = 0; c < n; c++) {
          const got = after[r * n + c]!;
          const from = rows.indexOf(r);
          if (from < 0) expect(got).toBeNaN();
          else {
            const want = 15 * Math.tanh(finite[from * n + c]! / 15);
            expect(Math.abs(got - want)).toBeLessThanOrEqual(8 * U * Math.abs(want) + 1e-38);
          }
        }
      }
    }
  });
});

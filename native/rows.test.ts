/** Row operations: bits across implementations, values against float64, zeros behind the last column, refusals. */

import { describe, expect, test } from 'vitest';
import { loadKernels } from './binding.ts';
import { OP_WORDS, ROPE, STATUS } from './plan.ts';
import { HALF, toHalf } from './portable/math.ts';
import { DIM, Layout, pad16, Random, runEverywhere, runOn, TYPE, typed } from './testkit.ts';

const NS = [1, 2, 15, 16, 17, 31, 64, 65, 130];
const silu = (x: number) => x / (1 + Math.exp(-x));

/** Floats that hit every branch of the functions: small and huge, zeros, denormals, infinities, NaN. */
function nasty(random: Random, n: number): Float32Array {
  const special = [0, -0, 1e-40, -1e-45, 20, 20.000002, 88.8, -88, -103.9, -105, 1e30, -1e30, 3e38];
  const wild = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
  return Float32Array.from({ length: n }, () => {
    const kind = random.int(0, 9);
    if (kind === 0) return random.pick(special);
    if (kind === 1) return random.pick(wild);
    return random.float() * 2 ** random.int(-20, 7);
  });
}

function expectZeros(act: Float32Array, from: number, to: number): void {
  for (let i = from; i < to; i++) expect(Object.is(act[i], 0)).toBe(true);
}

describe('rows', () => {
  test('embed', () => {
    const random = new Random(1);
    for (const n of NS) {
      for (const type of [TYPE.F32, TYPE.F16]) {
        const layout = new Layout();
        layout.dims[DIM.tokens] = 4;
        const { raw, exact } = typed(
          nasty(random, 7 * (n + 3)).map((x) => (Math.abs(x) < 60000 ? x : 1)),
          type,
        );
        const ids = [6, 0, 3, 3];
        const dst = layout.hole(4 * pad16(n));
        layout.plan.embed({
          rows: DIM.tokens,
          dst,
          dstStride: pad16(n),
          table: layout.weights(raw),
          tableStride: n + 3,
          type,
          n,
          ids: layout.index(ids),
        });
        const { act } = runEverywhere(layout).memory;
        ids.forEach((id, r) => {
          for (let c = 0; c < n; c++) expect(act[dst + r * pad16(n) + c]).toBe(exact[id * (n + 3) + c]);
          expectZeros(act, dst + r * pad16(n) + n, dst + (r + 1) * pad16(n));
        });
      }
    }
  });

  test('rmsNorm, in place too', () => {
    const random = new Random(2);
    for (const n of NS) {
      for (const weighted of [true, false]) {
        const layout = new Layout();
        layout.dims[DIM.tokens] = 3;
        const x = random.floats(3 * n, 4);
        const weight = new Float32Array(pad16(n));
        weight.set(random.floats(n));
        const src = layout.rows(x, n);
        const other = layout.hole(3 * pad16(n));
        const shared = { rows: DIM.tokens, src, srcStride: pad16(n), dstStride: pad16(n), n, eps: 1e-5 };
        const at = weighted ? layout.weights(weight) : -1;
        layout.plan.rmsNorm({ ...shared, dst: other, weight: at });
        layout.plan.rmsNorm({ ...shared, dst: src, weight: at });
        const { act } = runEverywhere(layout).memory;
        for (let r = 0; r < 3; r++) {
          const row = x.subarray(r * n, (r + 1) * n);
          const s = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / n + Math.fround(1e-5));
          for (let c = 0; c < n; c++) {
            const want = row[c]! * s * (weighted ? weight[c]! : 1);
            expect(Math.abs(act[other + r * pad16(n) + c]! - want)).toBeLessThanOrEqual(
              12 * 2 ** -24 * Math.abs(want),
            );
            expect(act[src + r * pad16(n) + c]).toBe(act[other + r * pad16(n) + c]);
          }
          expectZeros(act, other + r * pad16(n) + n, other + (r + 1) * pad16(n));
        }
      }
    }
  });

  test('rmsNorm of zeros without eps leaves the padding zero', () => {
    const layout = new Layout();
    layout.dims[DIM.tokens] = 1;
    const src = layout.rows(new Float32Array(5), 5);
    const dst = layout.hole(16);
    layout.plan.rmsNorm({
      rows: DIM.tokens,
      src,
      srcStride: 16,
      dst,
      dstStride: 16,
      n: 5,
      weight: -1,
      eps: 0,
    });
    const { act } = runEverywhere(layout).memory;
    expect(act[dst]).toBeNaN();
    expectZeros(act, dst + 5, dst + 16);
  });

  test('headNorm: each head by itself, as rmsNorm has it', () => {
    const random = new Random(9);
    for (const [nHead, d] of [
      [1, 1],
      [3, 5],
      [2, 8],
      [4, 16],
      [3, 17],
      [2, 64],
      [5, 130],
    ] as const) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = 3;
      const width = nHead * d;
      const x = random.floats(3 * width, 4);
      const weight = new Float32Array(pad16(d));
      weight.set(random.floats(d));
      const [weights, eps] = [layout.weights(weight), 1e-5];
      const at = layout.rows(x, width);
      layout.plan.headNorm({ rows: DIM.tokens, x: at, stride: pad16(width), nHead, d, weight: weights, eps });
      const { act } = runEverywhere(layout).memory;
      for (let r = 0; r < 3; r++) {
        for (let h = 0; h < nHead; h++) {
          const alone = new Layout();
          alone.dims[DIM.tokens] = 1;
          const src = alone.rows(x.subarray(r * width + h * d, r * width + (h + 1) * d), d);
          const [srcStride, dstStride] = [pad16(d), pad16(d)];
          const of = { rows: DIM.tokens, src, srcStride, dst: src, dstStride, n: d, eps };
          alone.plan.rmsNorm({ ...of, weight: alone.weights(weight) });
          const want = runOn('portable', alone).memory.act.slice(src, src + d);
          expect(act.slice(at + r * pad16(width) + h * d, at + r * pad16(width) + (h + 1) * d)).toEqual(want);
        }
        expectZeros(act, at + r * pad16(width) + width, at + (r + 1) * pad16(width));
      }
    }
  });

  const HEADS = [
    [1, 2, 2],
    [3, 6, 4],
    [2, 16, 16],
    [2, 18, 18],
    [4, 64, 64],
    [3, 80, 34],
  ] as const;

  test.each(['NORMAL', 'NEOX'] as const)('rope, %s', (type) => {
    const random = new Random(3);
    for (const [nHead, d, nRot] of HEADS) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = 3;
      const width = nHead * d;
      const x = random.floats(3 * width);
      const table = random.floats(3 * nRot);
      const at = layout.rows(x, width);
      layout.plan.rope({
        rows: DIM.tokens,
        x: at,
        stride: pad16(width),
        nHead,
        d,
        nRot,
        table: layout.rows(table, nRot),
        tableStride: pad16(nRot),
        type: ROPE[type],
      });
      const { act } = runEverywhere(layout).memory;
      for (let r = 0; r < 3; r++) {
        for (let h = 0; h < nHead; h++) {
          const [from, to] = [r * width + h * d, at + r * pad16(width) + h * d];
          for (let i = 0; i < nRot / 2; i++) {
            const [a, b] = type === 'NEOX' ? [i, i + nRot / 2] : [2 * i, 2 * i + 1];
            const [x0, x1] = [x[from + a]!, x[from + b]!];
            const [cos, sin] = [table[r * nRot + a]!, table[r * nRot + b]!];
            const bound = 2 ** -23 * (Math.abs(x0) + Math.abs(x1));
            expect(Math.abs(act[to + a]! - (x0 * cos - x1 * sin))).toBeLessThanOrEqual(bound);
            expect(Math.abs(act[to + b]! - (x0 * sin + x1 * cos))).toBeLessThanOrEqual(bound);
          }
          expect(act.slice(to + nRot, to + d)).toEqual(x.slice(from + nRot, from + d));
        }
        expectZeros(act, at + r * pad16(width) + width, at + (r + 1) * pad16(width));
      }
    }
  });

  test('siluMul, with NaN, infinities and denormals', () => {
    const random = new Random(4);
    for (const n of NS) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = 6;
      const gate = nasty(random, 6 * n);
      const up = random.floats(6 * n);
      const dst = layout.hole(6 * pad16(n));
      layout.plan.siluMul({
        rows: DIM.tokens,
        gate: layout.rows(gate, n),
        up: layout.rows(up, n),
        dst,
        stride: pad16(n),
        n,
      });
      const { act } = runEverywhere(layout).memory;
      for (let i = 0; i < 6 * n; i++) {
        const got = act[dst + Math.floor(i / n) * pad16(n) + (i % n)]!;
        const want = silu(gate[i]!) * up[i]!;
        // Beyond exp(88.7) the float32 quotient is zero, and beyond the largest float nothing can be said.
        if (Number.isNaN(want)) expect(got).toBeNaN();
        else if (Math.abs(want) < 1e38)
          expect(Math.abs(got - want)).toBeLessThanOrEqual(8 * 2 ** -24 * Math.abs(want) + 1e-36);
      }
      for (let r = 0; r < 6; r++) expectZeros(act, dst + r * pad16(n) + n, dst + (r + 1) * pad16(n));
    }
  });

  test('gatherRows, stateGather and stateScatter move words as they are', () => {
    const random = new Random(5);
    const layout = new Layout();
    layout.dims[DIM.outputs] = 3;
    layout.dims[DIM.moved] = 3;
    layout.dims[DIM.extra] = 2;
    const x = nasty(random, 5 * 32);
    const states = random.floats(4 * 48);
    const src = layout.rows(x, 32);
    const rows = layout.hole(3 * 48);
    const state = layout.cache(states);
    const moved = layout.hole(3 * 48);
    layout.plan.gatherRows({
      rows: DIM.outputs,
      src,
      srcStride: 32,
      dst: rows,
      dstStride: 48,
      n: 32,
      ids: layout.index([4, 0, 4]),
    });
    layout.plan.stateGather({ src: state, width: 48, ids: layout.index([3, -1, 0]), dst: moved });
    layout.plan.stateScatter({
      src: moved,
      width: 48,
      srcIds: layout.index([0, 1]),
      dst: state,
      dstIds: layout.index([1, 3]),
    });
    const { memory } = runEverywhere(layout);
    [4, 0, 4].forEach((id, r) => {
      expect(memory.act.slice(rows + r * 48, rows + r * 48 + 32)).toEqual(x.slice(id * 32, id * 32 + 32));
    });
    const after = new Float32Array(memory.cache.buffer);
    expect(after.slice(0, 48)).toEqual(states.slice(0, 48));
    expect(after.slice(48, 96)).toEqual(states.slice(144, 192));
    expect(after.slice(144, 192)).toEqual(new Float32Array(48));
  });
});

describe('kvStore', () => {
  function store(n: number, type: number, values: Float32Array) {
    const layout = new Layout();
    layout.dims[DIM.tokens] = 2;
    const src = layout.rows(values, n);
    const size = 4 * n;
    const dst = layout.cache(
      type === TYPE.F32 ? new Float32Array(size).fill(7) : new Uint16Array(size).fill(7),
    );
    const cells = layout.index([3, 1]);
    layout.plan.kvStore({ rows: DIM.tokens, src, stride: pad16(n), n, dst, type, cells });
    return runEverywhere(layout);
  }

  test('rounds once to the cells, and touches no other', () => {
    const random = new Random(6);
    for (const n of [2, 14, 16, 18, 64, 130]) {
      const values = Float32Array.from({ length: 2 * n }, () => random.float() * 2 ** random.int(-28, 15));
      const wide = new Float32Array(store(n, TYPE.F32, values).memory.cache.buffer);
      expect(wide.slice(3 * n)).toEqual(values.slice(0, n));
      expect(wide.slice(n, 2 * n)).toEqual(values.slice(n));
      expect([...wide.slice(0, n), ...wide.slice(2 * n, 3 * n)].every((x) => x === 7)).toBe(true);
      const half = new Uint16Array(store(n, TYPE.F16, values).memory.cache.buffer);
      expect([...half.slice(0, n), ...half.slice(2 * n, 3 * n)].every((h) => h === 7)).toBe(true);
      values.slice(0, n).forEach((x, i) => {
        expect(Math.abs(HALF[half[3 * n + i]!]! - x)).toBeLessThanOrEqual(
          Math.max(2 ** -11 * Math.abs(x), 2 ** -25),
        );
      });
    }
  });

  test('refuses what does not fit, and then stores nothing', () => {
    for (const [type, bad] of [
      [TYPE.F16, 65520],
      [TYPE.F16, -1e10],
      [TYPE.F16, Number.NaN],
      [TYPE.F16, Number.POSITIVE_INFINITY],
      [TYPE.F32, Number.NaN],
      [TYPE.F32, Number.NEGATIVE_INFINITY],
    ] as const) {
      const values = new Random(7).floats(2 * 18);
      values[35] = bad;
      const { status, memory } = store(18, type, values);
      expect(status).toBe(STATUS.kvOverflow);
      const bytes =
        type === TYPE.F32 ? new Float32Array(memory.cache.buffer) : new Uint16Array(memory.cache.buffer);
      expect([...bytes].every((x) => x === 7)).toBe(true);
    }
    const fits = new Random(8).floats(2 * 18);
    fits[35] = 65519.996;
    expect(store(18, TYPE.F16, fits).status).toBe(0);
    fits[35] = 3e38;
    expect(store(18, TYPE.F32, fits).status).toBe(0);
  });
});

describe('kvLoad', () => {
  test('widens what was stored, wherever it lies, and clears the rest of the row', () => {
    const random = new Random(9);
    for (const type of [TYPE.F32, TYPE.F16])
      for (const n of [2, 14, 16, 18, 130]) {
        const layout = new Layout();
        layout.dims[DIM.tokens] = 2;
        const values = Float32Array.from({ length: 2 * n }, () => random.float() * 2 ** random.int(-28, 15));
        const src = layout.cache(type === TYPE.F32 ? new Float32Array(4 * n) : new Uint16Array(4 * n));
        const cells = layout.index([3, 1]);
        const stored = { rows: DIM.tokens, stride: pad16(n), n, type, cells };
        layout.plan.kvStore({ ...stored, src: layout.rows(values, n), dst: src });
        const dst = layout.rows(new Float32Array(2 * n).fill(7), n);
        layout.plan.kvLoad({ ...stored, dst, src });
        const { status, memory } = runEverywhere(layout);
        expect(status).toBe(0);
        for (const r of [0, 1]) {
          const row = memory.act.subarray(dst + r * pad16(n), dst + (r + 1) * pad16(n));
          const want = values.subarray(r * n, (r + 1) * n);
          const rounded = type === TYPE.F32 ? want : want.map((x) => HALF[toHalf(x)]!);
          expect([...row.subarray(0, n)]).toEqual([...rounded]);
          expect(row.subarray(n).every((x) => x === 0)).toBe(true);
        }
      }
  });
});

describe('a run', () => {
  test('stops at the first op that fails and says which', () => {
    const layout = new Layout();
    layout.dims[DIM.tokens] = 1;
    const x = layout.rows(Float32Array.from([1, 2, Number.NaN, 4]), 4);
    const dst = layout.hole(16);
    const cache = layout.cache(new Float32Array(4));
    layout.plan.rmsNorm({
      rows: DIM.tokens,
      src: x,
      srcStride: 16,
      dst,
      dstStride: 16,
      n: 2,
      weight: -1,
      eps: 1,
    });
    layout.plan.kvStore({
      rows: DIM.tokens,
      src: x,
      stride: 16,
      n: 4,
      dst: cache,
      type: TYPE.F32,
      cells: layout.index([0]),
    });
    layout.plan.rmsNorm({
      rows: DIM.tokens,
      src: x,
      srcStride: 16,
      dst: x,
      dstStride: 16,
      n: 2,
      weight: -1,
      eps: 1,
    });
    const { status, memory } = runEverywhere(layout);
    expect(status).toBe((1 << 8) | STATUS.kvOverflow);
    expect(memory.act[x]).toBe(1);
    expect(memory.act[dst]).toBeGreaterThan(0);
  });

  test('refuses unknown opcodes, types and rotations', () => {
    for (const isa of loadKernels().isas) {
      const memory = new Layout().memory();
      const dims = new Int32Array(8);
      const plan = new Int32Array(OP_WORDS);
      plan[0] = 99;
      expect(loadKernels().get(isa).run(plan, 1, dims, memory)).toBe(STATUS.badOp);
      const layout = new Layout();
      layout.plan.embed({ rows: 0, dst: 0, dstStride: 16, table: 0, tableStride: 1, type: 7, n: 1, ids: 0 });
      expect(runOn(isa, layout).status).toBe(STATUS.badOp);
      const turned = new Layout();
      const at = { rows: 0, x: 0, stride: 16, nHead: 1, d: 2, nRot: 2, table: 0, tableStride: 16 };
      turned.plan.rope({ ...at, type: 2 });
      expect(runOn(isa, turned).status).toBe(STATUS.badOp);
    }
  });
});

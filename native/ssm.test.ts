/** State-space operations: bits across implementations, chunks and neighbours; values against float64. */

import { describe, expect, test } from 'vitest';
import { DIM, firstDifference, Layout, Random, runEverywhere } from './testkit.ts';

interface ConvCase {
  readonly n: number;
  readonly dConv: number;
  readonly tokens: number;
  readonly srcIds: readonly number[];
  readonly dstIds: readonly number[];
}

const CELLS = 4;
const MOVED = 2;

/** States of all cells and moved rows, the same for a given width. */
function states(layout: Layout, width: number) {
  const random = new Random(width);
  return {
    cache: layout.cache(random.floats(CELLS * width)),
    moved: layout.act(random.floats(MOVED * width)),
  };
}

/** The old state of a set, as ssmConv and ssmScan take it. */
function stateOf(width: number, id: number): Float32Array {
  const all = new Random(width).floats((CELLS + MOVED) * width);
  if (id === -1) return new Float32Array(width);
  const row = id >= 0 ? id : CELLS + (-2 - id);
  return all.subarray(row * width, (row + 1) * width);
}

function conv(c: ConvCase, x: Float32Array, w: Float32Array, bias: Float32Array) {
  const layout = new Layout();
  layout.dims[DIM.seqs] = c.srcIds.length;
  layout.dims[DIM.seq_tokens] = c.tokens;
  const width = (c.dConv - 1) * c.n;
  const { cache, moved } = states(layout, width);
  const rows = c.srcIds.length * c.tokens;
  const xAt = layout.rows(x, c.n, c.n + 16);
  const dst = layout.hole(rows * c.n);
  layout.plan.ssmConv({
    x: xAt,
    xStride: c.n + 16,
    dst,
    dstStride: c.n,
    n: c.n,
    dConv: c.dConv,
    w: layout.weights(w),
    bias: layout.weights(bias),
    state: cache,
    srcIds: layout.index(c.srcIds),
    dstIds: layout.index(c.dstIds),
    moved,
  });
  const { memory } = runEverywhere(layout);
  const after = new Float32Array(memory.cache.buffer);
  return {
    y: memory.act.slice(dst, dst + rows * c.n),
    next: c.dstIds.map((id) => after.slice(cache + id * width, cache + (id + 1) * width)),
  };
}

const silu = (x: number) => x / (1 + Math.exp(-x));

describe('ssmConv', () => {
  test('gives the same bits everywhere and the values of the formula, old states from anywhere', () => {
    const random = new Random(1);
    for (const dConv of [1, 2, 3, 4, 5]) {
      for (const tokens of [1, 2, 3, 7]) {
        const n = random.pick([16, 48]);
        const c: ConvCase = { n, dConv, tokens, srcIds: [2, -1, -2, -3], dstIds: [2, 0, 1, 3] };
        const x = random.floats(4 * tokens * n);
        const w = random.floats(dConv * n);
        const bias = random.floats(n);
        const { y, next } = conv(c, x, w, bias);
        c.srcIds.forEach((id, s) => {
          const old = stateOf((dConv - 1) * n, id);
          const column = (j: number, ch: number) =>
            j < dConv - 1 ? old[j * n + ch]! : x[(s * tokens + j - dConv + 1) * n + ch]!;
          for (let t = 0; t < tokens; t++) {
            for (let ch = 0; ch < n; ch++) {
              let sum = bias[ch]!;
              for (let j = 0; j < dConv; j++) sum += column(t + j, ch) * w[j * n + ch]!;
              expect(Math.abs(y[(s * tokens + t) * n + ch]! - silu(sum))).toBeLessThan(1e-6);
            }
          }
          for (let j = 0; j < dConv - 1; j++) {
            for (let ch = 0; ch < n; ch++) expect(next[s]![j * n + ch]).toBe(column(tokens + j, ch));
          }
        });
      }
    }
  });
});

interface ScanData {
  readonly x: Float32Array;
  readonly dt: Float32Array;
  readonly b: Float32Array;
  readonly c: Float32Array;
}

function scan(
  n: number,
  nState: number,
  tokens: number,
  ids: readonly number[],
  dstIds: readonly number[],
  data: ScanData,
) {
  const layout = new Layout();
  layout.dims[DIM.seqs] = ids.length;
  layout.dims[DIM.seq_tokens] = tokens;
  const width = n * nState;
  const { cache, moved } = states(layout, width);
  const rows = ids.length * tokens;
  const a = new Random(99).floats(width, 4).map((v) => -Math.abs(v));
  const dst = layout.hole(rows * n);
  layout.plan.ssmScan({
    x: layout.rows(data.x, n),
    xStride: n,
    dt: layout.rows(data.dt, n),
    dtStride: n,
    b: layout.act(data.b),
    bStride: nState,
    c: layout.act(data.c),
    cStride: nState,
    dst,
    dstStride: n,
    n,
    nState,
    a: layout.weights(a),
    state: cache,
    srcIds: layout.index(ids),
    dstIds: layout.index(dstIds),
    moved,
  });
  const { memory } = runEverywhere(layout);
  const after = new Float32Array(memory.cache.buffer);
  return {
    a,
    y: memory.act.slice(dst, dst + rows * n),
    next: dstIds.map((id) => after.slice(cache + id * width, cache + (id + 1) * width)),
  };
}

function scanData(random: Random, rows: number, n: number, nState: number): ScanData {
  return {
    x: random.floats(rows * n),
    dt: random.floats(rows * n, 3),
    b: random.floats(rows * nState),
    c: random.floats(rows * nState),
  };
}

describe('ssmScan', () => {
  test('gives the same bits everywhere and the values of the recurrence', () => {
    const random = new Random(2);
    for (const nState of [1, 4, 8, 15, 16, 17, 40]) {
      const n = random.pick([16, 32]);
      const tokens = random.pick([1, 2, 5]);
      const ids = [2, -1, -2, -3];
      const data = scanData(random, ids.length * tokens, n, nState);
      const { a, y, next } = scan(n, nState, tokens, ids, [2, 0, 1, 3], data);
      ids.forEach((id, s) => {
        const state = Float64Array.from(stateOf(n * nState, id));
        for (let t = 0; t < tokens; t++) {
          const row = s * tokens + t;
          for (let ch = 0; ch < n; ch++) {
            const delta = Math.log1p(Math.exp(data.dt[row * n + ch]!));
            let sum = 0;
            for (let i = 0; i < nState; i++) {
              const at = ((ch >> 4) * nState + i) * 16 + (ch & 15);
              state[at] =
                state[at]! * Math.exp(delta * a[at]!) +
                data.b[row * nState + i]! * data.x[row * n + ch]! * delta;
              sum += state[at]! * data.c[row * nState + i]!;
            }
            expect(Math.abs(y[row * n + ch]! - sum)).toBeLessThan(3e-6 * (1 + nState));
          }
        }
        state.forEach((v, at) => {
          expect(Math.abs(next[s]![at]! - v)).toBeLessThan(5e-6);
        });
      });
    }
  });

  test('gives the same bits token by token and among neighbours', () => {
    const random = new Random(3);
    for (const nState of [3, 8, 16]) {
      const n = 32;
      const data = scanData(random, 6, n, nState);
      const whole = scan(n, nState, 3, [1, -1], [1, 0], data);
      const first = scan(n, nState, 3, [1], [1], data);
      expect(firstDifference(whole.y.subarray(0, 3 * n), first.y)).toBeNull();
      expect(firstDifference(whole.next[0]!, first.next[0]!)).toBeNull();
      const one = scan(n, nState, 1, [1], [1], data);
      expect(firstDifference(whole.y.subarray(0, n), one.y)).toBeNull();
    }
  });
});

describe('ssmGate', () => {
  test('gives the same bits everywhere and fma(skip, x, y) * silu(z)', () => {
    const random = new Random(4);
    const layout = new Layout();
    layout.dims[DIM.tokens] = 5;
    const [y, x, z, skip] = [
      random.floats(160),
      random.floats(160),
      random.floats(160, 9),
      random.floats(32),
    ];
    const dst = layout.hole(160);
    layout.plan.ssmGate({
      rows: DIM.tokens,
      y: layout.rows(y, 32),
      yStride: 32,
      x: layout.rows(x, 32),
      xStride: 32,
      z: layout.rows(z, 32, 48),
      zStride: 48,
      dst,
      dstStride: 32,
      n: 32,
      dSkip: layout.weights(skip),
    });
    const { act } = runEverywhere(layout).memory;
    for (let i = 0; i < 160; i++) {
      const want = (skip[i % 32]! * x[i]! + y[i]!) * silu(z[i]!);
      expect(Math.abs(act[dst + i]! - want)).toBeLessThanOrEqual(
        4 * 2 ** -24 * Math.abs(want) + 2 ** -23 * Math.abs(silu(z[i]!)),
      );
    }
  });
});

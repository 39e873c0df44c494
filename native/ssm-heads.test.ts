/** Operations of Mamba-2: bits across implementations, chunks and neighbours; values against float64. */

import { describe, expect, test } from 'vitest';
import { DIM, firstDifference, Layout, pad16, Random, runEverywhere } from './testkit.ts';

interface Shape {
  readonly nHead: number;
  readonly dHead: number;
  readonly nGroup: number;
  readonly nState: number;
}

interface Data {
  readonly x: Float32Array;
  readonly dt: Float32Array;
  readonly b: Float32Array;
  readonly c: Float32Array;
}

const CELLS = 4;
const MOVED = 2;

/** The states of cells 0 .. 3, then of moved rows 0 and 1: {nState, channels} each. */
function statesOf({ nHead, dHead, nState }: Shape): Float32Array[] {
  const random = new Random(nState * 131 + nHead * dHead);
  return Array.from({ length: CELLS + MOVED }, () => random.floats(nHead * dHead * nState));
}

/** As the kernel keeps it: the states of a channel padded to whole vectors. */
function wide(state: Float32Array, nState: number): Float32Array {
  const stride = pad16(nState);
  const out = new Float32Array((state.length / nState) * stride);
  for (let ch = 0; ch * nState < state.length; ch++)
    out.set(state.subarray(ch * nState, (ch + 1) * nState), ch * stride);
  return out;
}

const joined = (parts: readonly Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));

/** Old states of the sets by `ids` (cell, -1 for zeros, moved row -2 - id); x, b and c lie in rows of one stride. */
function scan(shape: Shape, tokens: number, ids: readonly number[], dstIds: readonly number[], data: Data) {
  const { nHead, dHead, nGroup, nState } = shape;
  const n = nHead * dHead;
  const layout = new Layout();
  layout.dims[DIM.seqs] = ids.length;
  layout.dims[DIM.seq_tokens] = tokens;
  const states = statesOf(shape).map((state) => wide(state, nState));
  const cache = layout.cache(joined(states.slice(0, CELLS)));
  const moved = layout.act(joined(states.slice(CELLS)));
  const rows = ids.length * tokens;
  const a = new Random(99).floats(nHead, 4).map((v) => -Math.abs(v));
  const paddedA = new Float32Array(pad16(nHead));
  paddedA.set(a);
  const dst = layout.hole(rows * pad16(n));
  const shared = nGroup * nState;
  layout.plan.ssmScanHeads({
    x: layout.rows(data.x, n, pad16(n) + 16),
    xStride: pad16(n) + 16,
    dt: layout.rows(data.dt, nHead),
    dtStride: pad16(nHead),
    b: layout.rows(data.b, shared),
    bStride: pad16(shared),
    c: layout.rows(data.c, shared),
    cStride: pad16(shared),
    dst,
    dstStride: pad16(n),
    ...shape,
    a: layout.weights(paddedA),
    state: cache,
    srcIds: layout.index(ids),
    dstIds: layout.index(dstIds),
    moved,
  });
  const { memory } = runEverywhere(layout);
  const after = new Float32Array(memory.cache.buffer);
  const width = n * pad16(nState);
  return {
    a,
    y: memory.act.slice(dst, dst + rows * pad16(n)),
    next: dstIds.map((id) => after.slice(cache + id * width, cache + (id + 1) * width)),
  };
}

function dataOf(random: Random, rows: number, { nHead, dHead, nGroup, nState }: Shape): Data {
  return {
    x: random.floats(rows * nHead * dHead),
    dt: random.floats(rows * nHead, 3),
    b: random.floats(rows * nGroup * nState),
    c: random.floats(rows * nGroup * nState),
  };
}

/** One to nine vectors of states, whole ones and not; channels that are no multiple of those done at a time. */
const SHAPES: readonly Shape[] = [
  { nHead: 1, dHead: 1, nGroup: 1, nState: 1 },
  { nHead: 4, dHead: 8, nGroup: 2, nState: 8 },
  { nHead: 6, dHead: 5, nGroup: 3, nState: 16 },
  { nHead: 4, dHead: 7, nGroup: 1, nState: 24 },
  { nHead: 8, dHead: 4, nGroup: 8, nState: 32 },
  { nHead: 2, dHead: 3, nGroup: 2, nState: 40 },
  { nHead: 4, dHead: 3, nGroup: 2, nState: 64 },
  { nHead: 20, dHead: 1, nGroup: 2, nState: 127 },
  { nHead: 2, dHead: 2, nGroup: 1, nState: 130 },
];

describe('ssmScanHeads', () => {
  test.each(SHAPES)('%j: the same bits everywhere, and the values of the recurrence', (shape) => {
    const { nHead, dHead, nGroup, nState } = shape;
    const n = nHead * dHead;
    const random = new Random(nState);
    const ids = [2, -1, -2, -3];
    const tokens = random.pick([1, 2, 5]);
    const data = dataOf(random, ids.length * tokens, shape);
    const { a, y, next } = scan(shape, tokens, ids, [2, 0, 1, 3], data);
    const states = statesOf(shape);
    ids.forEach((id, s) => {
      const old = id === -1 ? new Float32Array(n * nState) : states[id >= 0 ? id : CELLS - 2 - id]!;
      const state = Float64Array.from(old);
      for (let row = s * tokens; row < (s + 1) * tokens; row++) {
        for (let ch = 0; ch < n; ch++) {
          const head = Math.floor(ch / dHead);
          const at = (row * nGroup + Math.floor((head * nGroup) / nHead)) * nState;
          const delta = Math.log1p(Math.exp(data.dt[row * nHead + head]!));
          let sum = 0;
          for (let i = 0; i < nState; i++) {
            const k = ch * nState + i;
            state[k] =
              state[k]! * Math.exp(delta * a[head]!) + data.b[at + i]! * data.x[row * n + ch]! * delta;
            sum += state[k]! * data.c[at + i]!;
          }
          expect(Math.abs(y[row * pad16(n) + ch]! - sum)).toBeLessThan(3e-6 * (1 + nState));
        }
        // Zeros stay behind the last channel.
        for (let ch = n; ch < pad16(n); ch++) expect(y[row * pad16(n) + ch]).toBe(0);
      }
      wide(Float32Array.from(state), nState).forEach((v, k) => {
        expect(Math.abs(next[s]![k]! - v)).toBeLessThan(5e-6);
      });
    });
  });

  test.each(SHAPES)('%j: the same bits token by token and among neighbours', (shape) => {
    const data = dataOf(new Random(3), 6, shape);
    const stride = pad16(shape.nHead * shape.dHead);
    const whole = scan(shape, 3, [1, -1], [1, 0], data);
    const first = scan(shape, 3, [1], [1], data);
    expect(firstDifference(whole.y.subarray(0, 3 * stride), first.y)).toBeNull();
    expect(firstDifference(whole.next[0]!, first.next[0]!)).toBeNull();
    const one = scan(shape, 1, [1], [1], data);
    expect(firstDifference(whole.y.subarray(0, stride), one.y)).toBeNull();
  });
});

describe('ssmGateNorm', () => {
  const ROWS = 3;
  const EPS = Math.fround(1e-5);

  function gateNorm(n: number, groups: number, inPlace: boolean) {
    const random = new Random(n * 16 + groups);
    const layout = new Layout();
    layout.dims[DIM.tokens] = ROWS;
    const stride = pad16(n);
    const padded = (data: Float32Array) => {
      const out = new Float32Array(stride);
      out.set(data);
      return layout.weights(out);
    };
    const [y, x, z] = [random.floats(ROWS * n), random.floats(ROWS * n), random.floats(ROWS * n, 9)];
    const [skip, weight] = [random.floats(n), random.floats(n, 2)];
    const yAt = layout.rows(y, n);
    const dst = inPlace ? yAt : layout.hole(ROWS * stride);
    const operands = {
      rows: DIM.tokens,
      y: yAt,
      yStride: stride,
      x: layout.rows(x, n, stride + 32),
      xStride: stride + 32,
      z: layout.rows(z, n),
      zStride: stride,
      dst,
      dstStride: stride,
      dSkip: padded(skip),
    };
    const weightAt = padded(weight);
    const run = () => runEverywhere(layout).memory.act.slice(dst, dst + ROWS * stride);
    return { layout, operands, weightAt, stride, data: { y, x, z, skip, weight }, run };
  }

  test.each([
    [1, 1],
    [16, 1],
    [32, 8],
    [40, 2],
    [51, 3],
    [128, 2],
    [144, 1],
  ])('%i channels in %i groups: the same bits everywhere, and the values of the formula', (n, groups) => {
    for (const inPlace of [false, true]) {
      const { layout, operands, weightAt, stride, data, run } = gateNorm(n, groups, inPlace);
      layout.plan.ssmGateNorm({ ...operands, n, groups, weight: weightAt, eps: EPS });
      const got = run();
      const size = n / groups;
      for (let r = 0; r < ROWS; r++) {
        const gated = Array.from({ length: n }, (_, i) => {
          const z = data.z[r * n + i]!;
          return ((data.y[r * n + i]! + data.skip[i]! * data.x[r * n + i]!) * z) / (1 + Math.exp(-z));
        });
        for (let i = 0; i < stride; i++) {
          if (i >= n) {
            expect(got[r * stride + i]).toBe(0);
            continue;
          }
          const group = gated.slice(i - (i % size), i - (i % size) + size);
          const mean = group.reduce((sum, v) => sum + v * v, 0) / size;
          const want = (gated[i]! / Math.sqrt(mean + EPS)) * data.weight[i]!;
          expect(Math.abs(got[r * stride + i]! - want)).toBeLessThan(2e-5);
        }
      }
    }
  });

  test('one group has the bits of the gate and a norm behind it', () => {
    const fused = gateNorm(48, 1, false);
    fused.layout.plan.ssmGateNorm({ ...fused.operands, n: 48, groups: 1, weight: fused.weightAt, eps: EPS });
    const apart = gateNorm(48, 1, false);
    const { dst, dstStride } = apart.operands;
    apart.layout.plan.ssmGate({ ...apart.operands, n: 48 });
    const rows = { rows: DIM.tokens, src: dst, srcStride: dstStride, dst, dstStride };
    apart.layout.plan.rmsNorm({ ...rows, n: 48, weight: apart.weightAt, eps: EPS });
    expect(firstDifference(fused.run(), apart.run())).toBeNull();
  });
});

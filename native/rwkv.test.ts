/** Operations of RWKV: bits across implementations, chunks and neighbours; values against float64. */
import { describe, expect, test } from 'vitest';
import { STATUS } from './plan.ts';
import * as ops from './plan-rwkv.ts';
import { DIM, firstDifference, Layout, pad16, Random, runEverywhere, runOn } from './testkit.ts';

const SIZES = [1, 2, 15, 16, 17, 31, 64, 70];

/** Where the sets of a test find their states: a cell of their own, none, and two that were moved. */
const FROM = [2, -1, -2, -3];
const TO = [2, 0, 1, 3];

/** The states of cells 0 .. 3 and of two moved rows, each of `width` floats in rows of n, with zeros behind those. */
function statesOf(layout: Layout, width: number, n: number) {
  const all = new Random(width).floats(6 * width).map((x, i) => (i % pad16(n) < n ? x : 0));
  const id = (k: number) => (k >= 0 ? k : 4 + (-2 - k));
  return {
    at: {
      state: layout.cache(all.slice(0, 4 * width)),
      moved: layout.act(all.slice(4 * width)),
    },
    of: (from: number) =>
      from === -1 ? new Float32Array(width) : all.slice(id(from) * width, (id(from) + 1) * width),
  };
}

function expectNear(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < got.length; i++) {
    expect(Math.abs(got[i]! - want[i]!)).toBeLessThanOrEqual(tolerance * (1 + Math.abs(want[i]!)));
  }
}

/** Rows of n floats without what is behind them, which must be zeros. */
function rowsAt(from: Float32Array, at: number, rows: number, n: number): Float32Array[] {
  return Array.from({ length: rows }, (_, r) => {
    const row = from.slice(at + r * pad16(n), at + (r + 1) * pad16(n));
    expect(row.subarray(n).every((x) => x === 0)).toBe(true);
    return row.slice(0, n);
  });
}

describe('layerNorm', () => {
  test('of whole rows and of parts, in place too', () => {
    const random = new Random(1);
    for (const [nPart, n] of [...SIZES.map((d) => [1, d]), [4, 8], [3, 5], [2, 64]] as [number, number][]) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = 3;
      const all = nPart * n;
      const [x, w, b] = [random.floats(3 * all, 4), random.floats(pad16(all)), random.floats(pad16(all))];
      const src = layout.rows(x, all);
      const dst = layout.hole(3 * pad16(all));
      const eps = Math.fround(1e-3);
      const shared = { rows: DIM.tokens, src, stride: pad16(all), nPart, n, eps };
      const at = { weight: layout.weights(w), bias: layout.weights(b) };
      ops.layerNorm(layout.plan, { ...shared, ...at, dst });
      ops.layerNorm(layout.plan, { ...shared, ...at, dst: src });
      const { act } = runEverywhere(layout).memory;
      const rows = rowsAt(act, dst, 3, all);
      expect(rowsAt(act, src, 3, all)).toEqual(rows);
      rows.forEach((row, r) => {
        for (let i = 0; i < all; i++) {
          const begin = r * all + i - (i % n);
          const own = [...x.subarray(begin, begin + n)];
          const mean = own.reduce((s, v) => s + v, 0) / n;
          const root = Math.sqrt(own.reduce((s, v) => s + (v - mean) ** 2, 0) / n + eps);
          expectNear([row[i]!], [((x[r * all + i]! - mean) / root) * w[i]! + b[i]!], 2e-5);
        }
      });
    }
  });
});

describe('tokenShift', () => {
  test('takes the token before from the own set or state, and keeps the last one', () => {
    const random = new Random(2);
    for (const tokens of [1, 2, 5]) {
      const layout = new Layout();
      layout.dims[DIM.seqs] = 4;
      layout.dims[DIM.seq_tokens] = tokens;
      const n = 32;
      const { at, of } = statesOf(layout, n, n);
      const x = random.floats(4 * tokens * n);
      const dst = layout.hole(4 * tokens * n);
      const ids = { srcIds: layout.index(FROM), dstIds: layout.index(TO) };
      ops.tokenShift(layout.plan, { x: layout.rows(x, n), dst, stride: n, n, ...at, ...ids });
      const { act, cache } = runEverywhere(layout).memory;
      const after = new Float32Array(cache.buffer);
      const rowOf = (r: number) => x.subarray(r * n, (r + 1) * n);
      FROM.forEach((from, s) => {
        for (let t = 0; t < tokens; t++) {
          const r = s * tokens + t;
          const found = act.subarray(dst + r * n, dst + (r + 1) * n);
          expect(found).toEqual(t === 0 ? of(from) : rowOf(r - 1));
        }
        const row = at.state + TO[s]! * n;
        expect(after.subarray(row, row + n)).toEqual(rowOf((s + 1) * tokens - 1));
      });
    }
  });
});

describe('rows', () => {
  test('lerp: by weights, by rows, by their sum', () => {
    const random = new Random(3);
    const n = 48;
    const layout = new Layout();
    layout.dims[DIM.tokens] = 3;
    const [x, to, way] = [random.floats(3 * n), random.floats(3 * n), random.floats(3 * n)];
    const w = random.floats(n);
    const rows = { x: layout.rows(x, n), to: layout.rows(to, n) };
    const [weight, ways] = [layout.weights(w), layout.rows(way, n)];
    const kinds = [
      [weight, -1],
      [-1, ways],
      [weight, ways],
    ] as const;
    const dsts = kinds.map(([fixed, own]) => {
      const dst = layout.hole(3 * n);
      ops.lerp(layout.plan, { rows: DIM.tokens, ...rows, dst, stride: n, n, weight: fixed, way: own });
      return dst;
    });
    const { act } = runEverywhere(layout).memory;
    kinds.forEach(([fixed, own], k) => {
      const want = Array.from(x, (xi, i) => {
        const by = (fixed < 0 ? 0 : w[i % n]!) + (own < 0 ? 0 : way[i]!);
        return xi + (to[i]! - xi) * by;
      });
      expectNear(act.slice(dsts[k]!, dsts[k]! + 3 * n), want, 1e-6);
    });
  });

  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  const FORMULAS = {
    tanh: Math.tanh,
    sigmoid,
    reluSquared: (x: number) => Math.max(x, 0) ** 2,
    decay6: (x: number) => Math.exp(-Math.exp(x)),
    decay7: (x: number) => Math.exp(Math.fround(-0.606531) * sigmoid(x)),
  };

  test.each(Object.entries(FORMULAS))('%s, with zeros behind the last column', (name, formula) => {
    const random = new Random(4);
    for (const n of SIZES) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = 2;
      const x = random.floats(2 * n, 6);
      [0, -0, 100, -100, 0.625, -0.625, 1e-40].forEach((special, i) => {
        if (i < n) x[i] = special;
      });
      const at = layout.rows(x, n);
      const f = ops.FUNCTION[name as keyof typeof FORMULAS];
      ops.pointwise(layout.plan, { rows: DIM.tokens, x: at, stride: pad16(n), n, f });
      const rows = rowsAt(runEverywhere(layout).memory.act, at, 2, n);
      rows.forEach((row, r) => {
        expectNear(row, Array.from(x.subarray(r * n, (r + 1) * n), formula), 2e-6);
      });
    }
  });

  test('functions have the same bits everywhere for any bits, NaN stays NaN', () => {
    const random = new Random(5);
    const bits = Int32Array.from({ length: 16_384 }, () => random.bits() | 0);
    const x = new Float32Array(bits.buffer);
    for (const f of Object.values(ops.FUNCTION)) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = x.length / 64;
      const at = layout.rows(x, 64);
      ops.pointwise(layout.plan, { rows: DIM.tokens, x: at, stride: 64, n: 64, f });
      const { act } = runEverywhere(layout).memory;
      x.forEach((xi, i) => {
        if (Number.isNaN(xi)) expect(act[at + i]).toBeNaN();
      });
    }
  });

  test('an unknown function is refused', () => {
    for (const f of [-1, 5]) {
      const layout = new Layout();
      layout.dims[DIM.tokens] = 1;
      ops.pointwise(layout.plan, {
        rows: DIM.tokens,
        x: layout.rows(new Float32Array(16), 16),
        stride: 16,
        n: 16,
        f,
      });
      expect(runEverywhere(layout).status).toBe(STATUS.badOp);
      expect(runOn('portable', layout).status).toBe(STATUS.badOp);
    }
  });

  test('gatedAdd', () => {
    const random = new Random(6);
    const layout = new Layout();
    layout.dims[DIM.tokens] = 2;
    const [gate, y, x] = [random.floats(64, 9), random.floats(64), random.floats(64)];
    const at = { gate: layout.rows(gate, 32), y: layout.rows(y, 32), x: layout.rows(x, 32) };
    ops.gatedAdd(layout.plan, { rows: DIM.tokens, ...at, stride: 32, n: 32, scale: 0.5 });
    const { act } = runEverywhere(layout).memory;
    const want = Array.from(x, (xi, i) => (xi + sigmoid(gate[i]!) * y[i]!) / 2);
    expectNear(act.slice(at.x, at.x + 64), want, 1e-6);
  });
});

const HEADS = [
  [1, 1],
  [3, 5],
  [4, 8],
  [2, 16],
  [2, 17],
  [1, 64],
  [1, 70],
] as const;

interface Token {
  readonly r: Float32Array;
  readonly w: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly kappa: Float32Array;
  readonly b: Float32Array;
}

function tokensOf(random: Random, rows: number, n: number): Token {
  const of = (scale = 1) => random.floats(rows * n, scale);
  return { r: of(), w: of().map(Math.abs), k: of(), v: of(), kappa: of(0.3), b: of(0.3) };
}

/** One recurrence over sets; `padded` states are [head][key][pad16(value)]. */
function recurrence(
  version: 6 | 7,
  [nHead, d]: readonly [number, number],
  tokens: number,
  sets: readonly { readonly from: number; readonly to: number }[],
  data: Token,
) {
  const layout = new Layout();
  const n = nHead * d;
  const stride = pad16(n);
  const width = n * pad16(d);
  layout.dims[DIM.seqs] = sets.length;
  layout.dims[DIM.seq_tokens] = tokens;
  const { at, of } = statesOf(layout, width, d);
  const rows = sets.length * tokens;
  const dst = layout.hole(rows * stride);
  const row = (x: Float32Array) => layout.rows(x.subarray(0, rows * n), n);
  const common = { r: row(data.r), w: row(data.w), k: row(data.k), v: row(data.v), dst, stride, nHead, d };
  const states = {
    ...at,
    srcIds: layout.index(sets.map(({ from }) => from)),
    dstIds: layout.index(sets.map(({ to }) => to)),
  };
  const u = new Random(77).floats(stride);
  if (version === 6) ops.wkv6(layout.plan, { ...common, u: layout.weights(u), ...states });
  else ops.wkv7(layout.plan, { ...common, kappa: row(data.kappa), b: row(data.b), ...states });
  const { act, cache } = runEverywhere(layout).memory;
  const after = new Float32Array(cache.buffer);
  const next = sets.map(({ to }) => after.slice(at.state + to * width, at.state + (to + 1) * width));
  return { y: rowsAt(act, dst, rows, n), next, of, u };
}

describe.each([6, 7] as const)('wkv%i', (version) => {
  test('gives the same bits everywhere and the values of the recurrence, old states from anywhere', () => {
    const random = new Random(version);
    for (const [nHead, d] of HEADS) {
      const n = nHead * d;
      const tokens = random.pick([1, 2, 3]);
      const sets = FROM.map((from, s) => ({ from, to: TO[s]! }));
      const data = tokensOf(random, sets.length * tokens, n);
      const { y, next, of, u } = recurrence(version, [nHead, d], tokens, sets, data);
      sets.forEach(({ from }, s) => {
        const M = Float64Array.from(of(from));
        for (let t = 0; t < tokens; t++) {
          const r = s * tokens + t;
          const at = (x: Float32Array, c: number) => x[r * n + c]!;
          const want = new Float64Array(n);
          for (let h = 0; h < n; h += d) {
            for (let j = 0; j < d; j++) {
              const place = (i: number) => (h + i) * pad16(d) + j;
              let removed = 0;
              for (let i = 0; i < d; i++) removed -= at(data.kappa, h + i) * M[place(i)]!;
              for (let i = 0; i < d; i++) {
                const kv = at(data.k, h + i) * at(data.v, h + j);
                const old = M[place(i)]!;
                const more = version === 6 ? kv : kv + removed * at(data.b, h + i);
                M[place(i)] = old * at(data.w, h + i) + more;
                const seen = version === 6 ? old + u[h + i]! * kv : M[place(i)]!;
                want[h + j]! += at(data.r, h + i) * seen;
              }
            }
          }
          expectNear(y[r]!, want, 2e-5 * Math.sqrt(d));
        }
        for (let i = 0; i < n; i++) {
          const [got, want] = [next[s]!, M].map((of_) => of_.subarray(i * pad16(d), i * pad16(d) + d));
          expectNear(got!, want!, 1e-5 * Math.sqrt(d));
        }
      });
    }
  });

  test('gives the same bits token by token and among neighbours', () => {
    const random = new Random(10 + version);
    for (const [nHead, d] of HEADS) {
      const n = nHead * d;
      const data = tokensOf(random, 6, n);
      const first = { from: 1, to: 1 };
      const pair = recurrence(version, [nHead, d], 3, [first, { from: -1, to: 0 }], data);
      const alone = recurrence(version, [nHead, d], 3, [first], data);
      expect(pair.y.slice(0, 3)).toEqual(alone.y);
      expect(firstDifference(pair.next[0]!, alone.next[0]!)).toBeNull();
      const one = recurrence(version, [nHead, d], 1, [first], data);
      expect(one.y[0]).toEqual(alone.y[0]);
    }
  });
});

describe('wkv7Keys and wkv7Output', () => {
  test.each(HEADS)('%i heads of %i: same bits everywhere, values of the formulas', (nHead, d) => {
    const random = new Random(nHead + d);
    const n = nHead * d;
    const stride = pad16(n);
    const layout = new Layout();
    layout.dims[DIM.tokens] = 2;
    const row = () => random.floats(2 * n);
    const [k, iclr, y, r, v, g] = [row(), row().map(Math.abs), row(), row(), row(), row()];
    k.fill(0, 0, d); // a head whose key has no length
    const weights = () => {
      const w = random.floats(stride);
      return w.fill(0, n);
    };
    const [scale, share, rk] = [weights(), weights(), weights()];
    const at = {
      k: layout.rows(k, n),
      iclr: layout.rows(iclr, n),
      kappa: layout.hole(2 * stride),
      b: layout.hole(2 * stride),
    };
    const heads = { rows: DIM.tokens, stride, nHead, d };
    ops.wkv7Keys(layout.plan, {
      ...heads,
      ...at,
      keyScale: layout.weights(scale),
      keyIclr: layout.weights(share),
    });
    const out = { y: layout.rows(y, n), r: layout.rows(r, n), v: layout.rows(v, n), g: layout.rows(g, n) };
    ops.wkv7Output(layout.plan, { ...heads, ...out, k: at.k, rk: layout.weights(rk) });
    const { act } = runEverywhere(layout).memory;
    const rows = (place: number) => rowsAt(act, place, 2, n);
    const [kappa, b, keys, sums] = [rows(at.kappa), rows(at.b), rows(at.k), rows(out.y)];
    for (let i = 0; i < 2 * n; i++) {
      const [q, c] = [Math.floor(i / n), i % n];
      const begin = i - (c % d);
      const own = Array.from({ length: d }, (_, j) => begin + j);
      const length = Math.hypot(...own.map((j) => k[j]! * scale[j % n]!));
      const unit = (k[i]! * scale[c]!) / Math.max(length, 1e-12);
      const key = (j: number) => k[j]! * (1 + (iclr[j]! - 1) * share[j % n]!);
      const bonus = own.reduce((s, j) => s + key(j) * r[j]! * rk[j % n]!, 0);
      expectNear([kappa[q]![c]!, b[q]![c]!, keys[q]![c]!], [unit, unit * iclr[i]!, key(i)], 1e-6);
      expectNear([sums[q]![c]!], [(y[i]! + bonus * v[i]!) * g[i]!], 1e-5);
    }
  });
});

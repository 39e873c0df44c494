/** Experts: bits across implementations, a row alone and among others, ties, values against float64. */
import { describe, expect, test } from 'vitest';
import { packMatrix, SHARES } from './plan.ts';
import { DIM, Layout, pad16, Random, runEverywhere, TYPE, typed } from './testkit.ts';

function routed(logits: Float32Array, nExpert: number, nUsed: number, shares: number = SHARES.chosen) {
  const layout = new Layout();
  const rows = logits.length / nExpert;
  const stride = pad16(nUsed);
  layout.dims[DIM.tokens] = rows;
  const [ids, weights] = [layout.hole(rows * stride), layout.hole(rows * stride)];
  const at = { rows: DIM.tokens, logits: layout.rows(logits, nExpert), logitsStride: pad16(nExpert) };
  layout.plan.route({ ...at, nExpert, nUsed, ids, weights, stride, shares });
  const { act } = runEverywhere(layout).memory;
  return Array.from({ length: rows }, (_, r) => {
    const row = (of: number) => [...act.slice(of + r * stride, of + (r + 1) * stride)];
    expect([...row(ids).slice(nUsed), ...row(weights).slice(nUsed)].every((x) => Object.is(x, 0))).toBe(true);
    return { ids: row(ids).slice(0, nUsed), weights: row(weights).slice(0, nUsed) };
  });
}

describe('route', () => {
  test.each([
    [1, 1],
    [4, 2],
    [6, 3],
    [16, 16],
    [17, 4],
    [130, 40],
  ])('of %i experts the best %i, in the order of their numbers', (nExpert, nUsed) => {
    const logits = new Random(nExpert).floats(5 * nExpert, 6);
    for (const shares of Object.values(SHARES))
      routed(logits, nExpert, nUsed, shares).forEach(({ ids, weights }, r) => {
        const row = logits.subarray(r * nExpert, (r + 1) * nExpert);
        const best = [...row.keys()].sort((i, j) => row[j]! - row[i]!).slice(0, nUsed);
        expect(ids).toEqual(best.sort((i, j) => i - j));
        const e = best.map((i) => Math.exp(row[i]!));
        const sums = {
          [SHARES.all]: () => row.reduce((a, x) => a + Math.exp(x), 0),
          [SHARES.chosen]: () => e.reduce((a, b) => a + b, 0),
          [SHARES.sigmoid]: (s: number) => e[s]! + 1,
        };
        weights.forEach((w, s) => {
          expect(Math.abs(w - e[s]! / sums[shares](s))).toBeLessThanOrEqual(40 * 2 ** -24 * w);
        });
      });
  });

  test('equal logits: the lower number, and -0 equals 0', () => {
    const [tie, zeros, all] = routed(
      Float32Array.from([1, 3, 2, 2, 2, -1, -0, 0, -0, 0, -1, -0, 7, 7, 7, 7, 7, 7]),
      6,
      2,
    );
    expect(tie!.ids).toEqual([1, 2]);
    expect(zeros!.ids).toEqual([0, 1]);
    expect(zeros!.weights).toEqual([0.5, 0.5]);
    expect(all!.ids).toEqual([0, 1]);
  });

  test('NaN and infinities: as many different experts as asked for, the same everywhere', () => {
    const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
    for (const row of [
      [nan, 1, 2, nan],
      [1, nan, nan, nan],
      [inf, inf, -inf, 0],
      [-inf, -inf, -inf, -inf],
    ]) {
      const { ids } = routed(Float32Array.from(row), 4, 3)[0]!;
      expect(new Set(ids).size).toBe(3);
      expect(ids.every((id) => id >= 0 && id < 4)).toBe(true);
    }
  });
});

interface Products {
  readonly k: number;
  readonly n: number;
  readonly type: number;
  readonly perSlot: boolean;
  readonly ids: readonly (readonly number[])[];
}

const EXPERTS = 5;

/** Rows x of `seed`, one a slot, or one a row. */
function multiplied({ k, n, type, perSlot, ids }: Products, x: Float32Array) {
  const layout = new Layout();
  const [rows, nUsed] = [ids.length, ids[0]!.length];
  const matrices = Array.from({ length: EXPERTS }, (_, e) => typed(new Random(e + 1).floats(k * n), type));
  const size = pad16(n) * k;
  const step = type === TYPE.F32 ? size : size / 2;
  const all = type === TYPE.F32 ? new Float32Array(EXPERTS * size) : new Uint16Array(EXPERTS * size);
  matrices.forEach(({ raw }, e) => {
    all.set(packMatrix(raw as Float32Array, k, n), e * size);
  });
  layout.dims[DIM.tokens] = rows;
  const dst = layout.hole(rows * nUsed * pad16(n));
  layout.plan.expertMatmul({
    rows: DIM.tokens,
    nExpert: EXPERTS,
    nUsed,
    ids: layout.rows(Float32Array.from(ids.flat()), nUsed),
    idsStride: pad16(nUsed),
    src: layout.rows(x, k),
    srcStride: pad16(k),
    perSlot,
    dst,
    dstStride: pad16(n),
    k,
    n,
    w: layout.weights(all),
    step,
    type,
  });
  const { act } = runEverywhere(layout).memory;
  const row = (slot: number) => act.slice(dst + slot * pad16(n), dst + (slot + 1) * pad16(n));
  return { row, exact: matrices.map((m) => m.exact) };
}

describe('expertMatmul', () => {
  const random = new Random(3);
  const many = Array.from({ length: 40 }, () => {
    const first = random.int(0, 3);
    return [first, random.int(first + 1, 4)];
  });

  test.each([
    [1, 1, TYPE.F32, false],
    [16, 16, TYPE.F32, true],
    [40, 17, TYPE.F32, false],
    [65, 40, TYPE.F16, true],
    [130, 33, TYPE.F16, false],
  ] as const)('k %i, n %i, type %i, a row a slot: %s', (k, n, type, perSlot) => {
    const nUsed = 2;
    const x = random.floats((perSlot ? many.length * nUsed : many.length) * k);
    const shape = { k, n, type, perSlot };
    const { row, exact } = multiplied({ ...shape, ids: many }, x);
    many.forEach((chosen, r) => {
      chosen.forEach((e, s) => {
        const slot = r * nUsed + s;
        const src = x.subarray((perSlot ? slot : r) * k, ((perSlot ? slot : r) + 1) * k);
        const got = row(slot);
        for (let c = 0; c < n; c++) {
          let [sum, size] = [0, 0];
          for (let i = 0; i < k; i++) {
            sum += src[i]! * exact[e]![c * k + i]!;
            size += Math.abs(src[i]! * exact[e]![c * k + i]!);
          }
          expect(Math.abs(got[c]! - sum)).toBeLessThanOrEqual(66 * 2 ** -24 * size);
        }
        expect(got.slice(n).every((y) => Object.is(y, 0))).toBe(true);
      });
    });
    // A row has the bits that it has alone.
    for (const r of [0, 7, 39]) {
      const own = perSlot ? x.slice(r * nUsed * k, (r + 1) * nUsed * k) : x.slice(r * k, (r + 1) * k);
      const alone = multiplied({ ...shape, ids: [many[r]!] }, own);
      for (const s of [0, 1]) expect(alone.row(s)).toEqual(row(r * nUsed + s));
    }
  });
});

describe('expertSum', () => {
  test.each([1, 16, 17, 40])('%i columns', (n) => {
    const random = new Random(n);
    const [rows, nUsed] = [3, 3];
    const layout = new Layout();
    layout.dims[DIM.tokens] = rows;
    const [x, weights, old] = [
      random.floats(rows * nUsed * n),
      random.floats(rows * nUsed),
      random.floats(rows * n),
    ];
    const dst = layout.rows(old, n);
    layout.plan.expertSum({
      rows: DIM.tokens,
      src: layout.rows(x, n),
      srcStride: pad16(n),
      weights: layout.rows(weights, nUsed),
      weightsStride: pad16(nUsed),
      nUsed,
      dst,
      dstStride: pad16(n),
      n,
    });
    const { act } = runEverywhere(layout).memory;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < n; c++) {
        let want = old[r * n + c]!;
        for (let s = 0; s < nUsed; s++) want += weights[r * nUsed + s]! * x[(r * nUsed + s) * n + c]!;
        expect(Math.abs(act[dst + r * pad16(n) + c]! - want)).toBeLessThan(8 * 2 ** -24 * 4);
      }
      const behind = act.slice(dst + r * pad16(n) + n, dst + (r + 1) * pad16(n));
      expect(behind.every((y) => Object.is(y, 0))).toBe(true);
    }
  });
});

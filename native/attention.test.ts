/** Attention: bits across implementations and across placements, values against a float64 formula. */

import { describe, expect, test } from 'vitest';
import { DIM, firstDifference, Layout, pad16, Random, runEverywhere, TYPE, typed } from './testkit.ts';

interface Group {
  /** Ascending positions of the keys. */
  readonly positions: readonly number[];
  /** Visible range of each query, as numbers of keys of the group. */
  readonly ranges: readonly (readonly [number, number])[];
}

interface Shape {
  readonly nHead: number;
  readonly nHeadKv: number;
  readonly d: number;
  readonly type: number;
  /** Of scores; none if it is not there. */
  readonly cap?: number;
  readonly groups: readonly Group[];
}

/** K, V and q of a key or query depend on (seed, group, number) alone, wherever their cells and rows lie. */
function build(shape: Shape, seed: number, placement: number) {
  const { nHead, nHeadKv, d, type, cap, groups } = shape;
  const place = new Random(placement);
  const layout = new Layout();
  layout.dims[DIM.groups] = groups.length;
  const nKeys = groups.reduce((sum, g) => sum + g.positions.length, 0);
  const nQueries = groups.reduce((sum, g) => sum + g.ranges.length, 0);
  const cells = place.shuffled(Array.from({ length: nKeys + 5 }, (_, i) => i));
  const rows = place.shuffled(Array.from({ length: nQueries }, (_, i) => i));
  const kv = nHeadKv * d;
  const width = nHead * d;
  const k = new Float32Array((nKeys + 5) * kv).fill(9);
  const v = new Float32Array((nKeys + 5) * kv).fill(9);
  const q = new Float32Array(nQueries * width);
  let key = 0;
  let query = 0;
  const lists: number[][] = [[0], [0], [], [], [], [], []];
  groups.forEach((group, g) => {
    const random = new Random(seed + g);
    for (let j = 0; j < group.ranges.length; j++) {
      q.set(random.floats(width, 2), rows[query + j]! * width);
      lists[2]!.push(rows[query + j]!);
      lists[3]!.push(key + group.ranges[j]![0]);
      lists[4]!.push(key + group.ranges[j]![1]);
    }
    query += group.ranges.length;
    for (const position of group.positions) {
      k.set(random.floats(kv, 2), cells[key]! * kv);
      v.set(random.floats(kv, 2), cells[key]! * kv);
      lists[5]!.push(cells[key]!);
      lists[6]!.push(position);
      key++;
    }
    lists[0]!.push(key);
    lists[1]!.push(query);
  });
  const kData = typed(k, type);
  const vData = typed(v, type);
  const qAt = layout.rows(q, width);
  const dst = layout.hole(nQueries * pad16(width));
  const scale = Math.fround(1 / Math.sqrt(d));
  const kAt = layout.cache(kData.raw);
  const vAt = layout.cache(vData.raw);
  const index = layout.index(lists.map((list) => layout.index(list)));
  layout.plan.attention({
    q: qAt,
    qStride: pad16(width),
    dst,
    dstStride: pad16(width),
    nHead,
    nHeadKv,
    d,
    k: kAt,
    v: vAt,
    type,
    scale,
    ...(cap === undefined ? {} : { cap }),
    index,
  });
  /** Output channel of query j (in list order) in float64, with the sum of |weights * values|. */
  const expected = (j: number, h: number) => {
    const row = lists[2]![j]!;
    const head = Math.floor(h / (nHead / nHeadKv));
    const scores: number[] = [];
    for (let i = lists[3]![j]!; i < lists[4]![j]!; i++) {
      let s = 0;
      for (let c = 0; c < d; c++)
        s += q[row * width + h * d + c]! * kData.exact[lists[5]![i]! * kv + head * d + c]!;
      scores.push(cap === undefined ? s * scale : cap * Math.tanh((s * scale) / cap));
    }
    const max = Math.max(...scores);
    const e = scores.map((s) => Math.exp(s - max));
    const sum = e.reduce((a, b) => a + b, 0);
    return Array.from({ length: d }, (_, c) => {
      let y = 0;
      e.forEach((w, i) => {
        y += (w / sum) * vData.exact[lists[5]![lists[3]![j]! + i]! * kv + head * d + c]!;
      });
      return y;
    });
  };
  return { layout, dst, width, queryRow: lists[2]!, expected };
}

/** Ascending positions from `from` on, with holes of probability 1 / `holes`. */
function positions(random: Random, n: number, from: number, holes: number): number[] {
  const list: number[] = [];
  for (let p = from; list.length < n; p++) if (holes === 0 || random.int(1, holes) !== 1) list.push(p);
  return list;
}

/** Causal, windowed or odd ranges, now and then empty. */
function ranges(random: Random, keys: number, queries: number): [number, number][] {
  return Array.from({ length: queries }, (_, j) => {
    const kind = random.int(0, 9);
    if (kind === 0) return [0, 0];
    if (kind < 6) return [0, Math.min(keys, Math.max(1, keys - queries + j + 1))];
    const end = random.int(1, keys);
    return [Math.max(0, end - random.int(1, keys)), end];
  });
}

function randomShape(random: Random): Shape {
  const nHeadKv = random.pick([1, 2, 3]);
  const group = (): Group => {
    const keys = random.pick([1, 2, 15, 16, 17, 40, 130]);
    return {
      positions: positions(random, keys, random.pick([0, 3, 14, 250, 1000]), random.pick([0, 2, 5])),
      ranges: ranges(random, keys, random.pick([1, 2, 3, 4, 5, 9])),
    };
  };
  return {
    nHead: nHeadKv * random.pick([1, 2, 3]),
    nHeadKv,
    d: random.pick([2, 6, 8, 16, 18, 32, 64, 70, 128]),
    type: random.pick([TYPE.F32, TYPE.F16]),
    ...(random.int(0, 1) ? { cap: random.pick([0.5, 3, 50]) } : {}),
    groups: Array.from({ length: random.int(1, 3) }, group),
  };
}

describe('attention', () => {
  test('gives the same bits everywhere and the values of the formula', () => {
    const random = new Random(11);
    for (let i = 0; i < 40; i++) {
      const shape = randomShape(random);
      const { layout, dst, width, queryRow, expected } = build(shape, i * 10, i);
      const { status, memory } = runEverywhere(layout);
      expect(status).toBe(0);
      const flat = shape.groups.flatMap((g) => g.ranges);
      flat.forEach(([begin, end], j) => {
        const at = dst + queryRow[j]! * pad16(width);
        for (let c = width; c < pad16(width); c++) expect(Object.is(memory.act[at + c], 0)).toBe(true);
        const h = j % shape.nHead;
        const got = memory.act.subarray(at + h * shape.d, at + (h + 1) * shape.d);
        if (begin === end) expect([...got].every((y) => Object.is(y, 0))).toBe(true);
        else {
          const want = expected(j, h);
          // Scores are at most 4d * scale; their errors multiply the weights: d * u * 4 sqrt(d), twice.
          const bound = 2 * (shape.d * 4 * Math.sqrt(shape.d) + end - begin + 8) * 2 ** -24 * 2;
          got.forEach((y, c) => {
            expect(Math.abs(y - want[c]!), JSON.stringify([i, j, c])).toBeLessThanOrEqual(bound);
          });
        }
      });
    }
  });

  test('does not depend on where cells and rows lie, nor on what shares the call', () => {
    const random = new Random(12);
    for (let i = 0; i < 8; i++) {
      const shape = { ...randomShape(random), groups: randomShape(random).groups };
      const all = build(shape, 500 + i * 10, 1);
      const together = runEverywhere(all.layout).memory.act;
      let j = 0;
      shape.groups.forEach((group, g) => {
        // Each query alone with its group's keys: other cells, other rows, no neighbours.
        group.ranges.forEach((range, within) => {
          if (within % 3 !== 0) return;
          const one = build({ ...shape, groups: [group] }, 500 + i * 10 + g, 77 + within);
          const alone = runEverywhere(one.layout).memory.act;
          const a = together
            .subarray(all.dst + all.queryRow[j + within]! * pad16(all.width))
            .slice(0, all.width);
          const b = alone.subarray(one.dst + one.queryRow[within]! * pad16(one.width)).slice(0, one.width);
          expect(firstDifference(a, b), `${JSON.stringify(range)} of group ${g}`).toBeNull();
        });
        j += group.ranges.length;
      });
    }
  });

  test('skips keys outside the range: a window has the bits of a group that holds only the window', () => {
    const random = new Random(13);
    const d = 16;
    const n = 600;
    const all = positions(random, n, 5, 4);
    for (const [begin, end] of [
      [0, 600],
      [100, 110],
      [250, 600],
      [3, 4],
      [37, 300],
    ] as const) {
      const make = (shown: number[], range: readonly [number, number], skip: number) => {
        const layout = new Layout();
        layout.dims[DIM.groups] = 1;
        const data = new Random(14);
        const k = layout.cache(data.floats(n * d, 2));
        const v = layout.cache(data.floats(n * d, 2));
        const q = layout.rows(new Random(15).floats(d, 2), d);
        const dst = layout.hole(d);
        const lists = [
          [0, shown.length],
          [0, 1],
          [0],
          [range[0]],
          [range[1]],
          shown.map((_, i) => i + skip),
          shown,
        ];
        const index = layout.index(lists.map((list) => layout.index(list)));
        layout.plan.attention({
          q,
          qStride: d,
          dst,
          dstStride: d,
          nHead: 1,
          nHeadKv: 1,
          d,
          k,
          v,
          type: TYPE.F32,
          scale: 0.25,
          index,
        });
        return runEverywhere(layout).memory.act.subarray(dst, dst + d);
      };
      const windowed = make(all, [begin, end], 0);
      const only = make(all.slice(begin, end), [0, end - begin], begin);
      expect(firstDifference(windowed, only)).toBeNull();
    }
  });

  test('keeps positions that occur twice apart', () => {
    const shape: Shape = {
      nHead: 2,
      nHeadKv: 1,
      d: 8,
      type: TYPE.F32,
      groups: [
        {
          positions: [0, 0, 1, 1, 2, 15, 15, 16, 255, 256, 256],
          ranges: [
            [0, 11],
            [1, 8],
            [2, 3],
          ],
        },
      ],
    };
    const { layout, dst, width, queryRow, expected } = build(shape, 21, 3);
    const { act } = runEverywhere(layout).memory;
    for (let j = 0; j < 3; j++) {
      const want = expected(j, 1);
      const got = act.subarray(dst + queryRow[j]! * pad16(width) + 8).slice(0, 8);
      got.forEach((y, c) => {
        expect(Math.abs(y - want[c]!)).toBeLessThan(2e-5);
      });
    }
  });

  test('shows NaN and infinite scores as NaN, in that query alone', () => {
    const shape: Shape = {
      nHead: 1,
      nHeadKv: 1,
      d: 16,
      type: TYPE.F32,
      groups: [
        {
          positions: [0, 1, 2, 3],
          ranges: [
            [0, 4],
            [0, 4],
            [0, 4],
          ],
        },
      ],
    };
    const { layout, dst, queryRow, width } = build(shape, 31, 3);
    const q = layout.memory().act;
    const poisoned = new Layout();
    Object.assign(poisoned.dims, layout.dims);
    const bad = q.slice(0, 3 * width);
    bad[queryRow[0]! * width] = Number.NaN;
    bad[queryRow[2]! * width + 1] = Number.POSITIVE_INFINITY;
    const source = layout.memory();
    const at = poisoned.rows(bad, width);
    const to = poisoned.hole(3 * width);
    poisoned.cache(new Float32Array(source.cache.buffer));
    poisoned.index([...source.index]);
    poisoned.plan.attention({
      q: at,
      qStride: 16,
      dst: to,
      dstStride: 16,
      nHead: 1,
      nHeadKv: 1,
      d: 16,
      k: 0,
      v: 9 * 16,
      type: TYPE.F32,
      scale: 0.25,
      index: source.index.length - 7,
    });
    const { act } = runEverywhere(poisoned).memory;
    const row = (j: number) => [...act.subarray(to + queryRow[j]! * 16).slice(0, 16)];
    expect(dst).toBe(to);
    expect(row(0).every(Number.isNaN)).toBe(true);
    expect(row(1).every(Number.isFinite)).toBe(true);
    expect(row(2).every(Number.isNaN)).toBe(true);
  });
});

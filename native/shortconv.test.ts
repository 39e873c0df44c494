/** The short convolution: bits across implementations, chunks and neighbours; values against float64. */
import { describe, expect, test } from 'vitest';
import { DIM, Layout, Random, runEverywhere } from './testkit.ts';

const CELLS = 4;
const MOVED = 2;

interface Case {
  readonly n: number;
  readonly dConv: number;
  readonly tokens: number;
  readonly srcIds: readonly number[];
  readonly dstIds: readonly number[];
}

interface Rows {
  readonly b: Float32Array;
  readonly gate: Float32Array;
  readonly x: Float32Array;
}

/** States of all cells, then of the moved rows. */
function statesOf({ n, dConv }: Case): Float32Array {
  return new Random(n).floats((CELLS + MOVED) * (dConv - 1) * n);
}

/** Results and all cells afterwards. */
function run(c: Case, { b, gate, x }: Rows, w: Float32Array, states = statesOf(c)) {
  const { n, dConv, tokens, srcIds } = c;
  const layout = new Layout();
  layout.dims[DIM.seqs] = srcIds.length;
  layout.dims[DIM.seq_tokens] = tokens;
  const width = (dConv - 1) * n;
  const stride = n + 16;
  const rows = srcIds.length * tokens;
  const cache = layout.cache(states.subarray(0, CELLS * width));
  const dst = layout.hole(rows * n);
  layout.plan.shortConv({
    b: layout.rows(b, n, stride),
    gate: layout.rows(gate, n, stride),
    x: layout.rows(x, n, stride),
    stride,
    dst,
    dstStride: n,
    n,
    dConv,
    w: layout.weights(w),
    state: cache,
    srcIds: layout.index(srcIds),
    dstIds: layout.index(c.dstIds),
    moved: layout.act(states.subarray(CELLS * width)),
  });
  const { memory } = runEverywhere(layout);
  const cells = new Float32Array(memory.cache.buffer).slice(cache, cache + CELLS * width);
  return { y: memory.act.slice(dst, dst + rows * n), cells };
}

function drawn(random: Random, rows: number, n: number): Rows {
  return { b: random.floats(rows * n), gate: random.floats(rows * n), x: random.floats(rows * n) };
}

describe('shortConv', () => {
  test('gives the same bits everywhere and the values of the formula, old states from anywhere', () => {
    const random = new Random(1);
    for (const dConv of [1, 2, 3, 4, 5]) {
      for (const tokens of [1, 2, 3, 7]) {
        const n = random.pick([16, 48]);
        const c: Case = { n, dConv, tokens, srcIds: [2, -1, -2, -3], dstIds: [2, 0, 1, 3] };
        const rows = drawn(random, 4 * tokens, n);
        const w = random.floats(dConv * n);
        const width = (dConv - 1) * n;
        const states = statesOf(c);
        const { y, cells } = run(c, rows, w);
        c.srcIds.forEach((id, s) => {
          const from = (id >= 0 ? id : CELLS - 2 - id) * width;
          const column = (j: number, ch: number): number => {
            if (j < dConv - 1) return id === -1 ? 0 : states[from + j * n + ch]!;
            const at = (s * tokens + j - dConv + 1) * n + ch;
            return Math.fround(rows.b[at]! * rows.x[at]!);
          };
          for (let ch = 0; ch < n; ch++) {
            for (let t = 0; t < tokens; t++) {
              let sum = 0;
              for (let j = 0; j < dConv; j++) sum += column(t + j, ch) * w[j * n + ch]!;
              const at = (s * tokens + t) * n + ch;
              expect(Math.abs(y[at]! - rows.gate[at]! * sum)).toBeLessThan(1e-6);
            }
            for (let j = 0; j < dConv - 1; j++)
              expect(cells[c.dstIds[s]! * width + j * n + ch]).toBe(column(tokens + j, ch));
          }
        });
      }
    }
  });

  test('gives the same bits token by token, in chunks, and beside others', () => {
    const random = new Random(2);
    const [n, dConv, length] = [32, 3, 7];
    const w = random.floats(dConv * n);
    const rows = drawn(random, length, n);
    const part = ({ b, gate, x }: Rows, from: number, to: number): Rows => {
      const cut = (data: Float32Array) => data.subarray(from * n, to * n);
      return { b: cut(b), gate: cut(gate), x: cut(x) };
    };
    const shape = { n, dConv, dstIds: [0] };
    const whole = run({ ...shape, tokens: length, srcIds: [-1] }, rows, w);
    for (const sizes of [
      [1, 1, 1, 1, 1, 1, 1],
      [2, 5],
      [5, 2],
      [1, 4, 2],
    ]) {
      let states = statesOf({ ...shape, tokens: 1, srcIds: [] });
      let at = 0;
      const y: number[] = [];
      for (const tokens of sizes) {
        const chunk = run(
          { ...shape, tokens, srcIds: [at === 0 ? -1 : 0] },
          part(rows, at, at + tokens),
          w,
          states,
        );
        y.push(...chunk.y);
        states = Float32Array.from([...chunk.cells, ...states.subarray(chunk.cells.length)]);
        at += tokens;
      }
      expect(y).toEqual([...whole.y]);
      expect(states.subarray(0, 2 * n)).toEqual(whole.cells.subarray(0, 2 * n));
    }
    const other = drawn(random, length, n);
    const beside = (a: Float32Array, b: Float32Array) => Float32Array.from([...a, ...b]);
    const both = {
      b: beside(other.b, rows.b),
      gate: beside(other.gate, rows.gate),
      x: beside(other.x, rows.x),
    };
    const pair = run({ n, dConv, tokens: length, srcIds: [1, -1], dstIds: [1, 0] }, both, w);
    expect(pair.y.subarray(length * n)).toEqual(whole.y);
  });
});

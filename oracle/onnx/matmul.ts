/** The oracle's matrix product (`matVec`, row by row) and ONNX Runtime's MatMul, both in float64. */
import { type Matrix, matVec } from '../math.ts';
import type { Comparison, Trial } from './comparison.ts';
import { Draw, joined } from './draw.ts';
import { float64 } from './feeds.ts';
import { type Graph, node } from './graph.ts';

/** y = x W^T: x is {n_rows, n_in} and W {n_out, n_in}, as files hold weights. */
const GRAPH: Graph = {
  nodes: [
    node('Transpose', ['w'], 'w_transposed', { perm: { ints: [1, 0] } }),
    node('MatMul', ['x', 'w_transposed'], 'y'),
  ],
  inputs: { x: 'float64', w: 'float64' },
  outputs: { y: 'float64' },
};

/** {n_in, n_out, n_rows}: the corners first. */
const CORNERS = [
  [1, 1, 1],
  [4096, 1, 3],
  [1, 4096, 2],
  [4096, 33, 5],
  [33, 4096, 1],
  [1023, 257, 4],
  [4095, 7, 2],
] as const;

export const matmul: Comparison = {
  name: 'matVec',
  ort: 'MatMul',
  type: 'float64',
  unit: 'sum of |w x|',
  measured_ulps: 1.75,
  *trials() {
    for (const [n_in, n_out, n_rows] of CORNERS) yield trial(new Draw(n_in + n_out), n_in, n_out, n_rows);
    for (let seed = 0; seed < 70; seed++) {
      const draw = new Draw(seed);
      yield trial(draw, draw.size(512), draw.size(64), draw.size(9));
    }
  },
};

function trial(draw: Draw, n_in: number, n_out: number, n_rows: number): Trial {
  const w: Matrix = { n_in, n_out, data: draw.numbers(n_in * n_out, draw.pick([0.02, 1, 1e100])) };
  const x = draw.rows(n_rows, n_in, draw.pick([1, 1, 1e6]));
  const product = (input: readonly Float64Array[], weights: Matrix) =>
    input.map((row) => matVec(weights, row));
  const absolute = (data: Float64Array) => data.map(Math.abs);
  return {
    shape: { n_in, n_out, n_rows },
    graph: GRAPH,
    feeds: { x: float64(joined(x), n_rows, n_in), w: float64(w.data, n_out, n_in) },
    outputs: ['y'],
    wanted: () => product(x, w),
    magnitude: () => product(x.map(absolute), { ...w, data: absolute(w.data) }),
    wrong: {
      'the last term dropped': () => product(x.map(withoutLast), w),
      'one weight off by 1e-9 of it': () => {
        const data = w.data.slice();
        data[draw.between(0, data.length - 1)]! *= 1 + 1e-9;
        return product(x, { ...w, data });
      },
    },
  };
}

function withoutLast(row: Float64Array): Float64Array {
  const cut = row.slice();
  cut[cut.length - 1] = 0;
  return cut;
}

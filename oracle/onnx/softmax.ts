/**
 * The oracle's softmax and ONNX Runtime's Softmax, both in float64. The largest distance is the oracle's own: it sums in
 * order, and of many nearly equal terms each addition is rounded to the same side (285 terms: 15 ulps from the exact
 * sum, ONNX Runtime 2).
 */
import { softmax as oracleSoftmax } from '../math.ts';
import type { Comparison } from './comparison.ts';
import { Draw, joined } from './draw.ts';
import { float64 } from './feeds.ts';
import { type Graph, node } from './graph.ts';

const GRAPH: Graph = {
  nodes: [node('Softmax', ['x'], 'y', { axis: { int: -1 } })],
  inputs: { x: 'float64' },
  outputs: { y: 'float64' },
};

export const softmax: Comparison = {
  name: 'softmax',
  ort: 'Softmax',
  type: 'float64',
  unit: 'the weight',
  measured_ulps: 14,
  *trials() {
    for (let seed = 0; seed < 80; seed++) {
      const draw = new Draw(seed);
      const n = seed === 0 ? 4096 : draw.size(600);
      const n_rows = draw.size(7);
      // Logits of every day, flat ones, and some that leave all weights but one below the smallest float64.
      const x = draw.rows(n_rows, n, draw.pick([1e-3, 1, 30, 300, 1e5]));
      yield {
        shape: { n, n_rows },
        graph: GRAPH,
        feeds: { x: float64(joined(x), n_rows, n) },
        outputs: ['y'],
        wanted: () => x.map((row) => oracleSoftmax(row)),
        wrong: {
          'the last term of the sum dropped': () => x.map(shortSum),
          'the largest is not taken off': () => x.map(withoutMax),
        },
      };
    }
  },
};

function shortSum(x: Float64Array): Float64Array {
  const max = x.reduce((a, b) => Math.max(a, b));
  const e = x.map((xi) => Math.exp(xi - max));
  const sum = e.subarray(0, -1).reduce((a, b) => a + b, 0);
  return e.map((ei) => ei / sum);
}

/** The same up to an overflow. */
function withoutMax(x: Float64Array): Float64Array {
  const e = x.map(Math.exp);
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((ei) => ei / sum);
}

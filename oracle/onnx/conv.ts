/**
 * The oracle's causal convolution against two operators of ONNX Runtime in float32: Conv with one group a channel over
 * the state and the new columns, and CausalConvWithState, which keeps the state apart and gives the next one.
 */
import type { Matrix } from '../math.ts';
import { ssmConv as oracleConv } from '../ssm.ts';
import type { Comparison, Rows, Trial } from './comparison.ts';
import { Draw, joined, transposed } from './draw.ts';
import { float32 } from './feeds.ts';
import { type Graph, node } from './graph.ts';

const groupGraphs = new Map<number, Graph>();

/** x {1, n_channel, n_tokens + d_conv - 1}, w {n_channel, 1, d_conv}, y {1, n_channel, n_tokens}. */
function groupGraph(n_channel: number): Graph {
  let graph = groupGraphs.get(n_channel);
  if (!graph) {
    graph = {
      nodes: [node('Conv', ['x', 'w'], 'y', { group: { int: n_channel } })],
      inputs: { x: 'float32', w: 'float32' },
      outputs: { y: 'float32' },
    };
    groupGraphs.set(n_channel, graph);
  }
  return graph;
}

/** x, y {1, n_channel, n_tokens}; state and next {1, n_channel, d_conv - 1}; no bias, no activation. */
const WITH_STATE: Graph = {
  nodes: [
    {
      op: 'CausalConvWithState',
      inputs: ['x', 'w', '', 'state'],
      outputs: ['y', 'next'],
      attributes: { ndim: { int: 1 } },
      microsoft: true,
    },
  ],
  inputs: { x: 'float32', w: 'float32', state: 'float32' },
  outputs: { y: 'float32', next: 'float32' },
};

interface ConvInput {
  n_tokens: number;
  d_conv: number;
  /** State first: d_conv - 1 + n_tokens columns of n_channel numbers. */
  columns: Rows;
  w: Matrix;
}

function* inputs(least_d_conv: number): Generator<ConvInput> {
  for (let seed = 0; seed < 70; seed++) {
    const draw = new Draw(seed);
    const d_conv = draw.between(least_d_conv, 6);
    const n_channel = draw.size(80);
    const n_tokens = draw.size(50);
    const scale = draw.pick([1, 1e-4, 1e6]);
    yield {
      n_tokens,
      d_conv,
      columns: Array.from({ length: d_conv - 1 + n_tokens }, () => draw.floats(n_channel, scale)),
      w: { n_in: d_conv, n_out: n_channel, data: draw.floats(d_conv * n_channel) },
    };
  }
}

/** Channel by channel, as ONNX lays it out. */
const answer = (columns: Rows, w: Matrix): Rows => transposed(oracleConv(columns, w));

function terms(columns: Rows, w: Matrix): Rows {
  const absolute = (x: Float64Array) => x.map(Math.abs);
  return answer(columns.map(absolute), { ...w, data: absolute(w.data) });
}

function wrongAnswers(columns: Rows, w: Matrix): Trial['wrong'] {
  const d_conv = w.n_in;
  const tap = (of: (k: number) => number) =>
    w.data.map((_, at) => w.data[at - (at % d_conv) + of(at % d_conv)] ?? 0);
  return {
    'taps in the other order': () => answer(columns, { ...w, data: tap((k) => d_conv - 1 - k) }),
    'the oldest tap dropped': () =>
      answer(columns, { ...w, data: w.data.map((x, at) => (at % d_conv ? x : 0)) }),
    'a column late': () => answer([columns[0]!, ...columns.slice(0, -1)], w),
  };
}

export const ssmConv: Comparison = {
  name: 'ssmConv',
  ort: 'Conv, one group a channel',
  type: 'float32',
  unit: 'sum of |w x|',
  measured_ulps: 1.86,
  *trials() {
    for (const { n_tokens, d_conv, columns, w } of inputs(1)) {
      yield {
        shape: { n_tokens, d_conv, n_channel: w.n_out },
        graph: groupGraph(w.n_out),
        feeds: {
          x: float32(joined(transposed(columns)), 1, w.n_out, columns.length),
          w: float32(w.data, w.n_out, 1, d_conv),
        },
        outputs: ['y'],
        wanted: () => answer(columns, w),
        magnitude: () => terms(columns, w),
        wrong: wrongAnswers(columns, w),
      };
    }
  },
};

export const ssmConvWithState: Comparison = {
  ...ssmConv,
  ort: 'CausalConvWithState',
  measured_ulps: 2.14,
  *trials() {
    for (const { n_tokens, d_conv, columns, w } of inputs(2)) {
      const next = transposed(columns.slice(n_tokens));
      const wrong = Object.entries(wrongAnswers(columns, w));
      yield {
        shape: { n_tokens, d_conv, n_channel: w.n_out },
        graph: WITH_STATE,
        feeds: {
          x: float32(joined(transposed(columns.slice(d_conv - 1))), 1, w.n_out, n_tokens),
          w: float32(w.data, w.n_out, 1, d_conv),
          state: float32(joined(transposed(columns.slice(0, d_conv - 1))), 1, w.n_out, d_conv - 1),
        },
        outputs: ['y', 'next'],
        wanted: () => [...answer(columns, w), ...next],
        magnitude: () => [...terms(columns, w), ...next],
        wrong: {
          ...Object.fromEntries(wrong.map(([name, rows]) => [name, () => [...rows(), ...next]])),
          'the state not carried': () => {
            const empty = columns.map((x, t) => (t < d_conv - 1 ? x.map(() => 0) : x));
            return [...answer(empty, w), ...next];
          },
        },
      };
    }
  },
};

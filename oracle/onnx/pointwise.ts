/**
 * SiLU, softplus, GELU and softcap of the oracle and the same composed from ONNX Runtime's float64 operators. It has no Softplus in
 * float64; ln(1 + u) is taken as ln(v) u / (v - 1) with v = 1 + u rounded, which keeps its digits for small u.
 */
import { gelu as oracleGelu } from '../gelu.ts';
import { silu as oracleSilu, softplus as oracleSoftplus } from '../math.ts';
import { type PointwiseName, pointwise } from '../pointwise.ts';
import { softcapRow } from '../softcap.ts';
import type { Comparison } from './comparison.ts';
import { Draw } from './draw.ts';
import { float64 } from './feeds.ts';
import { type Graph, type Node, node } from './graph.ts';

const SILU: Graph = {
  nodes: [
    node('Neg', ['x'], 'minus_x'),
    node('Exp', ['minus_x'], 'e'),
    node('Add', ['one', 'e'], 'divisor'),
    node('Div', ['x', 'divisor'], 'y'),
  ],
  inputs: { x: 'float64' },
  outputs: { y: 'float64' },
  constants: { one: { type: 'float64', value: 1 } },
};

const SIGMOID: Graph = {
  nodes: [node('Sigmoid', ['x'], 'sigmoid'), node('Mul', ['x', 'sigmoid'], 'y')],
  inputs: { x: 'float64' },
  outputs: { y: 'float64' },
};

export const SOFTPLUS_CONSTANTS: NonNullable<Graph['constants']> = {
  one: { type: 'float64', value: 1 },
  threshold: { type: 'float64', value: 20 },
};

/** softplus(x), x itself above the threshold. The graph needs `SOFTPLUS_CONSTANTS`. */
export function softplusNodes(x: string, y: string): Node[] {
  return [
    node('Greater', [x, 'threshold'], 'is_above'),
    // e^x of a large x, which is not used, must not become infinite.
    node('Min', [x, 'threshold'], 'cut'),
    node('Exp', ['cut'], 'u'),
    node('Add', ['one', 'u'], 'v'),
    node('Sub', ['v', 'one'], 'v_less_1'),
    node('Equal', ['v', 'one'], 'is_one'),
    node('Where', ['is_one', 'one', 'v_less_1'], 'divisor'),
    node('Log', ['v'], 'log_v'),
    node('Div', ['log_v', 'divisor'], 'quotient'),
    node('Mul', ['quotient', 'u'], 'product'),
    node('Where', ['is_one', 'u', 'product'], 'log1p'),
    node('Where', ['is_above', x, 'log1p'], y),
  ];
}

const SOFTPLUS: Graph = {
  nodes: softplusNodes('x', 'y'),
  inputs: { x: 'float64' },
  outputs: { y: 'float64' },
  constants: SOFTPLUS_CONSTANTS,
};

/** Numbers from tiny to large, and the places where a formula bends. */
function* inputs(): Generator<Float64Array> {
  yield Float64Array.from([0, -0, 1e-300, -1e-300, 20, 20 + 2 ** -48, 20 - 2 ** -48, -20, 36, 37, 700, -700]);
  for (let seed = 0; seed < 100; seed++) {
    const draw = new Draw(seed);
    yield draw.numbers(draw.size(2000), draw.pick([1e-9, 1, 5, 25, 100, 700]));
  }
}

type Pointwise = Pick<Comparison, 'name' | 'ort' | 'unit' | 'measured_ulps'> & {
  graph: Graph;
  of: (x: number) => number;
  /** What one ulp is taken of, if it is not the result. */
  size?: (x: number) => number;
  wrong: Record<string, (x: number) => number>;
};

function comparison({ graph, of, size, wrong, ...stated }: Pointwise): Comparison {
  return {
    ...stated,
    type: 'float64',
    *trials() {
      for (const x of inputs()) {
        yield {
          shape: { n: x.length },
          graph,
          feeds: { x: float64(x, x.length) },
          outputs: ['y'],
          wanted: () => [x.map(of)],
          magnitude: () => [x.map(size ?? of)],
          wrong: Object.fromEntries(Object.entries(wrong).map(([error, f]) => [error, () => [x.map(f)]])),
        };
      }
    },
  };
}

const WRONG_SILU = {
  'the sign of the exponent': (x: number) => x / (1 + Math.exp(x)),
  'tanh for the sigmoid': (x: number) => x * Math.tanh(x),
  'sigmoid of 1.702 x': (x: number) => x / (1 + Math.exp(-1.702 * x)),
};

export const silu = comparison({
  name: 'silu',
  ort: 'Exp, Add, Div',
  unit: 'the result',
  measured_ulps: 2,
  graph: SILU,
  of: oracleSilu,
  wrong: WRONG_SILU,
});

/** ONNX Runtime's Sigmoid is right to the last digits of 1 only: it is 0 from -37 on. */
export const siluBySigmoid = comparison({
  name: 'silu',
  ort: 'Sigmoid, Mul',
  unit: '|x|',
  measured_ulps: 2,
  graph: SIGMOID,
  of: oracleSilu,
  size: Math.abs,
  wrong: WRONG_SILU,
});

export const softplus = comparison({
  name: 'softplus',
  ort: 'Exp, Log, Add, Sub, Mul, Div, Where',
  unit: 'the result',
  measured_ulps: 3,
  graph: SOFTPLUS,
  of: oracleSoftplus,
  wrong: {
    'threshold 15': (x) => (x > 15 ? x : Math.log1p(Math.exp(x))),
    'ln(1 + e^x) rounded at 1': (x) => (x > 20 ? x : Math.log(1 + Math.exp(x))),
  },
});

const GELU: Graph = {
  nodes: [
    node('Mul', ['x', 'x'], 'xx'),
    node('Mul', ['xx', 'a'], 'axx'),
    node('Add', ['axx', 'one'], 'factor'),
    node('Mul', ['x', 'k'], 'kx'),
    node('Mul', ['kx', 'factor'], 'inner'),
    node('Tanh', ['inner'], 'tangent'),
    node('Add', ['tangent', 'one'], 'twice'),
    node('Mul', ['twice', 'half'], 'share'),
    node('Mul', ['x', 'share'], 'y'),
  ],
  inputs: { x: 'float64' },
  outputs: { y: 'float64' },
  constants: {
    one: { type: 'float64', value: 1 },
    half: { type: 'float64', value: 0.5 },
    a: { type: 'float64', value: 0.044715 },
    k: { type: 'float64', value: Math.sqrt(2 / Math.PI) },
  },
};

/** The form by the tangent loses what cancels where x is negative. */
export const gelu = comparison({
  name: 'gelu',
  ort: 'Tanh, Mul, Add',
  unit: '|x|',
  measured_ulps: 2,
  graph: GELU,
  of: oracleGelu,
  size: Math.abs,
  wrong: {
    'the form by erf, nearly': (x) => x / (1 + Math.exp(-1.702 * x)),
    'a = 0.0447': (x) => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * x * (1 + 0.0447 * x * x))),
    'the tangent of half of it': (x) =>
      x / (1 + Math.exp(-Math.sqrt(2 / Math.PI) * x * (1 + 0.044715 * x * x))),
  },
});

const CAP = 30;

const SOFTCAP: Graph = {
  nodes: [
    node('Div', ['x', 'cap'], 'part'),
    node('Tanh', ['part'], 'tangent'),
    node('Mul', ['cap', 'tangent'], 'y'),
  ],
  inputs: { x: 'float64' },
  outputs: { y: 'float64' },
  constants: { cap: { type: 'float64', value: CAP } },
};

export const softcap = comparison({
  name: 'softcap',
  ort: 'Div, Tanh, Mul',
  unit: 'the result',
  measured_ulps: 3,
  graph: SOFTCAP,
  of: (x) => softcapRow(Float64Array.of(x), CAP)[0]!,
  wrong: {
    'not multiplied back': (x) => Math.tanh(x / CAP),
    'cut off instead': (x) => Math.max(-CAP, Math.min(CAP, x)),
    'a cap one larger': (x) => (CAP + 1) * Math.tanh(x / (CAP + 1)),
  },
});

/** The oracle's function of one number. */
const oracleOf = (name: PointwiseName) => (x: number) => pointwise(name, Float64Array.of(x))[0]!;

export const tanh = comparison({
  name: 'tanh',
  ort: 'Tanh',
  unit: 'the result',
  measured_ulps: 7,
  graph: { nodes: [node('Tanh', ['x'], 'y')], inputs: { x: 'float64' }, outputs: { y: 'float64' } },
  of: oracleOf('tanh'),
  wrong: {
    'of half of x': (x) => Math.tanh(x / 2),
    'the sigmoid': (x) => 1 / (1 + Math.exp(-x)),
  },
});

export const sigmoid = comparison({
  name: 'sigmoid',
  ort: 'Neg, Exp, Add, Div',
  unit: 'the result',
  measured_ulps: 2,
  graph: {
    ...SILU,
    nodes: SILU.nodes.map((n) => (n.op === 'Div' ? { ...n, inputs: ['one', 'divisor'] } : n)),
  },
  of: oracleOf('sigmoid'),
  wrong: {
    'the sign of the exponent': (x) => 1 / (1 + Math.exp(x)),
    'without the one': (x) => Math.exp(x),
  },
});

/**
 * The oracle's selective scan and the same recurrence as one Scan of ONNX Runtime over all tokens, both in float64. The
 * body has softplus composed (see pointwise.ts), the decay, the input and the output of one token.
 */
import type { Matrix } from '../math.ts';
import { ssmScan as oracleScan, type ScanInput, type ScanResult } from '../ssm.ts';
import type { Comparison, Rows } from './comparison.ts';
import { Draw, joined } from './draw.ts';
import { float64 } from './feeds.ts';
import { type Graph, node } from './graph.ts';
import { SOFTPLUS_CONSTANTS, softplusNodes } from './pointwise.ts';

/** One token: state, a {d_inner, d_state}; dt, x {d_inner, 1}; b {1, d_state}; c {d_state, 1}. */
const BODY: Graph = {
  nodes: [
    ...softplusNodes('dt', 'delta'),
    node('Mul', ['delta', 'a'], 'exponent'),
    node('Exp', ['exponent'], 'decay'),
    node('Mul', ['before', 'decay'], 'kept'),
    node('Mul', ['x', 'delta'], 'x_delta'),
    node('Mul', ['b', 'x_delta'], 'added'),
    node('Add', ['kept', 'added'], 'after'),
    node('MatMul', ['after', 'c'], 'y_token'),
  ],
  inputs: { before: 'float64', x: 'float64', dt: 'float64', b: 'float64', c: 'float64' },
  outputs: { after: 'float64', y_token: 'float64' },
  ranks: { after: 2, y_token: 2 },
};

const GRAPH: Graph = {
  nodes: [
    {
      op: 'Scan',
      inputs: ['state', 'xs', 'dts', 'bs', 'cs'],
      outputs: ['last', 'y'],
      attributes: { body: { graph: BODY }, num_scan_inputs: { int: 4 } },
    },
  ],
  inputs: { state: 'float64', a: 'float64', xs: 'float64', dts: 'float64', bs: 'float64', cs: 'float64' },
  outputs: { last: 'float64', y: 'float64' },
  constants: SOFTPLUS_CONSTANTS,
};

const rows = ({ state, y }: ScanResult): Rows => [state, ...y];

export const ssmScan: Comparison = {
  name: 'ssmScan',
  ort: 'Scan of Mul, Exp, Add, MatMul and softplus',
  type: 'float64',
  unit: 'the same recurrence of |x|, |B|, |C| and |state|',
  measured_ulps: 16,
  *trials() {
    for (let seed = 0; seed < 70; seed++) {
      const draw = new Draw(seed);
      const d_state = draw.size(16);
      const d_inner = draw.size(48);
      const n_tokens = seed === 0 ? 300 : draw.size(40);
      const scale = draw.pick([1, 1, 1e3, 1e-3]);
      const state = draw.numbers(d_state * d_inner, draw.pick([0, 1, 1e3]));
      // Decays from slow to none left after a token.
      const A: Matrix = {
        n_in: d_state,
        n_out: d_inner,
        data: draw.numbers(d_state * d_inner, draw.pick([0.1, 1, 16])).map((x) => -Math.abs(x)),
      };
      const tokens: ScanInput[] = Array.from({ length: n_tokens }, () => ({
        x: draw.numbers(d_inner, scale),
        // On both sides of softplus' threshold.
        dt: draw.numbers(d_inner, draw.pick([4, 30])),
        B: draw.numbers(d_state),
        C: draw.numbers(d_state),
      }));
      const all = (key: keyof ScanInput) => joined(tokens.map((token) => token[key]));
      const absolute = (x: Float64Array) => x.map(Math.abs);
      yield {
        shape: { d_state, d_inner, n_tokens },
        graph: GRAPH,
        feeds: {
          state: float64(state, d_inner, d_state),
          a: float64(A.data, d_inner, d_state),
          xs: float64(all('x'), n_tokens, d_inner, 1),
          dts: float64(all('dt'), n_tokens, d_inner, 1),
          bs: float64(all('B'), n_tokens, 1, d_state),
          cs: float64(all('C'), n_tokens, d_state, 1),
        },
        outputs: ['last', 'y'],
        wanted: () => rows(oracleScan(state, A, tokens)),
        magnitude: () => {
          const terms = tokens.map(({ x, dt, B, C }) => ({
            x: absolute(x),
            dt,
            B: absolute(B),
            C: absolute(C),
          }));
          return rows(oracleScan(absolute(state), A, terms));
        },
        wrong: {
          'a decay of the wrong sign': () =>
            rows(oracleScan(state, { ...A, data: A.data.map((x) => -x) }, tokens)),
          'the decay off by 1e-9 of it': () =>
            rows(oracleScan(state, { ...A, data: A.data.map((x) => x * (1 + 1e-9)) }, tokens)),
          'the first token dropped from the state': () =>
            rows(oracleScan(state, A, [{ ...tokens[0]!, x: new Float64Array(d_inner) }, ...tokens.slice(1)])),
          'B for C': () =>
            rows(
              oracleScan(
                state,
                A,
                tokens.map((token) => ({ ...token, C: token.B })),
              ),
            ),
        },
      };
    }
  },
};

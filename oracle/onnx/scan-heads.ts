/**
 * The oracle's scan of Mamba-2 and the same recurrence as one Scan of ONNX Runtime over all tokens, both in float64.
 * There a state has the axes group, head of the group, channel, state: which head takes which B and C is said by
 * broadcasting alone, not by arithmetic on numbers of heads.
 */
import { type HeadScanInput, ssmScanHeads as oracleScan } from '../ssm-heads.ts';
import type { Comparison, Rows } from './comparison.ts';
import { Draw, joined } from './draw.ts';
import { float64 } from './feeds.ts';
import { type Graph, node } from './graph.ts';
import { SOFTPLUS_CONSTANTS, softplusNodes } from './pointwise.ts';

/** One token: state {G, H, P, N}; dt, a {G, H, 1, 1}; x {G, H, P, 1}; b {G, 1, 1, N}; c {G, 1, N, 1}. */
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
  ranks: { after: 4, y_token: 4 },
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

/** Rows of n_group parts as rows with a part for each of n_head heads, by any rule. */
function perHead(
  row: Float64Array,
  n_group: number,
  n_head: number,
  groupOf: (h: number) => number,
): Float64Array {
  const n = row.length / n_group;
  return joined(Array.from({ length: n_head }, (_, h) => row.slice(groupOf(h) * n, (groupOf(h) + 1) * n)));
}

export const ssmScanHeads: Comparison = {
  name: 'ssmScanHeads',
  ort: 'Scan of Mul, Exp, Add, MatMul and softplus, groups by broadcasting',
  type: 'float64',
  unit: 'the same recurrence of |x|, |B|, |C| and |state|',
  measured_ulps: 8,
  *trials() {
    for (let seed = 0; seed < 70; seed++) {
      const draw = new Draw(seed);
      const n_group = draw.pick([1, 2, 3, 8]);
      const per_group = draw.size(4);
      const d_head = draw.size(8);
      const d_state = draw.size(32);
      const n_tokens = seed === 0 ? 200 : draw.size(30);
      const n_head = n_group * per_group;
      const d_inner = n_head * d_head;
      const scale = draw.pick([1, 1, 1e3, 1e-3]);
      const state = draw.numbers(d_state * d_inner, draw.pick([0, 1, 1e3]));
      // Decays from slow to none left after a token.
      const A = draw.numbers(n_head, draw.pick([0.1, 1, 16])).map((x) => -Math.abs(x));
      const tokens: HeadScanInput[] = Array.from({ length: n_tokens }, () => ({
        x: draw.numbers(d_inner, scale),
        // On both sides of softplus' threshold.
        dt: draw.numbers(n_head, draw.pick([4, 30])),
        B: draw.numbers(d_state * n_group),
        C: draw.numbers(d_state * n_group),
      }));
      const all = (key: keyof HeadScanInput) => joined(tokens.map((token) => token[key]));
      const absolute = (x: Float64Array) => x.map(Math.abs);
      const rows = (
        from: Float64Array,
        a: Float64Array,
        list: readonly HeadScanInput[],
        groups = n_group,
      ) => {
        const scan = oracleScan(from, a, list, groups);
        return [scan.state, ...scan.y] satisfies Rows;
      };
      yield {
        shape: { n_group, per_group, d_head, d_state, n_tokens },
        graph: GRAPH,
        feeds: {
          state: float64(state, n_group, per_group, d_head, d_state),
          a: float64(A, n_group, per_group, 1, 1),
          xs: float64(all('x'), n_tokens, n_group, per_group, d_head, 1),
          dts: float64(all('dt'), n_tokens, n_group, per_group, 1, 1),
          bs: float64(all('B'), n_tokens, n_group, 1, 1, d_state),
          cs: float64(all('C'), n_tokens, n_group, 1, d_state, 1),
        },
        outputs: ['last', 'y'],
        wanted: () => rows(state, A, tokens),
        magnitude: () =>
          rows(
            absolute(state),
            A,
            tokens.map(({ x, dt, B, C }) => ({ x: absolute(x), dt, B: absolute(B), C: absolute(C) })),
          ),
        wrong: {
          'heads take the groups in turn': () => {
            const inTurn = (row: Float64Array) => perHead(row, n_group, n_head, (h) => h % n_group);
            const list = tokens.map((token) => ({ ...token, B: inTurn(token.B), C: inTurn(token.C) }));
            return rows(state, A, list, n_head);
          },
          'the decay off by 1e-9 of it': () =>
            rows(
              state,
              A.map((x) => x * (1 + 1e-9)),
              tokens,
            ),
          'the first token dropped from the state': () =>
            rows(state, A, [{ ...tokens[0]!, x: new Float64Array(d_inner) }, ...tokens.slice(1)]),
          'B for C': () =>
            rows(
              state,
              A,
              tokens.map((token) => ({ ...token, C: token.B })),
            ),
        },
      };
    }
  },
};

/**
 * The oracle's recurrences of RWKV-6 and RWKV-7 and the same as one Scan of ONNX Runtime over all tokens, whose body is
 * made of matrix products; and rows of length 1. All in float64, one head.
 */
import { unitParts as oracleUnitParts } from '../layer-norm.ts';
import {
  wkv6 as oracleWkv6,
  wkv7 as oracleWkv7,
  type Wkv6Input,
  type Wkv7Input,
  type WkvResult,
} from '../wkv.ts';
import type { Comparison, Rows } from './comparison.ts';
import { Draw, joined } from './draw.ts';
import { float64 } from './feeds.ts';
import { type Graph, type Node, node } from './graph.ts';

type Token = Wkv7Input<Float64Array>;
type Names = readonly (keyof Token)[];

/** A Scan whose body gets a matrix `before` {n, n} and the rows and columns of a token, and gives `after` and `y_token`. */
function scan(nodes: readonly Node[], scanned: readonly string[], others: readonly string[] = []): Graph {
  const typed = (names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, 'float64' as const]));
  const body: Graph = {
    nodes: [...nodes],
    inputs: typed(['before', ...scanned]),
    outputs: typed(['after', 'y_token']),
    ranks: { after: 2, y_token: 2 },
  };
  const lists = scanned.map((name) => `${name}_all`);
  return {
    nodes: [
      {
        op: 'Scan',
        inputs: ['state', ...lists],
        outputs: ['last', 'y'],
        attributes: { body: { graph: body }, num_scan_inputs: { int: lists.length } },
      },
    ],
    inputs: typed(['state', ...others, ...lists]),
    outputs: typed(['last', 'y']),
  };
}

/** before and after {keys, values}; r, v rows; k, w columns. */
const SIX = scan(
  [
    node('MatMul', ['k', 'v'], 'kv'),
    node('Mul', ['u', 'kv'], 'bonus'),
    node('Add', ['before', 'bonus'], 'seen'),
    node('MatMul', ['r', 'seen'], 'y_token'),
    node('Mul', ['before', 'w'], 'kept'),
    node('Add', ['kept', 'kv'], 'after'),
  ],
  ['r', 'k', 'v', 'w'],
  ['u'],
);

/** before and after {values, keys}; k, w, b rows; r, v, kappa columns. */
const SEVEN = scan(
  [
    node('MatMul', ['before', 'kappa'], 'found'),
    node('Transpose', ['kappa'], 'kappa_row'),
    node('Mul', ['kappa_row', 'iclr'], 'b'),
    node('MatMul', ['found', 'b'], 'removed'),
    node('MatMul', ['v', 'k'], 'vk'),
    node('Mul', ['before', 'w'], 'kept'),
    node('Sub', ['vk', 'removed'], 'change'),
    node('Add', ['kept', 'change'], 'after'),
    node('MatMul', ['after', 'r'], 'y_token'),
  ],
  ['r', 'w', 'k', 'v', 'kappa', 'iclr'],
);

/** Token by token: the last state, then every y. */
function run(
  state: Float64Array,
  tokens: readonly Token[],
  step: (s: Float64Array, t: Token) => WkvResult<Float64Array>,
): Rows {
  const y: Float64Array[] = [];
  let now = state;
  for (const token of tokens) {
    const result = step(now, token);
    y.push(result.y);
    now = result.state;
  }
  return [now, ...y];
}

interface Drawn {
  readonly n: number;
  readonly state: Float64Array;
  readonly tokens: readonly Token[];
  readonly u: Float64Array;
}

function* drawn(): Generator<Drawn> {
  for (let seed = 0; seed < 70; seed++) {
    const draw = new Draw(seed);
    const n = draw.size(32);
    const n_tokens = seed === 0 ? 200 : draw.size(30);
    const share = (size = 1) => draw.numbers(n, size).map(Math.abs);
    const tokens = Array.from({ length: n_tokens }, () => ({
      r: draw.numbers(n),
      w: share(),
      k: draw.numbers(n, draw.pick([1, 1, 100])),
      v: draw.numbers(n),
      kappa: draw.numbers(n, 1 / Math.sqrt(n)),
      iclr: share(),
    }));
    yield { n, state: draw.numbers(n * n, draw.pick([0, 1, 100])), tokens, u: draw.numbers(n) };
  }
}

/** The lists of a token's rows {1, n} and columns {n, 1}. */
function feedsOf({ n, state, tokens }: Drawn, rows: Names, columns: Names) {
  const list = (name: keyof Token) => joined(tokens.map((token) => token[name]));
  return {
    state: float64(state, n, n),
    ...Object.fromEntries(rows.map((name) => [`${name}_all`, float64(list(name), tokens.length, 1, n)])),
    ...Object.fromEntries(columns.map((name) => [`${name}_all`, float64(list(name), tokens.length, n, 1)])),
  };
}

const sizes = (x: Float64Array) => x.map(Math.abs);

/** Every term positive: what one ulp is taken of. */
function grown({ state, tokens, u }: Drawn): Pick<Drawn, 'state' | 'tokens' | 'u'> {
  const all = tokens.map(({ r, w, k, v, kappa, iclr }) => ({
    r: sizes(r),
    w,
    k: sizes(k),
    v: sizes(v),
    // -kappa and kappa iclr are then positive.
    kappa: sizes(kappa).map((x) => -x),
    iclr: iclr.map((x) => -x),
  }));
  return { state: sizes(state), tokens: all, u: sizes(u) };
}

/** Tokens with one of their rows changed. */
function changed(tokens: readonly Token[], change: (token: Token) => Partial<Token>): Token[] {
  return tokens.map((token) => ({ ...token, ...change(token) }));
}

export const wkv6: Comparison = {
  name: 'wkv6',
  ort: 'Scan of MatMul, Mul, Add',
  type: 'float64',
  unit: 'the same recurrence of absolute values',
  measured_ulps: 2,
  *trials() {
    for (const d of drawn()) {
      const { n, state, tokens, u } = d;
      const step = (bonus: Float64Array) => (s: Float64Array, t: Wkv6Input<Float64Array>) =>
        oracleWkv6(s, t, bonus, 1);
      const positive = grown(d);
      yield {
        shape: { n, n_tokens: tokens.length },
        graph: SIX,
        feeds: { ...feedsOf(d, ['r', 'v'], ['k', 'w']), u: float64(u, n, 1) },
        outputs: ['last', 'y'],
        wanted: () => run(state, tokens, step(u)),
        magnitude: () => run(positive.state, positive.tokens, step(positive.u)),
        wrong: {
          'no bonus': () => run(state, tokens, step(new Float64Array(n))),
          'keys for decays': () =>
            run(
              state,
              changed(tokens, ({ k }) => ({ w: k })),
              step(u),
            ),
          'the state turned': () =>
            run(
              state,
              changed(tokens, ({ k, v }) => ({ k: v, v: k })),
              step(u),
            ),
        },
      };
    }
  },
};

export const wkv7: Comparison = {
  name: 'wkv7',
  ort: 'Scan of MatMul, Mul, Add, Sub, Transpose',
  type: 'float64',
  unit: 'the same recurrence of absolute values',
  measured_ulps: 4,
  *trials() {
    for (const d of drawn()) {
      const { n, state, tokens } = d;
      const step = (s: Float64Array, t: Token) => oracleWkv7(s, t, 1);
      const positive = grown(d);
      yield {
        shape: { n, n_tokens: tokens.length },
        graph: SEVEN,
        feeds: feedsOf(d, ['w', 'k', 'iclr'], ['r', 'v', 'kappa']),
        outputs: ['last', 'y'],
        wanted: () => run(state, tokens, step),
        magnitude: () => run(positive.state, positive.tokens, step),
        wrong: {
          'nothing removed': () =>
            run(
              state,
              changed(tokens, () => ({ iclr: new Float64Array(n) })),
              step,
            ),
          'keys for values': () =>
            run(
              state,
              changed(tokens, ({ k, v }) => ({ k: v, v: k })),
              step,
            ),
          'the removal with the wrong sign': () =>
            run(
              state,
              changed(tokens, ({ iclr }) => ({ iclr: iclr.map((x) => -x) })),
              step,
            ),
        },
      };
    }
  },
};

const UNIT: Graph = {
  nodes: [node('LpNormalization', ['x'], 'y', { axis: { int: -1 }, p: { int: 2 } })],
  inputs: { x: 'float64' },
  outputs: { y: 'float64' },
};

/** Rows that are not shorter than eps. */
export const unitParts: Comparison = {
  name: 'unitParts',
  ort: 'LpNormalization',
  type: 'float64',
  unit: 'the result',
  measured_ulps: 1,
  *trials() {
    for (let seed = 0; seed < 80; seed++) {
      const draw = new Draw(seed);
      const [n_part, n] = [draw.size(5), draw.size(300)];
      const x = draw.numbers(n_part * n, draw.pick([1e-3, 1, 1e6]));
      yield {
        shape: { n_part, n },
        graph: UNIT,
        feeds: { x: float64(x, n_part, n) },
        outputs: ['y'],
        wanted: () => [oracleUnitParts(x, n_part, 1e-12)],
        wrong: {
          'one length for all parts': () => [oracleUnitParts(x, 1, 1e-12)],
          'the mean of squares': () => [oracleUnitParts(x, n_part, 1e-12).map((y) => y * Math.sqrt(n))],
          'eps added to the length': () => [oracleUnitParts(x, n_part, 1e-12).map((y) => y * (1 - 1e-12))],
        },
      };
    }
  },
};

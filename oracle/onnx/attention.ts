/**
 * The oracle's attention, one query at a time over the keys that it sees: in float64 against MatMul and Softmax with a
 * mask (ONNX Runtime's own Attention computes some step of float64 in float32), and in float32 against its Attention.
 * There each group of heads that share K and V is a dimension of its own, not an index that is divided.
 */
import { type AttentionShape, attend as oracleAttend } from '../attention.ts';
import { softmax } from '../math.ts';
import type { Comparison, Rows, Trial } from './comparison.ts';
import { byHead, Draw, joined } from './draw.ts';
import { bool, float32, float64 } from './feeds.ts';
import { type Graph, node } from './graph.ts';

/** q, y {n_head_kv, n_group, n_query, d}; k, v {n_head_kv, 1, n_key, d}; mask {n_query, n_key}: 0 or -infinity. */
const COMPOSED: Graph = {
  nodes: [
    node('Transpose', ['k'], 'k_transposed', { perm: { ints: [0, 1, 3, 2] } }),
    node('MatMul', ['q', 'k_transposed'], 'dots'),
    node('Sqrt', ['d'], 'root'),
    node('Div', ['dots', 'root'], 'scores'),
    node('Add', ['scores', 'mask'], 'masked'),
    node('Softmax', ['masked'], 'weights', { axis: { int: -1 } }),
    node('MatMul', ['weights', 'v'], 'y'),
  ],
  inputs: { q: 'float64', k: 'float64', v: 'float64', d: 'float64', mask: 'float64' },
  outputs: { y: 'float64' },
};

/** q, y {1, n_head, n_query, d}; k, v {1, n_head_kv, n_key, d}; mask {n_query, n_key}: true where seen. */
const MASKED: Graph = {
  nodes: [node('Attention', ['q', 'k', 'v', 'mask'], 'y')],
  inputs: { q: 'float32', k: 'float32', v: 'float32', mask: 'bool' },
  outputs: { y: 'float32' },
};

/** Query t sees keys 0 .. t; as many keys as queries. */
const CAUSAL: Graph = {
  nodes: [node('Attention', ['q', 'k', 'v'], 'y', { is_causal: { int: 1 } })],
  inputs: { q: 'float32', k: 'float32', v: 'float32' },
  outputs: { y: 'float32' },
};

interface AttentionInput {
  shape: Omit<AttentionShape, 'half' | 'alibi'>;
  q: Rows;
  k: Rows;
  v: Rows;
  /** sees[t][j]: query t sees key j. */
  sees: boolean[][];
  /** The queries are the last keys and see all up to themselves. */
  causal: boolean;
}

function* inputs(numbers: (draw: Draw, n: number, scale: number) => Float64Array): Generator<AttentionInput> {
  for (let seed = 0; seed < 72; seed++) {
    const draw = new Draw(seed);
    const n_head_kv = draw.pick([1, 1, 2, 3, 4]);
    const n_head = n_head_kv * draw.pick([1, 2, 3, 4]);
    const n_embd_head = draw.pick([1, 2, 3, 8, 16, 64, 65, 128]);
    const n_query = draw.size(9);
    const causal = seed % 2 === 0;
    // Every fourth trial is a whole prompt, with no keys before the first query.
    const n_key = n_query + (seed % 4 === 0 ? 0 : draw.size(90) - 1);
    const some = (n_rows: number, n: number, scale: number) =>
      Array.from({ length: n_rows }, () => numbers(draw, n, scale));
    const sees = Array.from({ length: n_query }, (_, t) => {
      const self = n_key - n_query + t;
      return Array.from({ length: n_key }, (_, j) =>
        causal ? j <= self : j === self || draw.between(0, 1) === 0,
      );
    });
    yield {
      shape: { n_head, n_head_kv, n_embd_head },
      q: some(n_query, n_head * n_embd_head, draw.pick([0.1, 1, 1, 4])),
      k: some(n_key, n_head_kv * n_embd_head, 1),
      v: some(n_key, n_head_kv * n_embd_head, draw.pick([1, 1e4])),
      sees,
      causal,
    };
  }
}

type Attend = typeof oracleAttend;

/** The answers of all queries, head by head. */
function answers({ shape, q, k, v, sees }: AttentionInput, attend: Attend = oracleAttend): Rows {
  const seen = (rows: Rows, t: number) => rows.filter((_, j) => sees[t]![j]);
  return byHead(
    q.map((row, t) => attend(row, seen(k, t), seen(v, t), shape)),
    shape.n_embd_head,
  );
}

/** Per element: sum of weight |v|, times the sum of |q k|/sqrt(d) of the largest score if that is above 1. */
const terms: Attend = (q, k, v, { n_head, n_head_kv, n_embd_head: d }) => {
  const out = new Float64Array(n_head * d);
  for (let head = 0; head < n_head; head++) {
    const at = Math.floor(head / (n_head / n_head_kv)) * d;
    const products = (row: Float64Array) =>
      Array.from({ length: d }, (_, i) => (q[head * d + i]! * row[at + i]!) / Math.sqrt(d));
    const weight = softmax(Float64Array.from(k, (row) => products(row).reduce((a, b) => a + b)));
    const size = Math.max(1, ...k.map((row) => products(row).reduce((a, b) => a + Math.abs(b), 0)));
    for (let i = 0; i < d; i++) {
      out[head * d + i] = size * v.reduce((sum, row, j) => sum + weight[j]! * Math.abs(row[at + i]!), 0);
    }
  }
  return out;
};

/** Head h reads K and V head h mod n_head_kv. */
const interleavedHeads: Attend = (q, k, v, { n_head, n_head_kv, n_embd_head: d }) => {
  const one = { n_head: 1, n_head_kv: 1, n_embd_head: d };
  return joined(
    Array.from({ length: n_head }, (_, head) => {
      const at = (head % n_head_kv) * d;
      const cut = (rows: readonly Float64Array[]) => rows.map((row) => row.slice(at, at + d));
      return oracleAttend(q.slice(head * d, (head + 1) * d), cut(k), cut(v), one);
    }),
  );
};

function wrongAnswers(input: AttentionInput): Trial['wrong'] {
  const withSees = (sees: boolean[][]) => answers({ ...input, sees });
  const root = Math.sqrt(input.shape.n_embd_head);
  return {
    'the first key seen is dropped': () =>
      withSees(
        input.sees.map((row) => {
          const first = row.indexOf(true);
          return row.lastIndexOf(true) > first ? row.map((seen, j) => seen && j !== first) : row;
        }),
      ),
    'a key too many': () =>
      withSees(
        input.sees.map((row) => {
          const unseen = row.indexOf(false);
          return row.map((seen, j) => seen || j === unseen);
        }),
      ),
    'the scale forgotten': () =>
      answers(input, (q, ...rest) =>
        oracleAttend(
          q.map((x) => x * root),
          ...rest,
        ),
      ),
    'head h reads K and V of h mod n_head_kv': () => answers(input, interleavedHeads),
  };
}

const dimensions = ({ shape, q, k }: AttentionInput) => ({ ...shape, n_query: q.length, n_key: k.length });

export const attention: Comparison = {
  name: 'attend',
  ort: 'MatMul, Div, Add, Softmax',
  type: 'float64',
  unit: 'sum of weight |v|, times max(1, largest sum of |q k|/sqrt(d))',
  measured_ulps: 4.5,
  *trials() {
    for (const input of inputs((draw, n, scale) => draw.numbers(n, scale))) {
      const { shape, q, k, v, sees } = input;
      const { n_head, n_head_kv, n_embd_head: d } = shape;
      const mask = Float64Array.from(sees.flat(), (seen) => (seen ? 0 : -Infinity));
      yield {
        shape: dimensions(input),
        graph: COMPOSED,
        feeds: {
          q: float64(joined(byHead(q, d)), n_head_kv, n_head / n_head_kv, q.length, d),
          k: float64(joined(byHead(k, d)), n_head_kv, 1, k.length, d),
          v: float64(joined(byHead(v, d)), n_head_kv, 1, k.length, d),
          d: float64(Float64Array.of(d)),
          mask: float64(mask, q.length, k.length),
        },
        outputs: ['y'],
        wanted: () => answers(input),
        magnitude: () => answers(input, terms),
        wrong: wrongAnswers(input),
      };
    }
  },
};

export const fusedAttention: Comparison = {
  ...attention,
  ort: 'Attention, by mask and causal',
  type: 'float32',
  measured_ulps: 2.54,
  *trials() {
    for (const input of inputs((draw, n, scale) => draw.floats(n, scale))) {
      const { shape, q, k, v, sees, causal } = input;
      const { n_head, n_head_kv, n_embd_head: d } = shape;
      const prompt = causal && q.length === k.length;
      yield {
        shape: dimensions(input),
        graph: prompt ? CAUSAL : MASKED,
        feeds: {
          q: float32(joined(byHead(q, d)), 1, n_head, q.length, d),
          k: float32(joined(byHead(k, d)), 1, n_head_kv, k.length, d),
          v: float32(joined(byHead(v, d)), 1, n_head_kv, k.length, d),
          ...(prompt ? {} : { mask: bool(sees.flat(), q.length, k.length) }),
        },
        outputs: ['y'],
        wanted: () => answers(input),
        magnitude: () => answers(input, terms),
        wrong: wrongAnswers(input),
      };
    }
  },
};

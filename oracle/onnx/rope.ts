/**
 * The oracle's RoPE, twice: in float64 against the whole formula composed from ONNX Runtime's Pow, Sin and Cos, and in
 * float32 against its RotaryEmbedding, which takes cosines and sines as a table and proves pairs and directions.
 */
import { rope as oracleRope, type RopeShape } from '../math.ts';
import type { Comparison, Rows } from './comparison.ts';
import { byHead, Draw, joined } from './draw.ts';
import { float32, float64, int64 } from './feeds.ts';
import { type Graph, node } from './graph.ts';

/**
 * x, y {n_tokens, n_head, n_embd_head}; pos {n_tokens, 1, 1}; i = 0 .. n_rot/2 - 1; `first` and `second` {n_rot/2} are
 * the channels of the pairs, `back` {n_rot} is where each channel lies in both lists.
 */
const COMPOSED: Graph = {
  nodes: [
    node('Mul', ['minus_two', 'i'], 'minus_two_i'),
    node('Div', ['minus_two_i', 'n_rot'], 'power'),
    node('Pow', ['freq_base', 'power'], 'frequency'),
    node('Mul', ['pos', 'freq_scale'], 'scaled'),
    node('Mul', ['scaled', 'frequency'], 'angle'),
    node('Cos', ['angle'], 'cos'),
    node('Sin', ['angle'], 'sin'),
    { op: 'Split', inputs: ['x', 'parts'], outputs: ['turning', 'rest'], attributes: { axis: { int: -1 } } },
    node('Gather', ['turning', 'first'], 'a', { axis: { int: 2 } }),
    node('Gather', ['turning', 'second'], 'b', { axis: { int: 2 } }),
    node('Mul', ['a', 'cos'], 'a_cos'),
    node('Mul', ['b', 'sin'], 'b_sin'),
    node('Mul', ['a', 'sin'], 'a_sin'),
    node('Mul', ['b', 'cos'], 'b_cos'),
    node('Sub', ['a_cos', 'b_sin'], 'new_a'),
    node('Add', ['a_sin', 'b_cos'], 'new_b'),
    node('Concat', ['new_a', 'new_b'], 'new_ab', { axis: { int: 2 } }),
    node('Gather', ['new_ab', 'back'], 'turned', { axis: { int: 2 } }),
    node('Concat', ['turned', 'rest'], 'y', { axis: { int: 2 } }),
  ],
  inputs: {
    x: 'float64',
    pos: 'float64',
    i: 'float64',
    n_rot: 'float64',
    freq_base: 'float64',
    freq_scale: 'float64',
    parts: 'int64',
    first: 'int64',
    second: 'int64',
    back: 'int64',
  },
  outputs: { y: 'float64' },
  constants: {
    minus_two: { type: 'float64', value: -2 },
  },
};

interface RopeInput {
  n_tokens: number;
  n_head: number;
  pos: number[];
  shape: RopeShape;
  draw: Draw;
}

function* inputs(): Generator<RopeInput> {
  for (let seed = 0; seed < 70; seed++) {
    const draw = new Draw(seed);
    const n_tokens = draw.size(9);
    const n_rot = 2 * draw.pick([1, 2, 3, 4, 16, 32, 64]);
    yield {
      n_tokens,
      n_head: draw.size(5),
      pos: Array.from({ length: n_tokens }, () => draw.between(0, draw.pick([3, 100, 8192]))),
      shape: {
        type: seed % 2 === 0 ? 'NORMAL' : 'NEOX',
        n_rot,
        n_embd_head: n_rot + draw.pick([0, 0, 2, 5]),
        freq_base: draw.pick([100, 10000, 500000]),
        freq_scale: draw.pick([1, 0.25, 0.5, 1 / 3]),
      },
      draw,
    };
  }
}

/** The turn of pair i at a position, in radians. */
function angle(pos: number, i: number, { freq_base, freq_scale, n_rot }: RopeShape): number {
  return pos * freq_scale * freq_base ** ((-2 * i) / n_rot);
}

/** |a| + |b| of the pair of every turned channel, times `of(pair)`; |x| of the others. */
function pairs(x: Float64Array, shape: RopeShape, of: (i: number) => number): Float64Array {
  const { n_embd_head, n_rot } = shape;
  const { first, second } = channelsOf(shape);
  const y = x.map(Math.abs);
  for (let head = 0; head < x.length; head += n_embd_head) {
    for (let i = 0; 2 * i < n_rot; i++) {
      const [a, b] = [head + first[i]!, head + second[i]!];
      y[a] = (Math.abs(x[a]!) + Math.abs(x[b]!)) * of(i);
      y[b] = y[a];
    }
  }
  return y;
}

/** The channels of the pairs, and of each channel its place in both lists together. */
function channelsOf({ type, n_rot }: RopeShape): { first: number[]; second: number[]; back: number[] } {
  const all = Array.from({ length: n_rot }, (_, c) => c);
  const first = all.filter((c) => (type === 'NEOX' ? 2 * c < n_rot : c % 2 === 0));
  const second = all.filter((c) => !first.includes(c));
  const lists = [...first, ...second];
  return { first, second, back: all.map((c) => lists.indexOf(c)) };
}

/** What goes wrong with RoPE in real engines. */
function wrongRopes(x: Rows, pos: readonly number[], shape: RopeShape): Record<string, () => Rows> {
  return {
    'pairs of the other type': () =>
      x.map((row, t) =>
        oracleRope(row, pos[t]!, { ...shape, type: shape.type === 'NEOX' ? 'NORMAL' : 'NEOX' }),
      ),
    'turned the other way': () => x.map((row, t) => oracleRope(row, -pos[t]!, shape)),
    'the next position': () => x.map((row, t) => oracleRope(row, pos[t]! + 1, shape)),
    'freq_scale forgotten': () => x.map((row, t) => oracleRope(row, pos[t]!, { ...shape, freq_scale: 1 })),
    'freq_base off by 1e-9 of it': () =>
      x.map((row, t) => oracleRope(row, pos[t]!, { ...shape, freq_base: shape.freq_base * (1 + 1e-9) })),
  };
}

export const rope: Comparison = {
  name: 'rope',
  ort: 'Pow, Cos, Sin, Mul, Add, Sub',
  type: 'float64',
  unit: '(|a| + |b|) max(1, angle) of the pair',
  measured_ulps: 2,
  *trials() {
    for (const { n_tokens, n_head, pos, shape, draw } of inputs()) {
      const { type, n_embd_head, n_rot } = shape;
      const { first, second, back } = channelsOf(shape);
      const x = draw.rows(n_tokens, n_head * n_embd_head, draw.pick([1, 1e5]));
      yield {
        shape: { n_tokens, n_head, n_embd_head, n_rot, neox: type === 'NEOX' ? 1 : 0 },
        graph: COMPOSED,
        feeds: {
          x: float64(joined(x), n_tokens, n_head, n_embd_head),
          pos: float64(Float64Array.from(pos), n_tokens, 1, 1),
          i: float64(
            Float64Array.from({ length: n_rot / 2 }, (_, i) => i),
            n_rot / 2,
          ),
          n_rot: float64(Float64Array.of(n_rot)),
          freq_base: float64(Float64Array.of(shape.freq_base)),
          freq_scale: float64(Float64Array.of(shape.freq_scale)),
          parts: int64([n_rot, n_embd_head - n_rot], 2),
          first: int64(first, n_rot / 2),
          second: int64(second, n_rot / 2),
          back: int64(back, n_rot),
        },
        outputs: ['y'],
        wanted: () => x.map((row, t) => oracleRope(row, pos[t]!, shape)),
        // One ulp of an angle moves the result by (|a| + |b|) angle: the formula itself asks for no more.
        magnitude: () => x.map((row, t) => pairs(row, shape, (i) => Math.max(1, angle(pos[t]!, i, shape)))),
        wrong: wrongRopes(x, pos, shape),
      };
    }
  },
};

const rotaryGraphs = new Map<string, Graph>();

/** Which channels turn, and in what pairs, are attributes. x, y {1, n_head, n_tokens, n_embd_head}. */
function rotaryGraph({ type, n_rot }: RopeShape): Graph {
  const key = `${type} ${n_rot}`;
  let graph = rotaryGraphs.get(key);
  if (!graph) {
    graph = {
      nodes: [
        node('RotaryEmbedding', ['x', 'cos', 'sin', 'pos'], 'y', {
          interleaved: { int: type === 'NEOX' ? 0 : 1 },
          rotary_embedding_dim: { int: n_rot },
        }),
      ],
      inputs: { x: 'float32', cos: 'float32', sin: 'float32', pos: 'int64' },
      outputs: { y: 'float32' },
    };
    rotaryGraphs.set(key, graph);
  }
  return graph;
}

export const rotaryEmbedding: Comparison = {
  name: 'rope',
  ort: 'RotaryEmbedding',
  type: 'float32',
  unit: '|a| + |b| of the pair',
  measured_ulps: 1.24,
  *trials() {
    for (const { n_tokens, n_head, pos, shape, draw } of inputs()) {
      const { n_embd_head, n_rot } = shape;
      const x = Array.from({ length: n_tokens }, () =>
        draw.floats(n_head * n_embd_head, draw.pick([1, 1e5])),
      );
      const n_pos = Math.max(...pos) + 1;
      const table = (f: (angle: number) => number) =>
        Float64Array.from({ length: (n_pos * n_rot) / 2 }, (_, at) =>
          Math.fround(f(angle(Math.floor(at / (n_rot / 2)), at % (n_rot / 2), shape))),
        );
      const { 'freq_base off by 1e-9 of it': _tooSmall, ...wrong } = wrongRopes(x, pos, shape);
      yield {
        shape: { n_tokens, n_head, n_embd_head, n_rot },
        graph: rotaryGraph(shape),
        feeds: {
          x: float32(joined(byHead(x, n_embd_head)), 1, n_head, n_tokens, n_embd_head),
          cos: float32(table(Math.cos), n_pos, n_rot / 2),
          sin: float32(table(Math.sin), n_pos, n_rot / 2),
          pos: int64(pos, 1, n_tokens),
        },
        outputs: ['y'],
        wanted: () =>
          byHead(
            x.map((row, t) => oracleRope(row, pos[t]!, shape)),
            n_embd_head,
          ),
        magnitude: () =>
          byHead(
            x.map((row) => pairs(row, shape, () => 1)),
            n_embd_head,
          ),
        wrong: Object.fromEntries(
          Object.entries(wrong).map(([name, answer]) => [name, () => byHead(answer(), n_embd_head)]),
        ),
      };
    }
  },
};

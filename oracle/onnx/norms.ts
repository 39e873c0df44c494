/**
 * The oracle's norms and ONNX Runtime's, both in float64. LayerNorm differs most where the mean is a thousand times the
 * deviation and 4,096 numbers are summed: 25.5 ulps, of which 16.5 are the oracle's sums in order and 9 the other side's.
 */
import { layerNorm as oracleLayerNorm } from '../layer-norm.ts';
import { rmsNorm as oracleRmsNorm } from '../math.ts';
import type { Comparison, Trial } from './comparison.ts';
import { Draw, joined } from './draw.ts';
import { float64 } from './feeds.ts';
import { type Graph, node } from './graph.ts';

/** ONNX keeps eps as a float32, so these are the numbers that both sides compute with. */
const EPS = [1e-5, 1e-6, 1e-12].map(Math.fround);

/** One model for every eps, since eps is an attribute. */
function graphs(op: string, inputs: readonly string[]): Map<number, Graph> {
  return new Map(
    EPS.map((eps) => [
      eps,
      {
        nodes: [node(op, inputs, 'y', { axis: { int: -1 }, epsilon: { float: eps } })],
        inputs: Object.fromEntries(inputs.map((name) => [name, 'float64' as const])),
        outputs: { y: 'float64' },
      },
    ]),
  );
}

interface NormInput {
  n: number;
  n_rows: number;
  eps: number;
  x: Float64Array[];
  w: Float64Array;
  b: Float64Array;
}

/** Rows whose mean square is far above eps, near it and far below. */
function* inputs(largest: number): Generator<NormInput> {
  for (let seed = 0; seed < 80; seed++) {
    const draw = new Draw(seed);
    const n = seed === 0 ? 4096 : draw.size(600);
    const n_rows = draw.size(7);
    const scale = draw.pick([1e-6, 1e-3, 1, 50, largest]);
    // Means of about 0, and means that the deviation is small beside.
    const mean = draw.pick([0, 0, 0, 3, -1000]) * scale;
    const x = draw.rows(n_rows, n, scale).map((row) => row.map((xi) => xi + mean));
    yield { n, n_rows, eps: draw.pick(EPS), x, w: draw.numbers(n, 2), b: draw.numbers(n) };
  }
}

function rmsComparison(op: string): Comparison {
  const graph = graphs(op, ['x', 'w']);
  return {
    name: 'rmsNorm',
    ort: op,
    type: 'float64',
    unit: 'the result',
    measured_ulps: 2,
    *trials() {
      for (const { n, n_rows, eps, x, w } of inputs(1e100)) yield rmsTrial(n, n_rows, eps, x, w);
    },
  };

  function rmsTrial(n: number, n_rows: number, eps: number, x: Float64Array[], w: Float64Array): Trial {
    return {
      shape: { n, n_rows },
      graph: graph.get(eps)!,
      feeds: { x: float64(joined(x), n_rows, n), w: float64(w, n) },
      outputs: ['y'],
      wanted: () => x.map((row) => oracleRmsNorm(row, eps, w)),
      wrong: {
        'eps off by two': () => x.map((row) => oracleRmsNorm(row, 2 * eps, w)),
        'eps outside the root': () =>
          x.map((row) => {
            const rms = Math.sqrt(row.reduce((sum, xi) => sum + xi * xi, 0) / n);
            return row.map((xi, i) => (xi / (rms + eps)) * w[i]!);
          }),
        'the last square dropped': () =>
          x.map((row) => {
            const squares = row.subarray(0, -1).reduce((sum, xi) => sum + xi * xi, 0);
            return row.map((xi, i) => (xi / Math.sqrt(squares / n + eps)) * w[i]!);
          }),
      },
    };
  }
}

export const rmsNorm = rmsComparison('RMSNormalization');
export const simplifiedLayerNorm = rmsComparison('SimplifiedLayerNormalization');

const LAYER_NORM = graphs('LayerNormalization', ['x', 'w', 'b']);

export const layerNorm: Comparison = {
  name: 'layerNorm',
  ort: 'LayerNormalization',
  type: 'float64',
  unit: '(|x| + |mean|) |w| / deviation + |b|',
  measured_ulps: 25.5,
  *trials() {
    for (const { n, n_rows, eps, x, w, b } of inputs(1e50)) {
      yield {
        shape: { n, n_rows },
        graph: LAYER_NORM.get(eps)!,
        feeds: { x: float64(joined(x), n_rows, n), w: float64(w, n), b: float64(b, n) },
        outputs: ['y'],
        wanted: () => x.map((row) => oracleLayerNorm(row, eps, w, b)),
        magnitude: () => x.map((row) => layerNormTerms(row, eps, w, b)),
        wrong: {
          'eps off by two': () => x.map((row) => oracleLayerNorm(row, 2 * eps, w, b)),
          'variance over n - 1': () => x.map((row) => unbiased(row, eps, w, b)),
          'mean not taken off': () => x.map((row) => oracleRmsNorm(row, eps, w).map((y, i) => y + b[i]!)),
        },
      };
    }
  },
};

function moments(x: Float64Array): { mean: number; squares: number } {
  const mean = x.reduce((sum, xi) => sum + xi, 0) / x.length;
  return { mean, squares: x.reduce((sum, xi) => sum + (xi - mean) ** 2, 0) };
}

function layerNormTerms(x: Float64Array, eps: number, w: Float64Array, b: Float64Array): Float64Array {
  const { mean, squares } = moments(x);
  const deviation = Math.sqrt(squares / x.length + eps);
  return x.map((xi, i) => ((Math.abs(xi) + Math.abs(mean)) * Math.abs(w[i]!)) / deviation + Math.abs(b[i]!));
}

function unbiased(x: Float64Array, eps: number, w: Float64Array, b: Float64Array): Float64Array {
  const { mean, squares } = moments(x);
  const deviation = Math.sqrt(squares / Math.max(1, x.length - 1) + eps);
  return x.map((xi, i) => ((xi - mean) / deviation) * w[i]! + b[i]!);
}

/**
 * A comparison of one operator of the oracle with ONNX Runtime: seeded trials, the agreement that is asked for, and
 * errors planted into the oracle's side, which it must notice. The tests and the printed table use the same ones.
 */
import { type Distance, distance, ulp } from './compare.ts';
import { joined } from './draw.ts';
import type { Graph } from './graph.ts';
import type { Feed, OnnxRuntime } from './runtime.ts';

/** Results as rows, in the order of ONNX Runtime's elements. */
export type Rows = Float64Array[];

/** One shape with its numbers. */
export interface Trial {
  readonly shape: Readonly<Record<string, number>>;
  readonly graph: Graph;
  readonly feeds: Readonly<Record<string, Feed>>;
  /** The outputs that are compared, one behind the other. */
  readonly outputs: readonly string[];
  /** The oracle's answer. */
  wanted(): Rows;
  /** Per element, what one ulp is taken of; the answer itself if it is not given. */
  magnitude?(): Rows;
  /** Answers with an error in them, by name. */
  readonly wrong: Readonly<Record<string, () => Rows>>;
}

/** How many times the measured distance is allowed: kernels for other CPUs add in other orders. */
const HEAD_ROOM = 3;

/** Most ulps that the two may be apart. */
export function limitUlps(comparison: Comparison): number {
  return HEAD_ROOM * comparison.measured_ulps;
}

export interface Comparison {
  /** The oracle's operator. */
  readonly name: string;
  /** ONNX Runtime's operators. */
  readonly ort: string;
  /** The type in which ONNX Runtime computes. The oracle computes in float64 from the same numbers. */
  readonly type: 'float32' | 'float64';
  /** What one ulp is taken of, in words. */
  readonly unit: string;
  /** The largest distance over all trials when it was measured (AMD EPYC with AVX-512, ONNX Runtime 1.30), rounded up. */
  readonly measured_ulps: number;
  trials(): Iterable<Trial>;
}

export interface Measured {
  readonly n_trials: number;
  /** Trials of different shapes. */
  readonly n_shapes: number;
  /** Smallest and largest of every dimension. */
  readonly ranges: Readonly<Record<string, readonly [number, number]>>;
  /** The largest of each kind over all trials. */
  readonly worst: Distance;
  /** The shape with the most ulps. */
  readonly worst_shape: Readonly<Record<string, number>>;
  /** Per planted error: the trials in which it is past the limit. */
  readonly caught: Readonly<Record<string, number>>;
}

/** Runs all trials, and each of them once more for every planted error. */
export async function measure(comparison: Comparison, runtime: OnnxRuntime): Promise<Measured> {
  const { type } = comparison;
  const limit = limitUlps(comparison);
  const shapes = new Set<string>();
  const ranges: Record<string, [number, number]> = {};
  const worst = { absolute: 0, relative: 0, ulps: 0 };
  const caught: Record<string, number> = {};
  let worst_shape = {};
  let n_trials = 0;
  for (const trial of comparison.trials()) {
    n_trials++;
    shapes.add(Object.values(trial.shape).join());
    widen(ranges, trial.shape);
    const results = await runtime.run(trial.graph, trial.feeds);
    const got = joined(trial.outputs.map((name) => results[name]!));
    const wanted = trial.wanted();
    const magnitude = trial.magnitude?.() ?? wanted;
    const found = distance(got, wanted, magnitude, type);
    if (found.ulps > worst.ulps) worst_shape = trial.shape;
    for (const key of ['absolute', 'relative', 'ulps'] as const)
      worst[key] = Math.max(worst[key], found[key]);
    const wrong = { ...trial.wrong, [MOVED]: () => moved(wanted, magnitude, type, 2 * limit) };
    for (const [name, answer] of Object.entries(wrong)) {
      caught[name] ??= 0;
      if (distance(got, answer(), magnitude, type).ulps > limit) caught[name]++;
    }
  }
  return { n_trials, n_shapes: shapes.size, ranges, worst, worst_shape, caught };
}

/** The smallest error that every trial must notice: one element, twice the limit away. */
const MOVED = 'one element moved';

function moved(rows: Rows, magnitude: Rows, type: Comparison['type'], ulps: number): Rows {
  const copy = rows.map((row) => row.slice());
  const r = copy.length >> 1;
  const i = copy[r]!.length >> 1;
  copy[r]![i]! += ulps * ulp(magnitude[r]![i]!, type);
  return copy;
}

function widen(ranges: Record<string, [number, number]>, shape: Trial['shape']): void {
  for (const [name, n] of Object.entries(shape)) {
    const [low, high] = ranges[name] ?? [n, n];
    ranges[name] = [Math.min(low, n), Math.max(high, n)];
  }
}

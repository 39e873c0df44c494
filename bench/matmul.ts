/**
 * Matrix products of every implementation against the peak of its instruction set, both measured in this run, in CPU
 * time of one thread. Rounds alternate between implementations and the median counts, since machines are shared. Only
 * checked results are timed: all implementations must give the same bits, and sampled outputs lie within the rigorous
 * bound of a float64 sum.
 *
 * Run the built file: node dist/bench/matmul.js [implementation ...]
 */

import { pathToFileURL } from 'node:url';
import { IsobatchError } from '../contract/errors.ts';
import { type KernelSet, loadKernels } from '../native/binding.ts';
import { DIM, type Memory, N_DIMS, PlanBuilder, packMatrix, pad16, SPACE, TYPE } from '../native/plan.ts';
import { HALF, toHalf } from '../native/portable/math.ts';

export interface MatmulShape {
  readonly rows: number;
  readonly k: number;
  readonly n: number;
  readonly type: number;
}

export interface MatmulTiming {
  readonly shape: MatmulShape;
  readonly isa: string;
  /** Median CPU time of a call in microseconds. */
  readonly time_us: number;
  readonly gflops: number;
  /** Of the peak of the same implementation, measured in this run. */
  readonly peak_share: number;
}

const SHAPES: readonly (readonly [rows: number, k: number, n: number])[] = [
  [512, 768, 3072],
  [8, 768, 3072],
  [1, 768, 3072],
  [512, 4096, 4096],
  [8, 4096, 4096],
  [1, 4096, 4096],
  [1, 32, 32],
  [4, 32, 96],
  [8, 32, 64],
  [16, 64, 64],
  [64, 32, 96],
  [1, 256, 256],
  [64, 256, 256],
];

/** A product with seeded operands. */
class Bench {
  readonly shape: MatmulShape;
  readonly memory: Memory;
  readonly #plan = new PlanBuilder();
  readonly #words: Int32Array;
  readonly #dims = new Int32Array(N_DIMS);
  readonly #exact: (output: number, term: number) => number;

  constructor(shape: MatmulShape) {
    this.shape = shape;
    const { rows, k, n, type } = shape;
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return Math.fround(state / 2147483648);
    };
    const act = new Float32Array(rows * pad16(k));
    for (let r = 0; r < rows; r++) for (let i = 0; i < k; i++) act[r * pad16(k) + i] = random();
    const weights = Float32Array.from({ length: n * k }, random);
    const halves = type === TYPE.F16 ? Uint16Array.from(weights, toHalf) : undefined;
    const packed = halves ? packMatrix(halves, k, n) : packMatrix(weights, k, n);
    this.#exact = (o, i) => (halves ? HALF[halves[o * k + i]!]! : weights[o * k + i]!);
    this.memory = {
      weights: new Uint8Array(packed.buffer),
      act,
      cache: new Uint8Array(64),
      index: new Int32Array(32),
      out: new Float32Array(rows * n),
    };
    this.#plan.matmul({
      rows: DIM.tokens,
      src: 0,
      srcStride: pad16(k),
      dstSpace: SPACE.out,
      dst: 0,
      dstStride: n,
      k,
      n,
      store: n,
      w: 0,
      type,
      bias: -1,
      add: false,
      rowMap: -1,
    });
    this.#words = this.#plan.build();
    this.#dims[DIM.tokens] = rows;
  }

  run(set: KernelSet, isa: string): void {
    const status = set.get(isa).run(this.#words, 1, this.#dims, this.memory);
    if (status !== 0)
      throw new IsobatchError('internal', `matmul on ${isa} ended with status ${status}`, { status });
  }

  /** Throws unless sampled outputs are within depth * u * sum |terms| of float64. */
  check(isa: string): void {
    const { rows, k, n } = this.shape;
    for (let s = 0; s < 64; s++) {
      const r = (s * 7) % rows;
      const c = (s * 911) % n;
      let sum = 0;
      let size = 0;
      for (let i = 0; i < k; i++) {
        const term = this.memory.act[r * pad16(k) + i]! * this.#exact(c, i);
        sum += term;
        size += Math.abs(term);
      }
      const error = Math.abs(this.memory.out[r * n + c]! - sum);
      if (!(error <= (64 + k / 64) * 2 ** -24 * size)) {
        throw new IsobatchError('internal', `matmul on ${isa}: row ${r} column ${c} is ${error} off`, {
          ...this.shape,
        });
      }
    }
  }
}

/** Throws unless all implementations give the same bits on this shape. */
function checkBits(bench: Bench, set: KernelSet, isas: readonly string[]): void {
  let first: Float32Array | undefined;
  for (const isa of isas) {
    bench.memory.out.fill(Number.NaN);
    bench.run(set, isa);
    if (!first) {
      bench.check(isa);
      first = bench.memory.out.slice();
    } else if (Buffer.compare(Buffer.from(first.buffer), Buffer.from(bench.memory.out.buffer)) !== 0) {
      throw new IsobatchError('internal', `matmul: bits of ${isa} differ from ${isas[0]}`, {
        ...bench.shape,
      });
    }
  }
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[values.length >> 1]!;
}

/** Times one shape on implementations in turn; `budget_s` of CPU time each. */
function timeShape(
  shape: MatmulShape,
  set: KernelSet,
  isas: readonly string[],
  peaks: ReadonlyMap<string, number>,
  budget_s: number,
): MatmulTiming[] {
  const bench = new Bench(shape);
  checkBits(bench, set, isas);
  const flops = 2 * shape.rows * shape.k * shape.n;
  const rounds = isas.map((isa) => {
    const estimate_s = flops / (0.2e9 * peaks.get(isa)!) + 1e-6;
    return { isa, calls: Math.max(1, Math.round(budget_s / 7 / estimate_s)), times: [] as number[] };
  });
  for (let round = 0; round < 7; round++) {
    for (const { isa, calls, times } of rounds) {
      const begin = set.threadSeconds();
      for (let i = 0; i < calls; i++) bench.run(set, isa);
      times.push((set.threadSeconds() - begin) / calls);
    }
  }
  return rounds.map(({ isa, times }) => {
    const time_s = median(times);
    const gflops = (flops / time_s) * 1e-9;
    return { shape, isa, time_us: time_s * 1e6, gflops, peak_share: gflops / peaks.get(isa)! };
  });
}

/**
 * FMA peak of each implementation: the best of many short rounds, since what a neighbour takes away is no limit of the
 * instruction set. (Products are medians, so a share can only be understated.)
 */
export function measurePeaks(set: KernelSet, isas: readonly string[]): Map<string, number> {
  const peaks = new Map<string, number>(isas.map((isa) => [isa, 0]));
  for (let round = 0; round < 25; round++) {
    for (const isa of isas) peaks.set(isa, Math.max(peaks.get(isa)!, set.fmaPeak(isa, 0.01)));
  }
  return peaks;
}

/**
 * Times products on native implementations (all but `scalar`, which calls the C library for each fma, by default).
 * Throws 'native' if there is no library.
 */
export function benchMatmul(
  names: readonly string[],
  report: (timing: MatmulTiming) => void,
): MatmulTiming[] {
  const set = loadKernels();
  if ('unavailable' in set.native)
    throw new IsobatchError('native', `no native library: ${set.native.unavailable}`, {});
  const isas = names.length > 0 ? names : set.isas.filter((isa) => isa !== 'portable' && isa !== 'scalar');
  const peaks = measurePeaks(set, isas);
  const timings: MatmulTiming[] = [];
  for (const [rows, k, n] of SHAPES) {
    for (const type of [TYPE.F32, TYPE.F16]) {
      for (const timing of timeShape({ rows, k, n, type }, set, isas, peaks, 0.25)) {
        timings.push(timing);
        report(timing);
      }
    }
  }
  return timings;
}

function line(t: MatmulTiming): string {
  const { rows, k, n, type } = t.shape;
  const shape = `${type === TYPE.F32 ? 'f32' : 'f16'} ${rows} x ${k} x ${n}`.padEnd(22);
  const share = `${(100 * t.peak_share).toFixed(0)} % of peak`;
  return `${shape} ${t.isa.padEnd(8)} ${t.time_us.toFixed(2).padStart(11)} us ${t.gflops.toFixed(1).padStart(7)} GFLOP/s  ${share}`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const set = loadKernels();
    for (const [isa, peak] of measurePeaks(set, set.isas.slice(1))) {
      console.log(`FMA peak of ${isa}: ${peak.toFixed(1)} GFLOP/s`);
    }
    benchMatmul(process.argv.slice(2), (timing) => console.log(line(timing)));
  } catch (error) {
    if (!(error instanceof IsobatchError)) throw error;
    console.error(error.message);
    process.exitCode = 3;
  }
}

/**
 * For the tests of the kernels: seeded numbers, spaces that are laid out piece by piece, and runs of one plan on every
 * implementation of this machine, compared bit by bit.
 */

import { loadKernels } from './binding.ts';
import { DIM, type Memory, N_DIMS, PlanBuilder, pad16, TYPE } from './plan.ts';
import { HALF, toHalf } from './portable/math.ts';

/** A small seeded generator (a Weyl sequence, mixed). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 32 random bits. */
  bits(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /** An integer in [low, high]. */
  int(low: number, high: number): number {
    return low + (this.bits() % (high - low + 1));
  }

  pick<T>(from: readonly T[]): T {
    return from[this.int(0, from.length - 1)]!;
  }

  /** A float32 in (-1, 1). */
  float(): number {
    return Math.fround((this.bits() - 2147483648) / 2147483648);
  }

  floats(n: number, scale = 1): Float32Array {
    return Float32Array.from({ length: n }, () => this.float() * scale);
  }

  shuffled<T>(from: readonly T[]): T[] {
    const a = [...from];
    for (let i = a.length - 1; i > 0; i--) {
      const j = this.int(0, i);
      [a[i], a[j]] = [a[j]!, a[i]!];
    }
    return a;
  }
}

/** Lays out the five spaces of a plan. Every method returns a word offset. */
export class Layout {
  readonly plan = new PlanBuilder();
  readonly dims = new Int32Array(N_DIMS);
  readonly #act: number[] = [];
  readonly #out: number[] = [];
  readonly #index: number[] = [];
  readonly #weights: number[] = [];
  readonly #cache: number[] = [];
  readonly #float = new Float32Array(1);
  readonly #word = new Int32Array(this.#float.buffer);

  #words(to: number[], data: Float32Array | Uint16Array): number {
    const at = to.length;
    const bytes = new Uint8Array((data.byteLength + 3) & ~3);
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    for (const word of new Int32Array(bytes.buffer)) to.push(word);
    return at;
  }

  act(data: Float32Array): number {
    return this.#words(this.#act, data);
  }

  /** Rows of n floats, each padded to `stride` with zeros. */
  rows(data: Float32Array, n: number, stride = pad16(n)): number {
    const at = this.#act.length;
    for (let r = 0; r < data.length / n; r++) {
      for (let c = 0; c < stride; c++) {
        this.#float[0] = c < n ? data[r * n + c]! : 0;
        this.#act.push(this.#word[0]!);
      }
    }
    return at;
  }

  /** Space for results, full of NaN so that a float that nobody wrote, or read too early, shows. */
  hole(n: number): number {
    const at = this.#act.length;
    for (let i = 0; i < n; i++) this.#act.push(0x7fc00000);
    return at;
  }

  out(n: number): number {
    const at = this.#out.length;
    for (let i = 0; i < n; i++) this.#out.push(0x7fc00000);
    return at;
  }

  index(data: readonly number[]): number {
    const at = this.#index.length;
    this.#index.push(...data);
    return at;
  }

  weights(data: Float32Array | Uint16Array): number {
    return this.#words(this.#weights, data);
  }

  cache(data: Float32Array | Uint16Array): number {
    return this.#words(this.#cache, data);
  }

  /** Fresh copies of all spaces. */
  memory(): Memory {
    const bytes = (words: number[]) => new Uint8Array(Int32Array.from(words).buffer);
    const floats = (words: number[]) => new Float32Array(Int32Array.from(words).buffer);
    return {
      weights: bytes(this.#weights),
      act: floats(this.#act),
      cache: bytes(this.#cache),
      index: Int32Array.from(this.#index),
      out: floats(this.#out),
    };
  }
}

loadKernels(); // on import, so that compiling counts against no test's time

export interface RunResult {
  readonly status: number;
  readonly memory: Memory;
}

/** Runs a layout on one implementation. */
export function runOn(isa: string, layout: Layout): RunResult {
  const memory = layout.memory();
  const plan = layout.plan.build();
  const status = loadKernels().get(isa).run(plan, layout.plan.n_ops, layout.dims, memory);
  return { status, memory };
}

/** The first word that differs, or null. Any NaN equals any NaN. */
export function firstDifference(a: ArrayBufferView, b: ArrayBufferView): string | null {
  const [x, y] = [a, b].map((v) => new Float32Array(v.buffer, v.byteOffset, v.byteLength >> 2));
  const [i, j] = [a, b].map((v) => new Int32Array(v.buffer, v.byteOffset, v.byteLength >> 2));
  if (x!.length !== y!.length) return `lengths ${x!.length} and ${y!.length}`;
  for (let n = 0; n < i!.length; n++) {
    if (i![n] !== j![n] && !(Number.isNaN(x![n]) && Number.isNaN(y![n])))
      return `word ${n}: ${x![n]} and ${y![n]}`;
  }
  return null;
}

/** Runs a layout on all implementations; throws unless all give the same bits. The portable result. */
export function runEverywhere(layout: Layout): RunResult {
  const expected = runOn('portable', layout);
  for (const isa of loadKernels().isas.slice(1)) {
    const got = runOn(isa, layout);
    if (got.status !== expected.status)
      throw new Error(`${isa}: status ${got.status}, not ${expected.status}`);
    for (const space of ['act', 'cache', 'out'] as const) {
      const difference = firstDifference(expected.memory[space], got.memory[space]);
      if (difference) throw new Error(`${isa} differs from portable in ${space}, ${difference}`);
    }
  }
  return expected;
}

/** Data as `type` (halves are bits), and as the float64 numbers that it then means. */
export function typed(
  data: Float32Array,
  type: number,
): { raw: Float32Array | Uint16Array; exact: Float64Array } {
  if (type === TYPE.F32) return { raw: data, exact: Float64Array.from(data) };
  const raw = Uint16Array.from(data, toHalf);
  return { raw, exact: Float64Array.from(raw, (h) => HALF[h]!) };
}

export { DIM, pad16, TYPE };

/**
 * One operator laid out for a run: the five spaces of a plan (native/plan.ts) put together piece by piece, rows with
 * zeros up to their stride, and places for results that are filled with NaN, so that a column that no kernel wrote
 * shows.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { ElementType, OperatorOutput } from '../contract/operators.ts';
import { type Memory, N_DIMS, PlanBuilder, pad16 } from '../native/plan.ts';
import { toHalf } from '../native/portable/math.ts';

type Elements = Float32Array | Uint16Array | Int32Array;
export type Read = (memory: Memory) => OperatorOutput[];

/** One space, put together piece by piece; places are counted in words. */
class Space {
  readonly #parts: { at: number; data: Elements }[] = [];
  #words = 0;

  put(data: Elements): number {
    const at = this.#words;
    this.#parts.push({ at, data });
    this.#words += pad16(Math.ceil(data.byteLength / 4));
    return at;
  }

  build(): ArrayBuffer {
    const buffer = new ArrayBuffer(4 * this.#words + 64);
    for (const { at, data } of this.#parts) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      new Uint8Array(buffer, at * 4, data.byteLength).set(bytes);
    }
    return buffer;
  }
}

/** All that one operator needs. */
export class Layout {
  readonly plan = new PlanBuilder();
  readonly dims = new Int32Array(N_DIMS);
  readonly weights = new Space();
  readonly act = new Space();
  readonly cache = new Space();
  readonly index = new Space();
  readonly out = new Space();

  /** Rows of n floats, each with zeros up to its stride. */
  rows(data: Float32Array, n: number): number {
    return this.act.put(padded(data, n));
  }

  /** Place for results. */
  hole(words: number): number {
    return this.act.put(new Float32Array(words).fill(Number.NaN));
  }

  list(data: readonly number[]): number {
    return this.index.put(Int32Array.from(data));
  }

  memory(): Memory {
    return {
      weights: new Uint8Array(this.weights.build()),
      act: new Float32Array(this.act.build()),
      cache: new Uint8Array(this.cache.build()),
      index: new Int32Array(this.index.build()),
      out: new Float32Array(this.out.build()),
    };
  }
}

export function padded(data: Float32Array, n: number): Float32Array {
  const stride = pad16(n);
  const wide = new Float32Array((data.length / n) * stride);
  for (let r = 0; r * n < data.length; r++) wide.set(data.subarray(r * n, (r + 1) * n), r * stride);
  return wide;
}

export function typed(data: Float32Array, type: ElementType): Float32Array | Uint16Array {
  return type === 'F16' ? Uint16Array.from(data, toHalf) : data;
}

/** Rows of n floats without what is behind them. Throws `native` if that is not zero. */
export function unpadded(from: Float32Array, at: number, rows: number, n: number): Float32Array {
  const stride = pad16(n);
  const values = new Float32Array(rows * n);
  for (let r = 0; r < rows; r++) {
    const row = at + r * stride;
    values.set(from.subarray(row, row + n), r * n);
    for (let c = n; c < stride; c++) {
      const behind = from[row + c]!;
      if (behind !== 0)
        throw new IsobatchError('native', `${behind} stands behind the last column of row ${r}`, {
          row: r,
          c,
        });
    }
  }
  return values;
}

export function result(n: number, rows: number, at: number): Read {
  return (memory) => [{ name: 'result', n, values: unpadded(memory.act, at, rows, n) }];
}

/** Cells that are not in the order of the rows. */
export function scattered(n: number): number[] {
  return Array.from({ length: n }, (_, i) => (i % 2 === 0 ? n - 1 - (i >> 1) : i >> 1));
}

export interface States {
  readonly state: number;
  readonly srcIds: number;
  readonly dstIds: number;
  readonly moved: number;
  /** Row of the cache in which the new state of each set lies. */
  readonly rows: readonly number[];
}

/** Old states of sets in turn in rows of the cache and among those that were moved; new ones in rows of their own. */
export function layStates(lay: Layout, states: readonly (Float32Array | null)[], width: number): States {
  const n = states.length;
  const cache = new Float32Array(2 * n * width).fill(Number.NaN);
  const moved = new Float32Array(n * width).fill(Number.NaN);
  const srcIds = states.map((state, s) => {
    if (state === null) return -1;
    (s % 2 === 0 ? cache : moved).set(state, s * width);
    return s % 2 === 0 ? s : -2 - s;
  });
  const rows = states.map((_, s) => 2 * n - 1 - s);
  return {
    state: lay.cache.put(cache),
    srcIds: lay.list(srcIds),
    dstIds: lay.list(rows),
    moved: lay.act.put(moved),
    rows,
  };
}

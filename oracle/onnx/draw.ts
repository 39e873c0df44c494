/** Seeded shapes and numbers for the comparisons with ONNX Runtime. */
import { type Random, seeded } from '../testing.ts';

export class Draw {
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = seeded(seed);
  }

  /** a .. b, both included. */
  between(a: number, b: number): number {
    return a + this.#random(b - a + 1);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.#random(items.length)]!;
  }

  /** 1 .. max: often 1, 2 or 3, as often a power of two or one beside it, else anything. */
  size(max: number): number {
    const kind = this.#random(4);
    if (kind === 0) return this.between(1, Math.min(3, max));
    if (kind === 1) {
      const power = 2 ** this.between(0, Math.floor(Math.log2(max)));
      return Math.min(max, Math.max(1, power + this.between(-1, 1)));
    }
    return this.between(1, max);
  }

  /** -scale .. scale, with all digits of a float64. */
  number(scale = 1): number {
    const uniform = (this.#random(2 ** 26) * 2 ** 27 + this.#random(2 ** 27)) * 2 ** -53;
    return (2 * uniform - 1) * scale;
  }

  numbers(n: number, scale = 1): Float64Array {
    const x = new Float64Array(n);
    for (let i = 0; i < n; i++) x[i] = this.number(scale);
    return x;
  }

  /** The same, of float32 numbers. */
  floats(n: number, scale = 1): Float64Array {
    return this.numbers(n, scale).map(Math.fround);
  }

  rows(n_rows: number, n: number, scale = 1): Float64Array[] {
    return Array.from({ length: n_rows }, () => this.numbers(n, scale));
  }
}

/** Rows of heads side by side, cut up: all rows of the first head (n_embd_head numbers each), then the next head's. */
export function byHead(rows: readonly Float64Array[], n_embd_head: number): Float64Array[] {
  const n_head = (rows[0]?.length ?? 0) / n_embd_head;
  return Array.from({ length: n_head }, (_, head) =>
    rows.map((row) => row.slice(head * n_embd_head, (head + 1) * n_embd_head)),
  ).flat();
}

/** One behind the other. */
export function joined(rows: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(rows.reduce((sum, row) => sum + row.length, 0));
  let at = 0;
  for (const row of rows) {
    all.set(row, at);
    at += row.length;
  }
  return all;
}

/** Row i of the result holds element i of every row: {n, n_rows}. */
export function transposed(rows: readonly Float64Array[]): Float64Array[] {
  return Array.from(rows[0] ?? [], (_, i) => Float64Array.from(rows, (row) => row[i]!));
}

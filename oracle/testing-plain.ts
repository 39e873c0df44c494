/**
 * For second formulas: forward passes that are written apart from the oracle, on nested arrays and whole sequences, to
 * be its check. Nothing here may be imported from the oracle's operators.
 */
import { expect } from 'vitest';
import type { Model } from '../model/types.ts';
import { completeBatch } from './batch.ts';
import { type Entry, Sequences } from './entries.ts';

export type Rows = number[][];

/** Rows of a matrix, or of all matrices of a stack one behind the other. */
export function rowsOf(model: Model, name: string): Rows {
  const { ne, data } = model.tensors.get(name)!;
  const width = ne[0]!;
  return Array.from({ length: data.length / width }, (_, r) => [...data.slice(r * width, (r + 1) * width)]);
}

export const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
export const times = (w: Rows, x: number[]) => w.map((r) => dot(r, x));
export const plus = (a: number[], b: number[]) => a.map((x, i) => x + b[i]!);
export const normalized = (x: number[], eps: number) =>
  x.map((v) => v / Math.sqrt(dot(x, x) / x.length + eps));
export const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** Softmax of a query's products with keys, times values. */
export function attended(q: number[], keys: Rows, values: Rows): number[] {
  const e = keys.map((key) => Math.exp(dot(q, key) / Math.sqrt(q.length)));
  const sum = e.reduce((s, y) => s + y, 0);
  return values[0]!.map((_, c) => e.reduce((s, y, j) => s + (y / sum) * values[j]![c]!, 0));
}

/** Entries of one sequence of its own. */
export function entriesOf(tokens: readonly number[], n_vocab = 6): Entry[] {
  const sequences = new Sequences(1);
  return sequences.decode(
    completeBatch({ token: [...tokens] }, sequences, { n_vocab, n_batch: tokens.length, n_seq_max: 1 }),
  );
}

/** To twelve digits. */
export function expectClose(rows: readonly Float64Array[], expected: Rows): void {
  expect(rows).toHaveLength(expected.length);
  rows.forEach((row, t) => {
    expect(row).toHaveLength(expected[t]!.length);
    row.forEach((value, i) => {
      expect(Math.abs(value - expected[t]![i]!)).toBeLessThan(1e-12 * (1 + Math.abs(value)));
    });
  });
}

/**
 * Where outputs go (spec: batching.md 3). Rows are written straight to their final place: row r belongs to the r-th
 * smallest batch index among the outputs, whatever order the ubatches have. Nothing is swapped afterwards. Lay it
 * beside `oracle/outputs.ts`, which appends rows in order of execution and then sorts them.
 */
import type { FlatBatch } from './flat-batch.ts';
import type { Splitter } from './split.ts';

/**
 * Outputs of ubatch u: their rows in the ubatch go to ids[at..], their rows in the caller's buffer to rows[at..].
 * Returns how many there are.
 */
export function ubatchOutputs(
  batch: FlatBatch,
  split: Splitter,
  u: number,
  ids: Int32Array,
  idsAt: number,
  rows: Int32Array,
  rowsAt: number,
): number {
  const begin = split.begin[u]!;
  const end = split.begin[u + 1]!;
  let n = 0;
  for (let j = begin; j < end; j++) {
    const i = split.index[j]!;
    if (batch.output[i] === 0) continue;
    ids[idsAt + n] = j - begin;
    rows[rowsAt + n] = batch.outputRow[i]!;
    n++;
  }
  return n;
}

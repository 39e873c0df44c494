/**
 * In which row of the caller's buffer an output ends (spec: batching.md 3). Rows are filled in the order of execution;
 * a selection sort then puts them into batch order, and its swaps are what is applied to the rows.
 */
import type { CompleteBatch, Ubatch } from '../contract/batch.ts';

/** 3.1: the batch index of each output, in order of execution. */
export function outputIds(batch: CompleteBatch, ubatches: readonly Ubatch[]): number[] {
  const out_ids: number[] = [];
  for (const ubatch of ubatches) {
    for (const i of ubatch.index) {
      if (batch.logits[i]) {
        out_ids.push(i);
      }
    }
  }
  return out_ids;
}

/** 3.2: the pairs of rows to swap, in order, so that batch indices ascend. */
export function swapPlan(out_ids: readonly number[]): [number, number][] {
  const ids = [...out_ids];
  const swaps: [number, number][] = [];
  for (let i = 0; i < ids.length - 1; i++) {
    let j_min = i;
    for (let j = i + 1; j < ids.length; j++) {
      if (ids[j]! < ids[j_min]!) {
        j_min = j;
      }
    }
    if (j_min !== i) {
      [ids[i], ids[j_min]] = [ids[j_min]!, ids[i]!];
      swaps.push([i, j_min]);
    }
  }
  return swaps;
}

/** For the k-th output in order of execution, its final row: the swaps are carried out on rows that say who they are. */
export function outputRows(batch: CompleteBatch, ubatches: readonly Ubatch[]): number[] {
  const out_ids = outputIds(batch, ubatches);
  const rows = out_ids.map((_, k) => k);
  for (const [a, b] of swapPlan(out_ids)) {
    [rows[a], rows[b]] = [rows[b]!, rows[a]!];
  }
  const rowOf = new Array<number>(rows.length);
  rows.forEach((k, row) => {
    rowOf[k] = row;
  });
  return rowOf;
}

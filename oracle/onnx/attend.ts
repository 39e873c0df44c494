/** Attention of the oracle, until it is exported: per head, softmax of q*k/sqrt(d), and the weighted sum of values. */
import { softmax } from '../math.ts';

export interface AttendShape {
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
}

export function attend(
  q: Float64Array,
  k: readonly Float64Array[],
  v: readonly Float64Array[],
  { n_head, n_head_kv, n_embd_head: d }: AttendShape,
): Float64Array {
  const out = new Float64Array(n_head * d);
  for (let head = 0; head < n_head; head++) {
    const kv = Math.floor((head * n_head_kv) / n_head) * d;
    const scores = Float64Array.from(k, (row) => {
      let dot = 0;
      for (let i = 0; i < d; i++) {
        dot += q[head * d + i]! * row[kv + i]!;
      }
      return dot / Math.sqrt(d);
    });
    const weight = softmax(scores);
    for (let j = 0; j < k.length; j++) {
      for (let i = 0; i < d; i++) {
        out[head * d + i]! += weight[j]! * v[j]![kv + i]!;
      }
    }
  }
  return out;
}

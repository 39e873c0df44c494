/**
 * Attention of one query over the keys that it sees (spec: batching.md 11, architectures.md 0.3): per head a softmax
 * of q.k / sqrt(d), then the sum of the values with these weights. Several heads of q share one head of k and v.
 */
import { scratch } from './math.ts';
import { type Site, U32 } from './rounding.ts';
import { productKind, sumError } from './sum.ts';

export interface AttentionShape {
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
}

/** q is {n_head * n_embd_head}; k and v are the rows {n_head_kv * n_embd_head} that the query sees, in order. */
export function attend(
  q: Float64Array,
  k: readonly Float64Array[],
  v: readonly Float64Array[],
  shape: AttentionShape,
  at?: Site,
): Float64Array {
  const { n_head, n_head_kv, n_embd_head: d } = shape;
  const out = new Float64Array(n_head * d);
  const [atScore, atExp, atSum] = [at?.step('score'), at?.step('exp'), at?.step('sum')];
  for (let head = 0; head < n_head; head++) {
    const q0 = head * d;
    const kv0 = Math.floor((head * n_head_kv) / n_head) * d;
    const weight = weights(scores(q, q0, k, kv0, d, atScore), head, atExp, atSum);
    for (let i = 0; i < d; i++) {
      let sum = 0;
      for (let j = 0; j < v.length; j++) {
        sum += weight[j]! * v[j]![kv0 + i]!;
      }
      out[q0 + i] = at ? roundedValue(weight, v, kv0 + i, q0 + i, sum, at) : sum;
    }
  }
  return out;
}

/** q.k / sqrt(d) of one head with every key. */
export function scores(
  q: Float64Array,
  q0: number,
  k: readonly Float64Array[],
  kv0: number,
  d: number,
  at?: Site,
): Float64Array {
  const root = Math.sqrt(d);
  const out = new Float64Array(k.length);
  for (let j = 0; j < k.length; j++) {
    let dot = 0;
    for (let i = 0; i < d; i++) {
      dot += q[q0 + i]! * k[j]![kv0 + i]!;
    }
    out[j] = dot / root;
    if (at) {
      const term = scratch(d);
      for (let i = 0; i < d; i++) {
        term[i] = q[q0 + i]! * k[j]![kv0 + i]!;
      }
      const { b, variance } = sumError(term, d, at.profile.products, productKind(at.profile));
      // The scale is rounded, and so is the product with it.
      const own = 2 * U32 * Math.abs(dot);
      out[j] = at.after(
        (q0 / d) * k.length + j,
        out[j]!,
        (b + own) / root,
        Math.sqrt(variance + (own * own) / 6) / root,
      );
    }
  }
  return out;
}

/** e^(s - max) of each score over their sum. The errors of an exponential grow with its exponent. */
function weights(score: Float64Array, head: number, atExp?: Site, atSum?: Site): Float64Array {
  let max = -Infinity;
  for (const s of score) {
    max = Math.max(max, s);
  }
  const e = score.map((s, j) => {
    const y = Math.exp(s - max);
    if (!atExp) return y;
    const { b, sigma } = exponentialError(s - max, y);
    return atExp.after(head * score.length + j, y, b, sigma);
  });
  let sum = 0;
  for (const ej of e) {
    sum += ej;
  }
  if (atSum) {
    const { b, variance } = sumError(e, e.length, atSum.profile.rows, 'numbers');
    sum = atSum.after(head, sum, b, Math.sqrt(variance));
  }
  return e.map((ej) => ej / sum);
}

/** e^x for x <= 0 in float32: the exponent is rounded, the function is good to two units, and tiny values are lost. */
export function exponentialError(x: number, y: number): { b: number; sigma: number } {
  const relative = (Math.abs(x) + 2) * U32 * y;
  return { b: relative + 2 ** -126, sigma: 0.6 * relative + 2 ** -126 };
}

/** Sum of weights times values, and the division by the sum of the weights. */
function roundedValue(
  weight: Float64Array,
  v: readonly Float64Array[],
  channel: number,
  element: number,
  y: number,
  at: Site,
): number {
  const term = scratch(v.length);
  let size = 0;
  for (let j = 0; j < v.length; j++) {
    term[j] = weight[j]! * v[j]![channel]!;
    size += Math.abs(term[j]!);
  }
  const { b, variance } = sumError(term, v.length, at.profile.keys, productKind(at.profile));
  return at.after(element, y, b + U32 * size, Math.sqrt(variance + (U32 * U32 * y * y) / 3));
}

/**
 * Attention of one query over the keys that it sees (spec: batching.md 11, architectures.md 0.3): per head a softmax
 * of q.k / sqrt(d), capped in some models (spec: architectures.md 4), with a bias in others (`alibi.ts`), then the sum of the
 * values with these weights. Several heads of q share one head of k and v.
 *
 * Roundings at different keys are told apart by their values only, not by the place of the key (spec: verdicts.md 8).
 */
import { type Alibi, biasedRow } from './alibi.ts';
import { halfError, noisyHalf, scratch } from './math.ts';
import { type Site, TINY16, U16, U32 } from './rounding.ts';
import { softcapRow } from './softcap.ts';
import { productKind, sumError } from './sum.ts';

export interface AttentionShape {
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  /** What scores are divided by; the root of n_embd_head if it is not given. */
  readonly root?: number;
  /** Scores are capped to it (softcap), if there is one. */
  readonly softcap?: number;
  /** Scores fall with the distance of their keys, if this is there; `attended` tells the distances. */
  readonly alibi?: Alibi;
  /** K and V are kept in F16: a subject may round q and the weights to F16 too. */
  readonly half?: boolean;
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
  const query = at && castsAttention(shape, at) ? noisyHalf(q, at.step('cast')) : q;
  const [atScore, atExp, atSum] = [at?.step('score'), at?.step('exp'), at?.step('sum')];
  for (let head = 0; head < n_head; head++) {
    const q0 = head * d;
    const kv0 = Math.floor((head * n_head_kv) / n_head) * d;
    const score = scores(query, q0, k, kv0, d, rootOf(shape), atScore);
    const cap = capped(score, shape, head, at?.step('cap'));
    const weight = weights(biased(cap, shape, head, at?.step('bias')), head, atExp, atSum);
    for (let i = 0; i < d; i++) {
      let sum = 0;
      for (let j = 0; j < v.length; j++) {
        sum += weight[j]! * v[j]![kv0 + i]!;
      }
      out[q0 + i] = at ? roundedValue(weight, v, kv0 + i, q0 + i, sum, shape, at) : sum;
    }
  }
  return out;
}

export function castsAttention({ half }: AttentionShape, { profile }: Site): boolean {
  return half === true && profile.f16_activations === 'F16';
}

/** What scores are divided by. */
export function rootOf({ root, n_embd_head }: AttentionShape): number {
  return root ?? Math.sqrt(n_embd_head);
}

/** The capped scores of one head as its softmax gets them. */
export function biased(
  score: Float64Array,
  { alibi }: AttentionShape,
  head: number,
  at?: Site,
): Float64Array {
  return alibi === undefined ? score : biasedRow(score, alibi, head, at);
}

export function capped(
  score: Float64Array,
  { softcap }: AttentionShape,
  head: number,
  at?: Site,
): Float64Array {
  return softcap === undefined ? score : softcapRow(score, softcap, at, head * score.length, head);
}

/** q.k / root of one head with every key. */
export function scores(
  q: Float64Array,
  q0: number,
  k: readonly Float64Array[],
  kv0: number,
  d: number,
  root: number,
  at?: Site,
): Float64Array {
  return Float64Array.from(k, (key, j) => {
    const term = scratch(d);
    let dot = 0;
    for (let i = 0; i < d; i++) {
      term[i] = q[q0 + i]! * key[kv0 + i]!;
      dot += term[i]!;
    }
    const y = dot / root;
    if (!at) return y;
    const { b, variance } = sumError(term, d, at.profile.products, productKind(at.profile));
    // The scale is rounded, and so is the product with it.
    const own = 2 * U32 * Math.abs(dot);
    const sigma = Math.sqrt(variance + (own * own) / 6) / root;
    return at.after((q0 / d) * k.length + j, y, (b + own) / root, sigma, q0 / d);
  });
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
    return atExp.after(head * score.length + j, y, b, sigma, head);
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
  shape: AttentionShape,
  at: Site,
): number {
  const m = v.length;
  const term = scratch(m);
  let [size, squares] = [0, 0];
  let [cast, castSquares] = [0, 0];
  for (let j = 0; j < m; j++) {
    term[j] = weight[j]! * v[j]![channel]!;
    size += Math.abs(term[j]!);
    squares += term[j]! ** 2;
    if (!castsAttention(shape, at)) continue;
    const error = Math.abs(v[j]![channel]!) * halfError(weight[j]!);
    cast += error;
    castSquares += error * error;
  }
  const { b, variance } = sumError(term, m, at.profile.keys, productKind(at.profile));
  let worst = b + U32 * size + cast;
  let total = variance + (U32 * U32 * y * y + castSquares) / 3;
  if (at.profile.attention === 'F16') {
    // Accumulators of F16 over partial sums in an unknown order (spec: verdicts.md 5, flash attention). A key with a
    // new largest score also scales what was summed up so far, which is rounded again; the j-th key is one with
    // probability 1/j, and the mean of the squared sum before it over j, summed over all keys, is below the last two terms.
    const partials = (m / 6) * squares + (m / 3) * y * y + squares;
    const scaled = squares + (y * y) / 2;
    worst += 2 * m * (U16 * size + TINY16);
    total += ((U16 * U16) / 3) * (partials + scaled) + 2 * m * TINY16 * TINY16;
  }
  return at.after(element, y, worst, Math.sqrt(total));
}

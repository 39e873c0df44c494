/**
 * Attention in two passes, one query and head at a time: scores, exact maximum, exponentials summed with lane =
 * position mod 16, then values by position with cuts at positions divisible by 256. See native/attention.inl.h.
 */

import { pad16 } from '../plan.ts';
import { exp, fma, fold, softcap } from './math.ts';
import { asFloat } from './rows.ts';
import { readElements, type Views } from './views.ts';

const fround = Math.fround;
const lanes = new Float32Array(16);
let keys = new Float32Array(0);
let values = new Float32Array(0);
let weights = new Float32Array(0);

function grown(have: Float32Array<ArrayBuffer>, n: number): Float32Array<ArrayBuffer> {
  return have.length < n ? new Float32Array(n) : have;
}

/** Sum of q*k over d channels, as in a matrix product. */
function dot(q: Float32Array, q0: number, k0: number, d: number): number {
  let total = 0;
  for (let begin = 0; begin < d; begin += 64) {
    const end = Math.min(begin + 64, d);
    let acc = 0;
    for (let c = begin; c < end; c++) acc = fma(q[q0 + c]!, keys[k0 + c]!, acc);
    total = begin === 0 ? acc : fround(total + acc);
  }
  return total;
}

/** Turns the scores of keys [begin, end) into exponentials; the sum of them. */
function softmax(begin: number, end: number, first: number, positions: Int32Array, keyPos: number): number {
  let max = -Infinity;
  for (let i = begin; i < end; i++) if (weights[i - first]! > max) max = weights[i - first]!;
  lanes.fill(0);
  for (let i = begin; i < end; i++) {
    const e = exp(fround(weights[i - first]! - max));
    weights[i - first] = e;
    const lane = positions[keyPos + i]! & 15;
    lanes[lane] = lanes[lane]! + e;
  }
  return fold(lanes);
}

/** Sum over keys [begin, end) of e * value for one channel, cut at positions divisible by 256. */
function weigh(
  begin: number,
  end: number,
  first: number,
  d: number,
  c: number,
  pos: Int32Array,
  keyPos: number,
): number {
  let total = 0;
  let i = begin;
  while (i < end) {
    const block = pos[keyPos + i]! >> 8;
    const isFirst = i === begin;
    let acc = 0;
    for (; i < end && pos[keyPos + i]! >> 8 === block; i++) {
      acc = fma(weights[i - first]!, values[(i - first) * d + c]!, acc);
    }
    total = isFirst ? acc : fround(total + acc);
  }
  return total;
}

export function attention(a: Int32Array, groups: number, m: Views): void {
  const [, , q, qStride, dst, dstStride, nHead, nHeadKv, d, k, v, type, scaleBits, at, capBits, slopes] =
    a as unknown as number[];
  const scale = asFloat(scaleBits!);
  const cap = asFloat(capBits!);
  const index = m.index;
  const [groupKey, groupQuery, queryRow, queryBegin, queryEnd, keyCell, keyPos] = index.subarray(
    at!,
    at! + 7,
  );
  for (let g = 0; g < groups; g++) {
    const first = index[groupKey! + g]!;
    const last = index[groupKey! + g + 1]!;
    keys = grown(keys, (last - first) * d!);
    values = grown(values, (last - first) * d!);
    weights = grown(weights, last - first);
    for (let h = 0; h < nHead!; h++) {
      const perKv = nHead! / nHeadKv!;
      if (h % perKv === 0) {
        const head = (h / perKv) * d!;
        for (let i = first; i < last; i++) {
          const element = index[keyCell! + i]! * nHeadKv! * d! + head;
          readElements(m.cache, k!, element, type!, d!, keys, (i - first) * d!);
          readElements(m.cache, v!, element, type!, d!, values, (i - first) * d!);
        }
      }
      for (let j = index[groupQuery! + g]!; j < index[groupQuery! + g + 1]!; j++) {
        const row = index[queryRow! + j]!;
        const begin = index[queryBegin! + j]!;
        const end = index[queryEnd! + j]!;
        const q0 = q! + row * qStride! + h * d!;
        const to = dst! + row * dstStride! + h * d!;
        if (begin >= end) {
          m.act.fill(0, to, to + d!);
          continue;
        }
        for (let i = begin; i < end; i++) {
          const score = fround(dot(m.act, q0, (i - first) * d!, d!) * scale);
          const capped = cap > 0 ? softcap(score, cap) : score;
          const behind = index[keyPos! + i]! - index[keyPos! + end - 1]!;
          weights[i - first] = slopes! < 0 ? capped : fma(m.weights.f32[slopes! + h]!, behind, capped);
        }
        const sum = softmax(begin, end, first, index, keyPos!);
        for (let c = 0; c < d!; c++) {
          m.act[to + c] = fround(weigh(begin, end, first, d!, c, index, keyPos!) / sum);
        }
      }
    }
    for (let j = index[groupQuery! + g]!; j < index[groupQuery! + g + 1]!; j++) {
      const end = dst! + index[queryRow! + j]! * dstStride! + nHead! * d!;
      m.act.fill(0, end, end + pad16(nHead! * d!) - nHead! * d!);
    }
  }
}

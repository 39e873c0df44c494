/**
 * Experts: which ones each row goes to, products with the matrices of those, and the weighted sum of what comes out.
 * What each computes is said in native/plan.ts; the C++ twin is native/experts.inl.h.
 */
import { pad16, SHARES } from '../plan.ts';
import { exp, fma, fold, sigmoid } from './math.ts';
import { panelSums } from './matmul.ts';
import { readElements, type Views } from './views.ts';

const fround = Math.fround;
const lanes = new Float32Array(16);
let panel = new Float32Array(0);

/** Numbers of the n largest of `count` floats, ties to the lower number, ascending; and the largest float. */
function largest(x: Float32Array, at: number, count: number, n: number): { chosen: number[]; max: number } {
  const taken = new Set<number>();
  let max = 0;
  for (let s = 0; s < n; s++) {
    let best = -1;
    for (let i = 0; i < count; i++) {
      if (!taken.has(i) && (best < 0 || x[at + i]! > x[at + best]!)) best = i;
    }
    taken.add(best);
    if (s === 0) max = x[at + best]!;
  }
  return { chosen: [...taken].sort((i, j) => i - j), max };
}

export function route(a: Int32Array, rows: number, { act }: Views): void {
  const [, , logits, logitsStride, nExpert, nUsed, ids, weights, stride, shares] = a as unknown as number[];
  const all = shares === SHARES.all;
  for (let r = 0; r < rows; r++) {
    const from = logits! + r * logitsStride!;
    const { chosen, max } = largest(act, from, nExpert!, nUsed!);
    const toIds = ids! + r * stride!;
    const to = weights! + r * stride!;
    lanes.fill(0);
    for (let s = 0; s < nUsed!; s++) {
      act[toIds + s] = chosen[s]!;
      const logit = act[from + chosen[s]!]!;
      const e = shares === SHARES.sigmoid ? sigmoid(logit) : exp(fround(logit - max));
      act[to + s] = e;
      if (!all) lanes[s & 15] = lanes[s & 15]! + e;
    }
    for (let i = 0; all && i < nExpert!; i++)
      lanes[i & 15] = lanes[i & 15]! + exp(fround(act[from + i]! - max));
    const sum = shares === SHARES.sigmoid ? 1 : fold(lanes);
    for (let s = 0; s < nUsed!; s++) act[to + s] = fround(act[to + s]! / sum);
    act.fill(0, toIds + nUsed!, toIds + pad16(nUsed!));
    act.fill(0, to + nUsed!, to + pad16(nUsed!));
  }
}

export function expertMatmul(a: Int32Array, rows: number, m: Views): void {
  const [, , nExpert, nUsed, ids, idsStride, src, srcStride, perSlot, dst, dstStride, k, n, w, step, type] =
    a as unknown as number[];
  const { act } = m;
  if (panel.length < k! * 16) panel = new Float32Array(k! * 16);
  for (let e = 0; e < nExpert!; e++) {
    for (let c = 0; c < pad16(n!); c += 16) {
      let read = false;
      for (let slot = 0; slot < rows * nUsed!; slot++) {
        const r = Math.floor(slot / nUsed!);
        if (act[ids! + r * idsStride! + (slot % nUsed!)] !== e) continue;
        if (!read) readElements(m.weights, w! + e * step!, c * k!, type!, k! * 16, panel, 0);
        read = true;
        const sums = panelSums(act, src! + (perSlot ? slot : r) * srcStride!, panel, 0, k!);
        const at = dst! + slot * dstStride! + c;
        for (let lane = 0; lane < 16; lane++) act[at + lane] = c + lane < n! ? sums[lane]! : 0;
      }
    }
  }
}

export function expertSum(a: Int32Array, rows: number, { act }: Views): void {
  const [, , src, srcStride, weights, weightsStride, nUsed, dst, dstStride, n] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    const to = dst! + r * dstStride!;
    for (let c = 0; c < n!; c++) {
      let sum = 0;
      for (let s = 0; s < nUsed!; s++) {
        sum = fma(
          weights! < 0 ? 1 : act[weights! + r * weightsStride! + s]!,
          act[src! + (r * nUsed! + s) * srcStride! + c]!,
          sum,
        );
      }
      act[to + c] = fround(act[to + c]! + sum);
    }
    act.fill(0, to + n!, to + pad16(n!));
  }
}

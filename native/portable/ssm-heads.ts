/**
 * The state-space operations of Mamba-2: the scan over heads, and the gate with a norm of each group. What each
 * computes is said in native/plan.ts; the C++ twin is native/ssm_heads.inl.h.
 */

import { pad16 } from '../plan.ts';
import { exp, fma, fold, silu, softplus } from './math.ts';
import { asFloat } from './rows.ts';
import type { Sets } from './sets.ts';
import { loadState } from './ssm.ts';
import type { Views } from './views.ts';

const fround = Math.fround;
const lanes = new Float32Array(16);

export function ssmScanHeads(o: Int32Array, sets: Sets, m: Views): void {
  const words = o as unknown as number[];
  const [, , , x, xStride, dt, dtStride, b, bStride, c, cStride, dst, dstStride] = words;
  const [nHead, dHead, nGroup, nState, a, cache, srcIds, dstIds, moved] = words.slice(13);
  const n = nHead! * dHead!;
  const wide = pad16(nState!);
  const width = n * wide;
  const { act } = m;
  for (let s = 0; s < sets.parts; s++) {
    const first = sets.row(s);
    const state = loadState(m, cache!, moved!, m.index[srcIds! + s]!, width);
    for (let row = first; row < first + sets.length(s); row++) {
      for (let h = 0; h < nHead!; h++) {
        const delta = softplus(act[dt! + row * dtStride! + h]!);
        const decay = exp(fround(delta * m.weights.f32[a! + h]!));
        const group = Math.floor(h / (nHead! / nGroup!)) * nState!;
        const bAt = b! + row * bStride! + group;
        const cAt = c! + row * cStride! + group;
        for (let ch = h * dHead!; ch < (h + 1) * dHead!; ch++) {
          const xd = fround(act[x! + row * xStride! + ch]! * delta);
          lanes.fill(0);
          for (let i = 0; i < nState!; i++) {
            const now = fma(state[ch * wide + i]!, decay, fround(act[bAt + i]! * xd));
            state[ch * wide + i] = now;
            lanes[i & 15] = fma(now, act[cAt + i]!, lanes[i & 15]!);
          }
          act[dst! + row * dstStride! + ch] = fold(lanes);
        }
      }
      const end = dst! + row * dstStride!;
      act.fill(0, end + n, end + pad16(n));
    }
    m.cache.f32.set(state.subarray(0, width), cache! + m.index[dstIds! + s]! * width);
  }
}

export function ssmGateNorm(a: Int32Array, rows: number, m: Views): void {
  const words = a as unknown as number[];
  const [, , y, yStride, x, xStride, z, zStride, dst, dstStride, n, groups, skip, weight, epsBits] = words;
  const eps = asFloat(epsBits!);
  const size = n! / groups!;
  const { act } = m;
  const w = m.weights.f32;
  for (let r = 0; r < rows; r++) {
    const to = dst! + r * dstStride!;
    for (let g = 0; g < n!; g += size) {
      lanes.fill(0);
      for (let i = 0; i < size; i++) {
        const at = g + i;
        const v = fma(w[skip! + at]!, act[x! + r * xStride! + at]!, act[y! + r * yStride! + at]!);
        const gated = fround(v * silu(act[z! + r * zStride! + at]!));
        lanes[i & 15] = fma(gated, gated, lanes[i & 15]!);
        act[to + at] = gated;
      }
      const mean = fround(fold(lanes) / fround(size));
      const scale = fround(1 / fround(Math.sqrt(fround(mean + eps))));
      for (let at = g; at < g + size; at++)
        act[to + at] = fround(fround(act[to + at]! * scale) * w[weight! + at]!);
    }
    act.fill(0, to + n!, to + pad16(n!));
  }
}

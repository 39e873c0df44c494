/**
 * State-space operations over equal sets of tokens: causal convolution, selective scan and the output gate. Where old
 * states come from and new ones go to is said in native/plan.ts. The C++ twin is native/ssm.inl.h.
 */

import { exp, fma, fold, silu, softplus } from './math.ts';
import type { Sets } from './sets.ts';
import type { Views } from './views.ts';

const fround = Math.fround;
const lanes = new Float32Array(16);
let state = new Float32Array(0);

/** A copy of the old state of a part (`id` as in plan.ts), at least `width` long, for use until the next one is loaded. */
export function loadState(m: Views, cache: number, moved: number, id: number, width: number): Float32Array {
  if (state.length < width) state = new Float32Array(width);
  if (id === -1) {
    state.fill(0, 0, width);
    return state;
  }
  const from = id >= 0 ? m.cache.f32 : m.act;
  const at = id >= 0 ? cache + id * width : moved + (-2 - id) * width;
  for (let i = 0; i < width; i++) state[i] = from[at + i]!;
  return state;
}

export function ssmConv(a: Int32Array, sets: Sets, m: Views): void {
  const [, , , x, xStride, dst, dstStride, n, dConv, w, bias, cache, srcIds, dstIds, moved] =
    a as unknown as number[];
  const kept = dConv! - 1;
  const width = kept * n!;
  for (let s = 0; s < sets.parts; s++) {
    const tokens = sets.length(s);
    const row = sets.row(s);
    loadState(m, cache!, moved!, m.index[srcIds! + s]!, width);
    const x0 = x! + row * xStride!;
    /** Column j of the state's columns followed by the tokens. */
    const column = (j: number, c: number) =>
      j < kept ? state[j * n! + c]! : m.act[x0 + (j - kept) * xStride! + c]!;
    const to = cache! + m.index[dstIds! + s]! * width;
    for (let c = 0; c < n!; c++) {
      for (let t = 0; t < tokens; t++) {
        let acc = 0;
        for (let j = 0; j < dConv!; j++) acc = fma(column(t + j, c), m.weights.f32[w! + j * n! + c]!, acc);
        m.act[dst! + (row + t) * dstStride! + c] = silu(fround(acc + m.weights.f32[bias! + c]!));
      }
      for (let j = 0; j < kept; j++) m.cache.f32[to + j * n! + c] = column(tokens + j, c);
    }
  }
}

export function ssmScan(o: Int32Array, sets: Sets, m: Views): void {
  const words = o as unknown as number[];
  const [, , , x, xStride, dt, dtStride, b, bStride, c, cStride, dst, dstStride, n, nState] = words;
  const [a, cache, srcIds, dstIds, moved] = words.slice(15);
  const width = n! * nState!;
  for (let s = 0; s < sets.parts; s++) {
    const first = sets.row(s);
    loadState(m, cache!, moved!, m.index[srcIds! + s]!, width);
    for (let row = first; row < first + sets.length(s); row++) {
      for (let ch = 0; ch < n!; ch++) {
        const delta = softplus(m.act[dt! + row * dtStride! + ch]!);
        const xd = fround(m.act[x! + row * xStride! + ch]! * delta);
        lanes.fill(0);
        const at = (ch >> 4) * nState! * 16 + (ch & 15);
        for (let i = 0; i < nState!; i++) {
          const decay = exp(fround(delta * m.weights.f32[a! + at + i * 16]!));
          const input = fround(m.act[b! + row * bStride! + i]! * xd);
          const now = fma(state[at + i * 16]!, decay, input);
          state[at + i * 16] = now;
          lanes[i & 15] = fma(now, m.act[c! + row * cStride! + i]!, lanes[i & 15]!);
        }
        m.act[dst! + row * dstStride! + ch] = fold(lanes);
      }
    }
    m.cache.f32.set(state.subarray(0, width), cache! + m.index[dstIds! + s]! * width);
  }
}

export function ssmGate(a: Int32Array, rows: number, m: Views): void {
  const [, , y, yStride, x, xStride, z, zStride, dst, dstStride, n, dSkip] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < n!; i++) {
      const v = fma(m.weights.f32[dSkip! + i]!, m.act[x! + r * xStride! + i]!, m.act[y! + r * yStride! + i]!);
      m.act[dst! + r * dstStride! + i] = fround(v * silu(m.act[z! + r * zStride! + i]!));
    }
  }
}

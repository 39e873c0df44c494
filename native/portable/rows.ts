/**
 * The operations that work row by row: embeddings, norm, rotation, K/V store, SwiGLU and moves of rows and states.
 * What each computes is said in native/plan.ts; the C++ twin is native/rows.inl.h.
 */

import { pad16, ROPE, TYPE } from '../plan.ts';
import { fma, fold, silu, toHalf } from './math.ts';
import { readElements, type Views } from './views.ts';

const fround = Math.fround;
const lanes = new Float32Array(16);
const floats = new Float32Array(1);
const words = new Int32Array(floats.buffer);

/** The float32 with the bits of an operand. */
export function asFloat(bits: number): number {
  words[0] = bits;
  return floats[0]!;
}

export function embed(a: Int32Array, rows: number, m: Views): void {
  const [, , dst, dstStride, table, tableStride, type, n, ids] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    const at = dst! + r * dstStride!;
    readElements(m.weights, table!, m.index[ids! + r]! * tableStride!, type!, n!, m.act, at);
    m.act.fill(0, at + n!, at + pad16(n!));
  }
}

/** 1 / sqrt(mean of squares + eps) of n floats behind `from`. */
export function rmsScale(act: Float32Array, from: number, n: number, eps: number): number {
  lanes.fill(0);
  for (let i = 0; i < n; i++) {
    const x = act[from + i]!;
    lanes[i & 15] = fma(x, x, lanes[i & 15]!);
  }
  const mean = fround(fold(lanes) / fround(n));
  return fround(1 / fround(Math.sqrt(fround(mean + eps))));
}

export function rmsNorm(a: Int32Array, rows: number, m: Views): void {
  const [, , src, srcStride, dst, dstStride, n, weight, epsBits] = a as unknown as number[];
  const eps = asFloat(epsBits!);
  const act = m.act;
  for (let r = 0; r < rows; r++) {
    const from = src! + r * srcStride!;
    const to = dst! + r * dstStride!;
    const s = rmsScale(act, from, n!, eps);
    for (let i = 0; i < n!; i++) {
      const y = fround(act[from + i]! * s);
      act[to + i] = weight! < 0 ? y : fround(y * m.weights.f32[weight! + i]!);
    }
    act.fill(0, to + n!, to + pad16(n!));
  }
}

export function headNorm(a: Int32Array, rows: number, { act, weights }: Views): void {
  const [, , x, stride, nHead, d, weight, epsBits] = a as unknown as number[];
  const eps = asFloat(epsBits!);
  for (let r = 0; r < rows; r++) {
    for (let h = 0; h < nHead!; h++) {
      const at = x! + r * stride! + h * d!;
      const s = rmsScale(act, at, d!, eps);
      for (let i = 0; i < d!; i++) {
        const y = fround(act[at + i]! * s);
        act[at + i] = weight! < 0 ? y : fround(y * weights.f32[weight! + i]!);
      }
    }
  }
}

export function rope(a: Int32Array, rows: number, m: Views): void {
  const [, , x, stride, nHead, d, nRot, table, tableStride, type] = a as unknown as number[];
  const act = m.act;
  const half = nRot! >> 1;
  // Channels of pair i: first * i and first * i + second; cosines and sines lie as the channels do.
  const [first, second] = type === ROPE.NEOX ? [1, half] : [2, 1];
  for (let r = 0; r < rows; r++) {
    const t = table! + r * tableStride!;
    for (let h = 0; h < nHead!; h++) {
      const at = x! + r * stride! + h * d!;
      for (let i = 0; i < half; i++) {
        const a0 = i * first;
        const a1 = a0 + second;
        const x0 = act[at + a0]!;
        const x1 = act[at + a1]!;
        const cos = act[t + a0]!;
        const sin = act[t + a1]!;
        act[at + a0] = fma(x0, cos, -fround(x1 * sin));
        act[at + a1] = fma(x0, sin, fround(x1 * cos));
      }
    }
  }
}

/** False if a value does not fit: then nothing was stored. */
export function kvStore(a: Int32Array, rows: number, m: Views): boolean {
  const [, , src, stride, n, dst, type, cells] = a as unknown as number[];
  const limit = type === TYPE.F16 ? 65520 : Infinity; // from here on a half rounds to infinity
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < n!; i++) if (!(Math.abs(m.act[src! + r * stride! + i]!) < limit)) return false;
  }
  for (let r = 0; r < rows; r++) {
    const from = src! + r * stride!;
    const first = m.index[cells! + r]! * n!;
    if (type === TYPE.F16) {
      for (let i = 0; i < n!; i++) m.cache.u16[dst! * 2 + first + i] = toHalf(m.act[from + i]!);
    } else {
      for (let i = 0; i < n!; i++) m.cache.f32[dst! + first + i] = m.act[from + i]!;
    }
  }
  return true;
}

export function kvLoad(a: Int32Array, rows: number, m: Views): void {
  const [, , dst, stride, n, src, type, cells] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    const at = dst! + r * stride!;
    readElements(m.cache, src!, m.index[cells! + r]! * n!, type!, n!, m.act, at);
    m.act.fill(0, at + n!, at + pad16(n!));
  }
}

export function siluMul(a: Int32Array, rows: number, m: Views): void {
  const [, , gate, up, dst, stride, n] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    const at = r * stride!;
    for (let i = at; i < at + n!; i++) {
      m.act[dst! + i] = fround(silu(m.act[gate! + i]!) * m.act[up! + i]!);
    }
    m.act.fill(0, dst! + at + n!, dst! + at + pad16(n!));
  }
}

export function gatherRows(a: Int32Array, rows: number, m: Views): void {
  const [, , src, srcStride, dst, dstStride, n, ids] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    const from = src! + m.index[ids! + r]! * srcStride!;
    m.act.copyWithin(dst! + r * dstStride!, from, from + n!);
  }
}

export function stateGather(a: Int32Array, rows: number, m: Views): void {
  const [, , src, width, ids, dst] = a as unknown as number[];
  for (let i = 0; i < rows; i++) {
    const id = m.index[ids! + i]!;
    const to = dst! + i * width!;
    if (id < 0) m.act.fill(0, to, to + width!);
    else {
      const from = src! + id * width!;
      for (let j = 0; j < width!; j++) m.act[to + j] = m.cache.f32[from + j]!;
    }
  }
}

export function stateScatter(a: Int32Array, rows: number, m: Views): void {
  const [, , src, width, srcIds, dst, dstIds] = a as unknown as number[];
  for (let j = 0; j < rows; j++) {
    const from = src! + m.index[srcIds! + j]! * width!;
    const to = dst! + m.index[dstIds! + j]! * width!;
    for (let i = 0; i < width!; i++) m.cache.f32[to + i] = m.act[from + i]!;
  }
}

/**
 * What gemma has beside the operations of others: a gate with GELU, scaled rows, norms behind a part before it is added,
 * capped logits. What each computes is said in native/plan.ts; the C++ twin is native/gemma.inl.h.
 */

import { pad16 } from '../plan.ts';
import { gelu, softcap } from './math.ts';
import { asFloat, rmsScale } from './rows.ts';
import type { Views } from './views.ts';

const fround = Math.fround;

export function geluMul(a: Int32Array, rows: number, m: Views): void {
  const [, , gate, up, dst, stride, n] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    const at = r * stride!;
    for (let i = at; i < at + n!; i++) {
      m.act[dst! + i] = fround(gelu(m.act[gate! + i]!) * m.act[up! + i]!);
    }
    m.act.fill(0, dst! + at + n!, dst! + at + pad16(n!));
  }
}

export function scaleRows(a: Int32Array, rows: number, m: Views): void {
  const [, , x, stride, n, factorBits] = a as unknown as number[];
  const factor = asFloat(factorBits!);
  for (let r = 0; r < rows; r++) {
    const at = x! + r * stride!;
    for (let i = at; i < at + n!; i++) m.act[i] = fround(m.act[i]! * factor);
    m.act.fill(0, at + n!, at + pad16(n!));
  }
}

export function timesEach(a: Int32Array, rows: number, { act }: Views): void {
  const [, , src, srcStride, by, byStride, times, dst, dstStride, n] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    for (let s = 0; s < times!; s++) {
      const factor = act[by! + r * byStride! + s]!;
      const to = dst! + (r * times! + s) * dstStride!;
      for (let i = 0; i < n!; i++) act[to + i] = fround(act[src! + r * srcStride! + i]! * factor);
      act.fill(0, to + n!, to + pad16(n!));
    }
  }
}

export function normAdd(a: Int32Array, rows: number, m: Views): void {
  const [, , src, srcStride, dst, dstStride, n, weight, epsBits] = a as unknown as number[];
  const eps = asFloat(epsBits!);
  const act = m.act;
  for (let r = 0; r < rows; r++) {
    const from = src! + r * srcStride!;
    const to = dst! + r * dstStride!;
    const s = rmsScale(act, from, n!, eps);
    for (let i = 0; i < n!; i++) {
      const y = fround(fround(act[from + i]! * s) * m.weights.f32[weight! + i]!);
      act[to + i] = fround(act[to + i]! + y);
    }
    act.fill(0, to + n!, to + pad16(n!));
  }
}

export function outputRows(a: Int32Array, rows: number, m: Views): void {
  const [, , src, srcStride, n, rowMap] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    const from = src! + r * srcStride!;
    m.out.set(m.act.subarray(from, from + n!), m.index[rowMap! + r]! * n!);
  }
}

export function capOutputs(a: Int32Array, rows: number, m: Views): void {
  const [, , n, capBits, rowMap] = a as unknown as number[];
  const cap = asFloat(capBits!);
  for (let r = 0; r < rows; r++) {
    const at = m.index[rowMap! + r]! * n!;
    for (let i = at; i < at + n!; i++) m.out[i] = softcap(m.out[i]!, cap);
  }
}

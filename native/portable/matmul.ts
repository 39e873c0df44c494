/**
 * Matrix product by the bit contract: each output sums its terms in index order in blocks of 64, one fma at a time
 * from zero, and adds the blocks' sums in order; then bias, then the old value. See native/matmul.inl.h.
 */

import { SPACE } from '../plan.ts';
import { fma } from './math.ts';
import { readElements, type Views } from './views.ts';

const fround = Math.fround;
let panel = new Float32Array(0);
const sums = new Float32Array(16);

/** The products of k floats of `x` with a packed panel of 16 outputs, in an array that the next call fills again. */
export function panelSums(x: Float32Array, x0: number, w: Float32Array, w0: number, k: number): Float32Array {
  for (let lane = 0; lane < 16; lane += 4) {
    let t0 = 0;
    let t1 = 0;
    let t2 = 0;
    let t3 = 0;
    for (let begin = 0; begin < k; begin += 64) {
      const end = Math.min(begin + 64, k);
      let a0 = 0;
      let a1 = 0;
      let a2 = 0;
      let a3 = 0;
      for (let i = begin, j = w0 + begin * 16 + lane; i < end; i++, j += 16) {
        const xi = x[x0 + i]!;
        a0 = fma(xi, w[j]!, a0);
        a1 = fma(xi, w[j + 1]!, a1);
        a2 = fma(xi, w[j + 2]!, a2);
        a3 = fma(xi, w[j + 3]!, a3);
      }
      t0 = begin === 0 ? a0 : fround(t0 + a0);
      t1 = begin === 0 ? a1 : fround(t1 + a1);
      t2 = begin === 0 ? a2 : fround(t2 + a2);
      t3 = begin === 0 ? a3 : fround(t3 + a3);
    }
    sums[lane] = t0;
    sums[lane + 1] = t1;
    sums[lane + 2] = t2;
    sums[lane + 3] = t3;
  }
  return sums;
}

/** Operands of a matmul record, after its opcode. */
export function matmul(a: Int32Array, rows: number, m: Views): void {
  const [, , src, srcStride, dstSpace, dst, dstStride, k, n, store, w, type, bias, add, rowMap] =
    a as unknown as number[];
  const to = dstSpace === SPACE.out ? m.out : m.act;
  if (panel.length < k! * 16) panel = new Float32Array(k! * 16);
  for (let c0 = 0; c0 < n!; c0 += 16) {
    readElements(m.weights, w!, c0 * k!, type!, k! * 16, panel, 0);
    const width = Math.min(16, store! - c0);
    for (let r = 0; r < rows; r++) {
      panelSums(m.act, src! + r * srcStride!, panel, 0, k!);
      const row = rowMap! < 0 ? r : m.index[rowMap! + r]!;
      const at = dst! + row * dstStride! + c0;
      for (let lane = 0; lane < width; lane++) {
        let v = sums[lane]!;
        if (c0 + lane >= n!) v = 0;
        else {
          if (bias! >= 0) v = fround(v + m.weights.f32[bias! + c0 + lane]!);
          if (add) v = fround(v + to[at + lane]!);
        }
        to[at + lane] = v;
      }
    }
  }
}

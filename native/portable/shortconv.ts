/**
 * The short convolution of lfm2 over equal sets of tokens. What it computes is said in native/plan.ts; the C++ twin is
 * native/shortconv.inl.h.
 */
import { fma } from './math.ts';
import type { Sets } from './sets.ts';
import type { Views } from './views.ts';

const fround = Math.fround;

export function shortConv(a: Int32Array, sets: Sets, m: Views): void {
  const words = a as unknown as number[];
  const [, , , b, gate, x, stride, dst, dstStride, n, dConv, w] = words;
  const [cache, srcIds, dstIds, moved] = words.slice(12);
  const { act } = m;
  const kept = dConv! - 1;
  for (let s = 0; s < sets.parts; s++) {
    const row = sets.row(s);
    const tokens = sets.length(s);
    const id = m.index[srcIds! + s]!;
    const old = id >= 0 ? m.cache.f32 : act;
    const from = id >= 0 ? cache! + id * kept * n! : moved! + (-2 - id) * kept * n!;
    /** Column j of the state's columns followed by the gated inputs. */
    const column = (j: number, c: number): number => {
      if (j >= kept) return act[x! + (row + j - kept) * stride! + c]!;
      return id === -1 ? 0 : old[from + j * n! + c]!;
    };
    const to = cache! + m.index[dstIds! + s]! * kept * n!;
    for (let c = 0; c < n!; c++) {
      for (let t = row; t < row + tokens; t++) {
        const at = t * stride! + c;
        act[x! + at] = fround(act[b! + at]! * act[x! + at]!);
      }
      for (let t = 0; t < tokens; t++) {
        let acc = 0;
        for (let j = 0; j < dConv!; j++) acc = fma(column(t + j, c), m.weights.f32[w! + j * n! + c]!, acc);
        act[dst! + (row + t) * dstStride! + c] = fround(act[gate! + (row + t) * stride! + c]! * acc);
      }
      // Ascending, so that a state may move down within its own row.
      for (let j = 0; j < kept; j++) m.cache.f32[to + j * n! + c] = column(tokens + j, c);
    }
  }
}

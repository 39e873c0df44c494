/**
 * The operations of RWKV; what each computes is said in native/plan-rwkv.ts. The C++ twin is native/rwkv.inl.h.
 */

import { pad16 } from '../plan.ts';
import { FUNCTION } from '../plan-rwkv.ts';
import { exp, fma, fold, sigmoid, tanh } from './math.ts';
import { asFloat } from './rows.ts';
import type { Sets } from './sets.ts';
import { loadState } from './ssm.ts';
import type { Views } from './views.ts';

const fround = Math.fround;
const lanes = new Float32Array(16);

/** Zeros from the last column of a row to its end. */
function zeroBehind(act: Float32Array, row: number, n: number): void {
  act.fill(0, row + n, row + pad16(n));
}

export function layerNorm(a: Int32Array, rows: number, m: Views): void {
  const [, , src, dst, stride, nPart, n, weight, bias, epsBits] = a as unknown as number[];
  const eps = asFloat(epsBits!);
  const { act } = m;
  const w = m.weights.f32;
  for (let r = 0; r < rows; r++) {
    for (let part = 0; part < nPart!; part++) {
      const own = part * n!;
      const [from, to] = [src! + r * stride! + own, dst! + r * stride! + own];
      lanes.fill(0);
      for (let i = 0; i < n!; i++) lanes[i & 15] = lanes[i & 15]! + act[from + i]!;
      const mean = fround(fold(lanes) / fround(n!));
      lanes.fill(0);
      for (let i = 0; i < n!; i++) {
        const x = fround(act[from + i]! - mean);
        lanes[i & 15] = fma(x, x, lanes[i & 15]!);
      }
      const s = fround(1 / fround(Math.sqrt(fround(fround(fold(lanes) / fround(n!)) + eps))));
      for (let i = 0; i < n!; i++) {
        const x = fround(fround(act[from + i]! - mean) * s);
        act[to + i] = fma(x, w[weight! + own + i]!, w[bias! + own + i]!);
      }
    }
    zeroBehind(act, dst! + r * stride!, nPart! * n!);
  }
}

export function tokenShift(a: Int32Array, sets: Sets, m: Views): void {
  const [, , , x, dst, stride, n, cache, srcIds, dstIds, moved] = a as unknown as number[];
  for (let s = 0; s < sets.parts; s++) {
    const tokens = sets.length(s);
    const first = sets.row(s) * stride!;
    const state = loadState(m, cache!, moved!, m.index[srcIds! + s]!, n!).subarray(0, n!);
    for (let i = 0; i < n!; i++) m.act[dst! + first + i] = state[i]!;
    for (let t = 1; t < tokens; t++) {
      const before = x! + first + (t - 1) * stride!;
      m.act.copyWithin(dst! + first + t * stride!, before, before + n!);
    }
    const last = x! + first + (tokens - 1) * stride!;
    m.cache.f32.set(m.act.subarray(last, last + n!), cache! + m.index[dstIds! + s]! * n!);
  }
}

export function lerp(a: Int32Array, rows: number, m: Views): void {
  const [, , x, to, dst, stride, n, weight, way] = a as unknown as number[];
  for (let r = 0; r < rows; r++) {
    for (let i = r * stride!; i < r * stride! + n!; i++) {
      const from = m.act[x! + i]!;
      const fixed = weight! < 0 ? 0 : m.weights.f32[weight! + i - r * stride!]!;
      const by = way! < 0 ? fixed : weight! < 0 ? m.act[way! + i]! : fround(fixed + m.act[way! + i]!);
      m.act[dst! + i] = fma(fround(m.act[to! + i]! - from), by, from);
    }
  }
}

const STRONGEST_DECAY = fround(-0.606531);

function reluSquared(x: number): number {
  const y = Math.max(x, 0);
  return fround(y * y);
}

const APPLY: Readonly<Record<number, (x: number) => number>> = {
  [FUNCTION.tanh]: tanh,
  [FUNCTION.sigmoid]: sigmoid,
  [FUNCTION.reluSquared]: reluSquared,
  [FUNCTION.decay6]: (x) => exp(-exp(x)),
  [FUNCTION.decay7]: (x) => exp(fround(STRONGEST_DECAY * sigmoid(x))),
};

/** False for a function that there is not. */
export function pointwise(a: Int32Array, rows: number, m: Views): boolean {
  const [, , x, stride, n, f] = a as unknown as number[];
  const apply = APPLY[f!];
  if (apply === undefined) return false;
  for (let r = 0; r < rows; r++) {
    const row = x! + r * stride!;
    for (let i = row; i < row + n!; i++) m.act[i] = apply(m.act[i]!);
    zeroBehind(m.act, row, n!);
  }
  return true;
}

export function gatedAdd(a: Int32Array, rows: number, m: Views): void {
  const [, , gate, y, x, stride, n, scaleBits] = a as unknown as number[];
  const scale = asFloat(scaleBits!);
  for (let r = 0; r < rows; r++) {
    for (let i = r * stride!; i < r * stride! + n!; i++) {
      const sum = fma(sigmoid(m.act[gate! + i]!), m.act[y! + i]!, m.act[x! + i]!);
      m.act[x! + i] = fround(sum * scale);
    }
  }
}

const SHORTEST = fround(1e-12);

export function wkv7Keys(a: Int32Array, rows: number, m: Views): void {
  const [, , k, iclr, kappa, b, stride, nHead, d, keyScale, keyIclr] = a as unknown as number[];
  const { act } = m;
  const w = m.weights.f32;
  for (let r = 0; r < rows; r++) {
    const row = r * stride!;
    for (let h = 0; h < nHead! * d!; h += d!) {
      lanes.fill(0);
      for (let i = 0; i < d!; i++) {
        const q = fround(act[k! + row + h + i]! * w[keyScale! + h + i]!);
        lanes[i & 15] = fma(q, q, lanes[i & 15]!);
      }
      const length = fround(Math.sqrt(fold(lanes)));
      const s = fround(1 / Math.max(length, SHORTEST));
      for (let i = h; i < h + d!; i++) {
        const [key, rate] = [act[k! + row + i]!, act[iclr! + row + i]!];
        const unit = fround(fround(key * w[keyScale! + i]!) * s);
        act[kappa! + row + i] = unit;
        act[b! + row + i] = fround(unit * rate);
        act[k! + row + i] = fround(key * fma(fround(rate - 1), w[keyIclr! + i]!, 1));
      }
    }
    zeroBehind(act, kappa! + row, nHead! * d!);
    zeroBehind(act, b! + row, nHead! * d!);
  }
}

export function wkv7Output(a: Int32Array, rows: number, m: Views): void {
  const [, , y, r, k, v, g, stride, nHead, d, rk] = a as unknown as number[];
  const { act } = m;
  for (let row = 0; row < rows * stride!; row += stride!) {
    for (let h = 0; h < nHead! * d!; h += d!) {
      lanes.fill(0);
      for (let i = 0; i < d!; i++) {
        const kr = fround(act[k! + row + h + i]! * act[r! + row + h + i]!);
        lanes[i & 15] = fma(kr, m.weights.f32[rk! + h + i]!, lanes[i & 15]!);
      }
      const s = fold(lanes);
      for (let i = row + h; i < row + h + d!; i++) {
        act[y! + i] = fround(fma(s, act[v! + i]!, act[y! + i]!) * act[g! + i]!);
      }
    }
  }
}

/** Sums over keys are cut like those of a matrix product. */
const KEY_BLOCK = 64;

/** The sum of d terms, where `add(j, sum)` is sum plus term j. */
function overKeys(d: number, add: (j: number, sum: number) => number): number {
  let total = 0;
  for (let begin = 0; begin < d; begin += KEY_BLOCK) {
    let sum = 0;
    for (let j = begin; j < Math.min(begin + KEY_BLOCK, d); j++) sum = add(j, sum);
    total = begin === 0 ? sum : fround(total + sum);
  }
  return total;
}

export function wkv6(a: Int32Array, sets: Sets, m: Views): void {
  const [, , , r, w, k, v, dst, stride, nHead, d, u, ...states] = a as unknown as number[];
  const [cache, srcIds, dstIds, moved] = states;
  const { act } = m;
  const wide = pad16(d!);
  const width = nHead! * d! * wide;
  for (let s = 0; s < sets.parts; s++) {
    const first = sets.row(s);
    const state = loadState(m, cache!, moved!, m.index[srcIds! + s]!, width).subarray(0, width);
    for (let t = 0; t < sets.length(s); t++) {
      const row = (first + t) * stride!;
      for (let h = 0; h < nHead! * d!; h += d!) {
        for (let j = 0; j < d!; j++) {
          const value = act[v! + row + h + j]!;
          act[dst! + row + h + j] = overKeys(d!, (i, sum) => {
            const at = (h + i) * wide + j;
            const key = row + h + i;
            const kv = fround(act[k! + key]! * value);
            const old = state[at]!;
            state[at] = fma(old, act[w! + key]!, kv);
            return fma(act[r! + key]!, fma(m.weights.f32[u! + h + i]!, kv, old), sum);
          });
        }
      }
      zeroBehind(act, dst! + row, nHead! * d!);
    }
    m.cache.f32.set(state, cache! + m.index[dstIds! + s]! * width);
  }
}

export function wkv7(a: Int32Array, sets: Sets, m: Views): void {
  const [, , , r, w, k, v, kappa, b, dst, stride, nHead, d, ...states] = a as unknown as number[];
  const [cache, srcIds, dstIds, moved] = states;
  const { act } = m;
  const wide = pad16(d!);
  const width = nHead! * d! * wide;
  for (let s = 0; s < sets.parts; s++) {
    const first = sets.row(s);
    const state = loadState(m, cache!, moved!, m.index[srcIds! + s]!, width).subarray(0, width);
    for (let t = 0; t < sets.length(s); t++) {
      const row = (first + t) * stride!;
      for (let h = 0; h < nHead! * d!; h += d!) {
        for (let i = 0; i < d!; i++) {
          const value = act[v! + row + h + i]!;
          const place = (j: number) => (h + j) * wide + i;
          const removed = overKeys(d!, (j, sum) => fma(-act[kappa! + row + h + j]!, state[place(j)]!, sum));
          act[dst! + row + h + i] = overKeys(d!, (j, sum) => {
            const key = row + h + j;
            const input = fma(removed, act[b! + key]!, fround(value * act[k! + key]!));
            const now = fma(state[place(j)]!, act[w! + key]!, input);
            state[place(j)] = now;
            return fma(now, act[r! + key]!, sum);
          });
        }
      }
      zeroBehind(act, dst! + row, nHead! * d!);
    }
    m.cache.f32.set(state, cache! + m.index[dstIds! + s]! * width);
  }
}

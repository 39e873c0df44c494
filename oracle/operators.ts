/**
 * The operators that a forward pass is written with, over rows of any kind: numbers alone (`plain`, here), or numbers
 * with the variance of their rounding errors (`variance.ts`). `op` names the place with its layer, such as
 * `blk.0.attn_q`; the rope of all layers has one name, because its cosines and sines are the same.
 */
import { IsobatchError } from '../contract/errors.ts';
import { type AttentionShape, attend } from './attention.ts';
import type { ForwardOptions } from './forward.ts';
import { geluRow } from './gelu.ts';
import { roundToHalf } from './half.ts';
import {
  add,
  joined,
  type Matrix,
  matVec,
  mul,
  noisyHalf,
  type RopeShape,
  rmsNorm,
  rope,
  row,
  siluRow,
} from './math.ts';
import { scaled } from './pointwise.ts';
import { type Rounding, type Site, siteOf } from './rounding.ts';
import { softcapRow } from './softcap.ts';
import { ssmConv, ssmScan } from './ssm.ts';

export interface Scanned<R> {
  readonly y: R;
  readonly state: R;
}

export interface Operators<R> {
  /** Row of a token in a table. */
  row(w: Matrix, token: number): R;
  /** A row of weights. */
  constant(w: Float64Array): R;
  zeros(n: number): R;
  slice(x: R, begin: number, end?: number): R;
  /** Rows one behind the other. */
  join(parts: readonly R[]): R;
  matVec(w: Matrix, x: R, op: string): R;
  add(a: R, b: R, op: string): R;
  mul(a: R, b: R, op: string): R;
  /** x times a float32. */
  scale(x: R, factor: number, op: string): R;
  silu(x: R, op: string): R;
  gelu(x: R, op: string): R;
  /** cap tanh(x / cap) */
  softcap(x: R, cap: number, op: string): R;
  rmsNorm(x: R, eps: number, w: Float64Array | undefined, op: string): R;
  rope(x: R, pos: number, shape: RopeShape): R;
  /** K or V as memory keeps it. */
  stored(x: R, op: string): R;
  attend(q: R, k: readonly R[], v: readonly R[], shape: AttentionShape, op: string): R;
  /** The newest column of a convolution over `columns`, oldest first. */
  ssmConv(columns: readonly R[], w: Matrix, op: string): R;
  ssmScan(state: R, A: Matrix, token: { x: R; dt: R; B: R; C: R }, op: string): Scanned<R>;
}

/** Numbers alone; exact, or with every operation rounded by `rounding`. Throws `memory.overflow` (see `stored`). */
export function plain(options: ForwardOptions = {}, rounding?: Rounding): Operators<Float64Array> {
  const at = (op: string): Site | undefined => rounding && siteOf(rounding, op);
  return {
    row,
    constant: (w) => w,
    zeros: (n) => new Float64Array(n),
    slice: (x, begin, end) => x.slice(begin, end),
    join: joined,
    matVec: (w, x, op) => matVec(w, x, at(op)),
    add: (a, b, op) => add(a, b, at(op)),
    mul: (a, b, op) => mul(a, b, at(op)),
    scale: (x, factor, op) => scaled(x, factor, at(op)),
    silu: (x, op) => siluRow(x, at(op)),
    gelu: (x, op) => geluRow(x, at(op)),
    softcap: (x, cap, op) => softcapRow(x, cap, at(op)),
    rmsNorm: (x, eps, w, op) => rmsNorm(x, eps, w, at(op)),
    rope: (x, pos, shape) => rope(x, pos, shape, at('rope')),
    stored: (x, op) => {
      if (!storesHalf(options, rounding?.profile)) return x;
      return rounding ? noisyHalf(x, siteOf(rounding, op)) : half(x, op);
    },
    attend: (q, k, v, shape, op) =>
      attend(q, k, v, { ...shape, half: storesHalf(options, rounding?.profile) }, at(op)),
    ssmConv: (columns, w, op) => ssmConv(columns, w, at(op))[0]!,
    ssmScan: (state, A, token, op) => {
      const scan = ssmScan(state, A, [token], at(op));
      return { y: scan.y[0]!, state: scan.state };
    },
  };
}

/** Whether K and V are kept in F16. */
export function storesHalf(options: ForwardOptions, profile?: Rounding['profile']): boolean {
  return options.type_kv === 'F16' || profile?.kv === 'F16';
}

/** Rounded as memory does it. Throws `memory.overflow`. */
function half(x: Float64Array, what: string): Float64Array {
  const rounded = x.map(roundToHalf);
  const i = rounded.findIndex((value) => !Number.isFinite(value));
  if (i >= 0) {
    throw new IsobatchError('memory.overflow', `${what}, element ${i}: ${x[i]} does not fit F16`, {
      element: i,
      value: x[i],
    });
  }
  return rounded;
}

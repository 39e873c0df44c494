/**
 * The operators that a forward pass is written with, over rows of any kind: numbers alone (`plain`, here), or numbers
 * with the variance of their rounding errors (`variance.ts`). `op` names the place with its layer, such as
 * `blk.0.attn_q`; the rope of all layers has one name, because its cosines and sines are the same.
 */
import { IsobatchError } from '../contract/errors.ts';
import { type AttentionShape, attend } from './attention.ts';
import { expertWeights, plainSum, type Weighting, weightedSum } from './experts.ts';
import type { ForwardOptions } from './forward.ts';
import { geluRow } from './gelu.ts';
import { roundToHalf } from './half.ts';
import { partSums, standardized, unitParts } from './layer-norm.ts';
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
import { lerp, type PointwiseName, pointwise, scaled } from './pointwise.ts';
import { type Rounding, type Site, siteOf } from './rounding.ts';
import { largest, type Place } from './routes.ts';
import { softcapRow } from './softcap.ts';
import { ssmConv, ssmScan } from './ssm.ts';
import { ssmScanHeads } from './ssm-heads.ts';
import { type Wkv6Input, type Wkv7Input, type WkvResult, wkv6, wkv7 } from './wkv.ts';

export interface Scanned<R> {
  readonly y: R;
  readonly state: R;
}

/** What RWKV is made of beside the operators that others have. */
export interface RwkvOperators<R> {
  /** A function of each number. */
  apply(name: PointwiseName, x: R, op: string): R;
  /** x times a float32. */
  scale(x: R, factor: number, op: string): R;
  /** x + (to - x) by */
  lerp(x: R, to: R, by: R, op: string): R;
  /** Each of n_part equal parts of a row: mean 0 and variance 1. */
  standardize(x: R, n_part: number, eps: number, op: string): R;
  /** Each part: length 1, or x / eps if it is shorter than eps. */
  unitParts(x: R, n_part: number, eps: number, op: string): R;
  /** The sum of each part, in every place of it. */
  partSums(x: R, n_part: number, op: string): R;
  wkv6(state: R, token: Wkv6Input<R>, u: Float64Array, n_head: number, op: string): WkvResult<R>;
  wkv7(state: R, token: Wkv7Input<R>, n_head: number, op: string): WkvResult<R>;
}

export interface Operators<R> extends RwkvOperators<R> {
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
  /**
   * The weighted sum of what the `n_used` experts with the largest logits give for a token; `expert` gives the row of
   * one. Weights are shares of the chosen ones (default), or of all, or 1.
   */
  mixture(
    logits: R,
    n_used: number,
    expert: (e: number) => R,
    place: Place,
    op: string,
    weighting?: Weighting,
  ): R;
  /** The newest column of a convolution over `columns`, oldest first. */
  ssmConv(columns: readonly R[], w: Matrix, op: string): R;
  ssmScan(state: R, A: Matrix, token: ScanToken<R>, op: string): Scanned<R>;
  /** One A per head, B and C per group. */
  ssmScanHeads(state: R, A: Float64Array, token: ScanToken<R>, n_group: number, op: string): Scanned<R>;
}

/** What a token gives a scan; dt before softplus. */
export interface ScanToken<R> {
  readonly x: R;
  readonly dt: R;
  readonly B: R;
  readonly C: R;
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
    mixture: (logits, n_used, expert, place, op, shares) => {
      const chosen = options.routes?.at(place) ?? largest(logits, n_used);
      options.noted?.set(place, chosen);
      const rows = chosen.map(expert);
      if (shares === 'none') return plainSum(rows, at(op));
      return weightedSum(expertWeights(logits, chosen, at(op)?.step('weight'), shares), rows, at(op));
    },
    ssmConv: (columns, w, op) => ssmConv(columns, w, at(op))[0]!,
    ssmScan: (state, A, token, op) => {
      const scan = ssmScan(state, A, [token], at(op));
      return { y: scan.y[0]!, state: scan.state };
    },
    ssmScanHeads: (state, A, token, n_group, op) => {
      const scan = ssmScanHeads(state, A, [token], n_group, at(op));
      return { y: scan.y[0]!, state: scan.state };
    },
    apply: (name, x, op) => pointwise(name, x, at(op)),
    scale: (x, factor, op) => scaled(x, factor, at(op)),
    lerp: (x, to, by, op) => lerp(x, to, by, at(op)),
    standardize: (x, n_part, eps, op) => standardized(x, n_part, eps, at(op)),
    unitParts: (x, n_part, eps, op) => unitParts(x, n_part, eps, at(op)),
    partSums: (x, n_part, op) => partSums(x, n_part, at(op)),
    wkv6: (state, token, u, n_head, op) => wkv6(state, token, u, n_head, at(op)),
    wkv7: (state, token, n_head, op) => wkv7(state, token, n_head, at(op)),
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

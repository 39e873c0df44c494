/**
 * The operations of RWKV as records of a plan; operands and what each computes are said here, everything else in
 * `plan.ts`. Rows of one operation have one stride. Kernels: native/rwkv.inl.h and native/portable/rwkv.ts.
 */
import { DIM, floatBits, OP, type PlanBuilder } from './plan.ts';

/** Functions of `pointwise`. */
export const FUNCTION = { tanh: 0, sigmoid: 1, reluSquared: 2, decay6: 3, decay7: 4 } as const;

/**
 * act dst[r] = ((src[r] - mean) * s) * weight + bias for each of nPart parts of n values, one behind the other:
 * mean = sum / n, s = 1 / sqrt(sum of (src - mean)^2 / n + eps), the sums those of the bit contract, the last two steps
 * one fma. weight and bias (weights, nPart * n floats, padded). src and dst may be the same.
 */
export function layerNorm(
  plan: PlanBuilder,
  a: {
    rows: number;
    src: number;
    dst: number;
    stride: number;
    nPart: number;
    n: number;
    weight: number;
    bias: number;
    eps: number;
  },
): void {
  const { rows, src, dst, stride, nPart, n, weight, bias, eps } = a;
  plan.record(OP.layerNorm, rows, src, dst, stride, nPart, n, weight, bias, floatBits(eps));
}

/**
 * Over equal sets of tokens: act dst[r] = the row of x before it in its set, for the first of a set the old state. The
 * new state is the last row. Rows and states have n floats, a multiple of 16; where states come from and go to: as in
 * ssmConv. x and dst do not overlap.
 */
export function tokenShift(
  plan: PlanBuilder,
  a: {
    x: number;
    dst: number;
    stride: number;
    n: number;
    state: number;
    srcIds: number;
    dstIds: number;
    moved: number;
  },
): void {
  const { x, dst, stride, n, state, srcIds, dstIds, moved } = a;
  plan.record(OP.tokenShift, DIM.seqs, DIM.seq_tokens, x, dst, stride, n, state, srcIds, dstIds, moved);
}

/**
 * act dst[r] = fma(to[r] - x[r], by, x[r]), n floats (a multiple of 16). `by` is `weight` (weights, one row for all, or
 * -1), or act row `way[r]` (-1: none), or their sum if both are there. dst may be any of the rows.
 */
export function lerp(
  plan: PlanBuilder,
  a: {
    rows: number;
    x: number;
    to: number;
    dst: number;
    stride: number;
    n: number;
    weight: number;
    way: number;
  },
): void {
  plan.record(OP.lerp, a.rows, a.x, a.to, a.dst, a.stride, a.n, a.weight, a.way);
}

/**
 * act x[r, i] = f(x[r, i]), i < n, with f of FUNCTION: tanh, sigmoid, max(x, 0)^2, exp(-exp(x)), exp(c sigmoid(x))
 * with c = -0.606531.
 */
export function pointwise(
  plan: PlanBuilder,
  a: { rows: number; x: number; stride: number; n: number; f: number },
): void {
  plan.record(OP.pointwise, a.rows, a.x, a.stride, a.n, a.f);
}

/** act x[r] = fma(sigmoid(gate[r]), y[r], x[r]) * scale, n floats (a multiple of 16). */
export function gatedAdd(
  plan: PlanBuilder,
  a: {
    rows: number;
    gate: number;
    y: number;
    x: number;
    stride: number;
    n: number;
    scale: number;
  },
): void {
  plan.record(OP.gatedAdd, a.rows, a.gate, a.y, a.x, a.stride, a.n, floatBits(a.scale));
}

/**
 * The recurrence of RWKV-6 over equal sets of tokens: nHead heads of d channels. Values are the lanes. For each value j
 * of a head, keys i in order, sums as in a matrix product: kv = k_i v_j; y = fma(r_i, fma(u_i, kv, M_ij), y);
 * M_ij = fma(M_ij, w_i, kv). All rows have one stride. States are [nHead][d][pad16(d)]; where they come from and go
 * to: as in ssmConv. u (weights) has nHead * d floats.
 */
export function wkv6(
  plan: PlanBuilder,
  a: {
    r: number;
    w: number;
    k: number;
    v: number;
    dst: number;
    stride: number;
    nHead: number;
    d: number;
    u: number;
    state: number;
    srcIds: number;
    dstIds: number;
    moved: number;
  },
): void {
  const { r, w, k, v, dst, stride, nHead, d, u, state, srcIds, dstIds, moved } = a;
  const rows = [r, w, k, v, dst, stride, nHead, d, u];
  plan.record(OP.wkv6, DIM.seqs, DIM.seq_tokens, ...rows, state, srcIds, dstIds, moved);
}

/**
 * What RWKV-7 makes of keys and learning rates, in heads of d channels: q = k * keyScale, kappa = q / max(|q|, 1e-12)
 * with |q| the root of a row sum; k = k * fma(iclr - 1, keyIclr, 1) in place; b = kappa * iclr. keyScale and keyIclr
 * (weights) have nHead * d floats, padded.
 */
export function wkv7Keys(
  plan: PlanBuilder,
  a: {
    rows: number;
    k: number;
    iclr: number;
    kappa: number;
    b: number;
    stride: number;
    nHead: number;
    d: number;
    keyScale: number;
    keyIclr: number;
  },
): void {
  const { rows, k, iclr, kappa, b, stride, nHead, d, keyScale, keyIclr } = a;
  plan.record(OP.wkv7Keys, rows, k, iclr, kappa, b, stride, nHead, d, keyScale, keyIclr);
}

/**
 * The recurrence of RWKV-7 over equal sets of tokens, in heads of d channels. Values are the lanes. For each value i of
 * a head, keys j in order, sums as in a matrix product: s = fma(-kappa_j, M_ij, s); then M_ij = fma(M_ij, w_j,
 * fma(s, b_j, v_i k_j)) and y = fma(M_ij, r_j, y). All rows have one stride. States are [nHead][d keys][pad16(d)
 * values]; where they come from and go to: as in ssmConv.
 */
export function wkv7(
  plan: PlanBuilder,
  a: {
    r: number;
    w: number;
    k: number;
    v: number;
    kappa: number;
    b: number;
    dst: number;
    stride: number;
    nHead: number;
    d: number;
    state: number;
    srcIds: number;
    dstIds: number;
    moved: number;
  },
): void {
  const { r, w, k, v, kappa, b, dst, stride, nHead, d, state, srcIds, dstIds, moved } = a;
  const rows = [r, w, k, v, kappa, b, dst, stride, nHead, d];
  plan.record(OP.wkv7, DIM.seqs, DIM.seq_tokens, ...rows, state, srcIds, dstIds, moved);
}

/**
 * act y[r] = fma(s, v[r], y[r]) * g[r], where s is the row sum of (k * r) * rk over the head's d channels, terms
 * fma(k * r, rk, lane). rk (weights) has nHead * d floats.
 */
export function wkv7Output(
  plan: PlanBuilder,
  a: {
    rows: number;
    y: number;
    r: number;
    k: number;
    v: number;
    g: number;
    stride: number;
    nHead: number;
    d: number;
    rk: number;
  },
): void {
  const { rows, y, r, k, v, g, stride, nHead, d, rk } = a;
  plan.record(OP.wkv7Output, rows, y, r, k, v, g, stride, nHead, d, rk);
}

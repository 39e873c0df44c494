/** Matrix products as the plans of all architectures use them. */
import { DIM, type PlanBuilder, pad16, SPACE } from '../native/plan.ts';
import type { Matrix } from './weights.ts';

/** Activation rows: offset and stride in words. */
export interface Rows {
  readonly at: number;
  readonly stride: number;
}

/** dst = m src (+ bias), or dst += m src; both are activations. */
export function project(
  plan: PlanBuilder,
  rows: number,
  m: Matrix,
  src: Rows,
  dst: Rows,
  how: { readonly bias?: number; readonly add?: boolean } = {},
): void {
  plan.matmul({
    rows,
    src: src.at,
    srcStride: src.stride,
    dstSpace: SPACE.act,
    dst: dst.at,
    dstStride: dst.stride,
    k: m.k,
    n: m.n,
    store: pad16(m.n),
    w: m.offset,
    type: m.type,
    bias: how.bias ?? -1,
    add: how.add ?? false,
    rowMap: -1,
  });
}

/** The logits of every output row, each written to its final row (index `outRows`). */
export function projectOutputs(plan: PlanBuilder, output: Matrix, src: Rows, outRows: number): void {
  plan.matmul({
    rows: DIM.outputs,
    src: src.at,
    srcStride: src.stride,
    dstSpace: SPACE.out,
    dst: 0,
    dstStride: output.n,
    k: output.k,
    n: output.n,
    store: output.n,
    w: output.offset,
    type: output.type,
    bias: -1,
    add: false,
    rowMap: outRows,
  });
}

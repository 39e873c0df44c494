/**
 * A feed-forward net of experts (spec: architectures.md 3 and 8): a router sends every token to the few with the largest
 * logits, and what they give is summed with the softmax of these logits. Tokens of one expert go through its matrices
 * together; a token's sum is in the order of the experts' numbers, so nothing depends on who shares the ubatch.
 */
import { pad16 } from '../../native/plan.ts';
import type { Matrix, Stack, WeightsBuilder } from '../weights.ts';
import type { Draft, Rows } from './draft.ts';

export interface ExpertShape {
  readonly n_embd: number;
  readonly n_ff: number;
  readonly n_expert: number;
  readonly n_expert_used: number;
  /** Weights are shares among all experts, and not renormalised over the chosen ones. */
  readonly shares_of_all?: boolean;
}

export interface ExpertWeights {
  readonly router: Matrix;
  readonly gate: Stack;
  readonly up: Stack;
  readonly down: Stack;
}

export function packExperts(builder: WeightsBuilder, prefix: string): ExpertWeights {
  return {
    router: builder.matrix(`${prefix}ffn_gate_inp.weight`),
    gate: builder.stack(`${prefix}ffn_gate_exps.weight`),
    up: builder.stack(`${prefix}ffn_up_exps.weight`),
    down: builder.stack(`${prefix}ffn_down_exps.weight`),
  };
}

/** What the net needs of every token: its routing, and a row a chosen expert of each inner product. */
export interface ExpertRoom {
  readonly logits: Rows;
  readonly ids: Rows;
  readonly weights: Rows;
  readonly gate: Rows;
  readonly up: Rows;
  readonly down: Rows;
}

export function takeExpertRoom(draft: Draft, shape: ExpertShape): ExpertRoom {
  const { n_embd, n_ff, n_expert, n_expert_used } = shape;
  const slots = (n: number) => draft.take(n_expert_used * pad16(n));
  return {
    logits: draft.take(n_expert),
    ids: draft.take(n_expert_used),
    weights: draft.take(n_expert_used),
    gate: slots(n_ff),
    up: slots(n_ff),
    down: slots(n_embd),
  };
}

/** x += the sum over the chosen experts of weight * down(SiLU(gate n) * up n), for the rows n. */
export function expertFeedForward(
  draft: Draft,
  { router, gate, up, down }: ExpertWeights,
  n: Rows,
  x: Rows,
  { n_expert, n_expert_used: nUsed, shares_of_all: all = false }: ExpertShape,
  room: ExpertRoom,
): void {
  const { plan, rows } = draft;
  const { ids, weights, logits } = room;
  const product = (w: Stack, src: Rows, perSlot: boolean, dst: Rows) =>
    plan.expertMatmul({
      rows,
      nExpert: n_expert,
      nUsed,
      ids: ids.at,
      idsStride: ids.stride,
      src: src.at,
      srcStride: perSlot ? src.stride / nUsed : src.stride,
      perSlot,
      dst: dst.at,
      dstStride: dst.stride / nUsed,
      k: w.k,
      n: w.n,
      w: w.offset,
      step: w.step,
      type: w.type,
    });
  draft.project(router, n, logits);
  const routed = { ids: ids.at, weights: weights.at, stride: ids.stride };
  plan.route({
    rows,
    logits: logits.at,
    logitsStride: logits.stride,
    nExpert: n_expert,
    nUsed,
    ...routed,
    all,
  });
  product(gate, n, false, room.gate);
  product(up, n, false, room.up);
  const { at, stride } = room.gate;
  plan.siluMul({ rows, gate: at, up: room.up.at, dst: at, stride, n: stride });
  product(down, room.gate, true, room.down);
  plan.expertSum({
    rows,
    src: room.down.at,
    srcStride: room.down.stride / nUsed,
    weights: weights.at,
    weightsStride: weights.stride,
    nUsed,
    dst: x.at,
    dstStride: x.stride,
    n: down.n,
  });
}

/**
 * A feed-forward net of experts (spec: architectures.md 3 and 8): a router sends every token to the few with the largest
 * logits, and what they give is summed with the softmax of these logits. Tokens of one expert go through its matrices
 * together; a token's sum is in the order of the experts' numbers, so nothing depends on who shares the ubatch.
 */
import { pad16, SHARES } from '../../native/plan.ts';
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

/** The product of rows, or of a row a chosen expert, with the matrices of these experts. */
function product(
  draft: Draft,
  w: Stack,
  src: Rows,
  perSlot: boolean,
  dst: Rows,
  { n_expert, n_expert_used: nUsed }: ExpertShape,
  { ids }: ExpertRoom,
): void {
  draft.plan.expertMatmul({
    rows: draft.rows,
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
}

/** Logits of the rows n, which experts they choose, and the weights of these. */
function routed(
  draft: Draft,
  router: Matrix,
  n: Rows,
  { n_expert: nExpert, n_expert_used: nUsed }: ExpertShape,
  { logits, ids, weights }: ExpertRoom,
  shares: number,
): void {
  draft.project(router, n, logits);
  draft.plan.route({
    rows: draft.rows,
    logits: logits.at,
    logitsStride: logits.stride,
    nExpert,
    nUsed,
    ids: ids.at,
    weights: weights.at,
    stride: ids.stride,
    shares,
  });
}

/** x += the sum over the chosen experts of weight * down(SiLU(gate) * up), of products in the room. */
function finished(
  draft: Draft,
  down: Stack,
  x: Rows,
  shape: ExpertShape,
  room: ExpertRoom,
  weights: { readonly at: number; readonly stride: number },
): void {
  const { plan, rows } = draft;
  const { at, stride } = room.gate;
  const nUsed = shape.n_expert_used;
  plan.siluMul({ rows, gate: at, up: room.up.at, dst: at, stride, n: stride });
  product(draft, down, room.gate, true, room.down, shape, room);
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

/** x += the sum over the chosen experts of weight * down(SiLU(gate n) * up n), for the rows n. */
export function expertFeedForward(
  draft: Draft,
  { router, gate, up, down }: ExpertWeights,
  n: Rows,
  x: Rows,
  shape: ExpertShape,
  room: ExpertRoom,
): void {
  routed(draft, router, n, shape, room, shape.shares_of_all ? SHARES.all : SHARES.chosen);
  product(draft, gate, n, false, room.gate, shape, room);
  product(draft, up, n, false, room.up, shape, room);
  finished(draft, down, x, shape, room, room.weights);
}

/** Room for experts whose inputs are weighted. */
export interface OpenedRoom extends ExpertRoom {
  /** A row a chosen expert. */
  readonly inputs: Rows;
}

export function takeOpenedRoom(draft: Draft, shape: ExpertShape): OpenedRoom {
  const inputs = draft.take(shape.n_expert_used * pad16(shape.n_embd));
  return { ...takeExpertRoom(draft, shape), inputs };
}

/** x += the sum over the chosen experts of down(SiLU(gate m) * up m), m = n sigmoid(logit), for the rows n. */
export function openedExperts(
  draft: Draft,
  { router, gate, up, down }: ExpertWeights,
  n: Rows,
  x: Rows,
  shape: ExpertShape,
  room: OpenedRoom,
): void {
  const { n_embd, n_expert_used: times } = shape;
  const { inputs, weights } = room;
  routed(draft, router, n, shape, room, SHARES.sigmoid);
  draft.plan.timesEach({
    rows: draft.rows,
    src: n.at,
    srcStride: n.stride,
    by: weights.at,
    byStride: weights.stride,
    times,
    dst: inputs.at,
    dstStride: inputs.stride / times,
    n: n_embd,
  });
  product(draft, gate, inputs, true, room.gate, shape, room);
  product(draft, up, inputs, true, room.up, shape, room);
  finished(draft, down, x, shape, room, { at: -1, stride: 0 });
}

/** Blocks that several architectures have: attention over the cache, gated feed-forward nets, recurrent states. */
import { pad16, ROPE, TYPE } from '../../native/plan.ts';
import type { RecurrentIndex } from '../layout.ts';
import type { Matrix, WeightsBuilder } from '../weights.ts';
import type { Angles, Draft, Rows } from './draft.ts';

export interface HeadShape {
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Channels of a head of q, k and v. */
  readonly n_embd_head: number;
}

/** Rotates the first n_rot channels of n_head heads by the angles of the table whose rows are `angles`. */
export function rotate(
  draft: Draft,
  x: Rows,
  n_head: number,
  { n_embd_head, n_rot }: { readonly n_embd_head: number; readonly n_rot: number },
  angles: Angles,
): void {
  draft.plan.rope({
    rows: draft.rows,
    x: x.at,
    stride: x.stride,
    nHead: n_head,
    d: n_embd_head,
    nRot: n_rot,
    table: angles.at,
    tableStride: angles.stride,
    type: ROPE[angles.type],
  });
}

/** x = RMS norm of each of n_head heads by itself, all with the same weights {n_embd_head} (-1: none). */
export function headNorm(
  draft: Draft,
  x: Rows,
  n_head: number,
  n_embd_head: number,
  weight: number,
  eps: number,
): void {
  draft.plan.headNorm({
    rows: draft.rows,
    x: x.at,
    stride: x.stride,
    nHead: n_head,
    d: n_embd_head,
    weight,
    eps,
  });
}

export interface Attending {
  readonly q: Rows;
  readonly k: Rows;
  readonly v: Rows;
  readonly dst: Rows;
  /** Rotates keys by the positions of their tokens, or by how far they are shifted; null if positions do not matter. */
  readonly turn: ((k: Rows) => void) | null;
  /** What is done to keys between that and keeping them, once. */
  readonly settle?: (k: Rows) => void;
  /** Scores are multiplied by it: a float32. */
  readonly scale: number;
  /** Scores are capped to it (softcap); 0, the default: not at all. */
  readonly cap?: number;
  /** Slopes by head, by which scores fall with the distance (ALiBi); none by default. */
  readonly slopes?: number;
  /** Number of the cache in the network. */
  readonly cache?: number;
}

/**
 * K (turned here) and V of one more layer go to its cache, and dst = attention of every query over the keys that it sees.
 * A shift of positions turns what is kept of K by the same operations.
 */
export function attend(draft: Draft, attending: Attending, shape: HeadShape): void {
  const { q, k, v, dst, turn, settle, scale, cap = 0, slopes = -1, cache = 0 } = attending;
  const { n_head, n_head_kv, n_embd_head: d } = shape;
  const index = draft.cacheIndex('attention', cache);
  // What is not kept is not rounded.
  const type = index.around === undefined ? draft.context.typeKv : TYPE.F32;
  const n = n_head_kv * d;
  const bytes = n * (type === TYPE.F16 ? 2 : 4);
  const inCells = { rows: draft.rows, n, type, cells: index.cells };
  const keys = draft.keep(cache, bytes, true);
  const values = draft.keep(cache, bytes);
  turn?.(k);
  settle?.(k);
  draft.plan.kvStore({ ...inCells, src: k.at, stride: k.stride, dst: keys });
  draft.plan.kvStore({ ...inCells, src: v.at, stride: v.stride, dst: values });
  if (turn !== null)
    draft.onShift(cache, () => {
      draft.plan.kvLoad({ ...inCells, dst: k.at, stride: k.stride, src: keys });
      turn(k);
      draft.plan.kvStore({ ...inCells, src: k.at, stride: k.stride, dst: keys });
    });
  draft.plan.attention({
    q: q.at,
    qStride: q.stride,
    dst: dst.at,
    dstStride: dst.stride,
    nHead: n_head,
    nHeadKv: n_head_kv,
    d,
    k: keys,
    v: values,
    type,
    scale,
    cap,
    slopes,
    index: index.attention,
  });
}

/** The matrices of attention in one layer. */
export type AttentionWeights = ReturnType<typeof packAttention>;

export function packAttention(builder: WeightsBuilder, prefix: string) {
  return {
    q: builder.matrix(`${prefix}attn_q.weight`),
    k: builder.matrix(`${prefix}attn_k.weight`),
    v: builder.matrix(`${prefix}attn_v.weight`),
    o: builder.matrix(`${prefix}attn_output.weight`),
  };
}

/** Rows for q, k, v and the result of attention; k and v have room for the layer with the most heads. */
export interface AttentionRoom {
  readonly q: Rows;
  readonly k: Rows;
  readonly v: Rows;
  readonly att: Rows;
}

export function takeAttention(draft: Draft, { n_head, n_head_kv, n_embd_head: d }: HeadShape): AttentionRoom {
  return {
    q: draft.take(n_head * d),
    k: draft.take(n_head_kv * d),
    v: draft.take(n_head_kv * d),
    att: draft.take(n_head * d),
  };
}

/** What happens to q and k before they meet. */
export interface Heads {
  /** Rotated by the angles of this table. */
  readonly rope?: { readonly angles: Angles; readonly n_rot: number };
  /** Each head normed by itself, with these weights. */
  readonly norms?: { readonly q: number; readonly k: number; readonly eps: number };
  readonly scale: number;
  /** Number of the cache in the network. */
  readonly cache: number;
}

/** Attention of one more layer over the normed rows u, up to what `w.o` projects. */
export function attention(
  draft: Draft,
  w: AttentionWeights,
  u: Rows,
  { q, k, v, att }: AttentionRoom,
  shape: HeadShape,
  { rope, norms, scale, cache }: Heads,
): Rows {
  const { n_head, n_head_kv, n_embd_head: d } = shape;
  draft.project(w.q, u, q);
  draft.project(w.k, u, k);
  draft.project(w.v, u, v);
  if (norms !== undefined) {
    headNorm(draft, q, n_head, d, norms.q, norms.eps);
    headNorm(draft, k, n_head_kv, d, norms.k, norms.eps);
  }
  const turn = (heads: number) => (x: Rows) =>
    rope && rotate(draft, x, heads, { n_embd_head: d, n_rot: rope.n_rot }, rope.angles);
  turn(n_head)(q);
  attend(draft, { q, k, v, dst: att, turn: rope ? turn(n_head_kv) : null, scale, cache }, shape);
  return att;
}

export interface GatedWeights {
  readonly gate: Matrix;
  readonly up: Matrix;
  readonly down: Matrix;
}

/** `of`: what stands behind the names of the three matrices. */
export function packGated(builder: WeightsBuilder, prefix: string, of = ''): GatedWeights {
  const named = (name: string): Matrix => builder.matrix(`${prefix}ffn_${name}${of}.weight`);
  return { gate: named('gate'), up: named('up'), down: named('down') };
}

/** x += down(SiLU(gate n) * up n), for the rows n; `room` is what the two inner products need. */
export function gatedFeedForward(
  draft: Draft,
  { gate, up, down }: GatedWeights,
  n: Rows,
  x: Rows,
  room: { readonly gate: Rows; readonly up: Rows },
): void {
  draft.project(gate, n, room.gate);
  draft.project(up, n, room.up);
  const { at, stride } = room.gate;
  draft.plan.siluMul({ rows: draft.rows, gate: at, up: room.up.at, dst: at, stride, n: gate.n });
  draft.project(down, room.gate, x, { add: true });
}

/** The taps of a convolution of n channels: {d_conv, n} becomes [d_conv][pad16(n)], since channels are the lanes. */
export function packConv(builder: WeightsBuilder, name: string, d_conv: number, n: number): number {
  const width = pad16(n);
  return builder.arranged(name, d_conv * width, (i) => {
    const channel = i % width;
    return channel < n ? channel * d_conv + Math.floor(i / width) : -1;
  });
}

/** Where an operation finds the states of its layer and puts the new ones (`PlanBuilder.ssmConv`). */
export interface LayerState {
  readonly state: number;
  readonly srcIds: number;
  readonly dstIds: number;
  readonly moved: number;
}

/** One kind of recurrent state, of `width` words (whole vectors) a slot, in every layer. */
export class States {
  readonly #draft: Draft;
  readonly #width: number;
  /** Rows that move, shared by the layers. */
  readonly #moved: number;

  readonly #index: RecurrentIndex;
  readonly #cache: number;

  /** `cache`: its number in the network. */
  constructor(draft: Draft, width: number, cache = 0) {
    if (width !== pad16(width)) throw new Error('a state must have whole vectors');
    this.#draft = draft;
    this.#width = width;
    this.#cache = cache;
    this.#index = draft.cacheIndex('recurrent', cache);
    this.#moved = draft.act.take(this.#index.kept > 0 ? 0 : this.#index.size * width);
  }

  /**
   * The states of one more layer. Rows follow their slots first: those that move are read before any is written. Kept
   * states stay where they are.
   */
  next(): LayerState {
    const { plan } = this.#draft;
    const index = this.#index;
    const state = this.#draft.keep(this.#cache, 4 * this.#width);
    const [width, moved] = [this.#width, this.#moved];
    if (index.kept > 0) return { state, srcIds: index.srcIds, dstIds: index.dstIds, moved };
    plan.stateGather({ src: state, width, ids: index.movedIds, dst: moved });
    plan.stateScatter({ src: moved, width, srcIds: index.extraSrc, dst: state, dstIds: index.extraDst });
    return { state, srcIds: index.srcIds, dstIds: index.dstIds, moved };
  }
}

/**
 * What the plans of RWKV-6 and RWKV-7 share (spec: architectures.md 9 and 10): the norms, token shifts before both mixes,
 * the channel mix as far as it is one, and the ends. A layer keeps three states: the last normed inputs of time mix and
 * channel mix, and a matrix a head.
 *
 * In the last layer the channel mix of a token needs the token before it, which need not be an output, so only behind
 * its token shift do output rows go on alone.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { pad16 } from '../../native/plan.ts';
import * as ops from '../../native/plan-rwkv.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import { type Matrix, WeightsBuilder } from '../weights.ts';
import { Draft, type Rows } from './draft.ts';
import { type LayerState, States } from './parts.ts';

export type RwkvHparams = HparamsOf<'rwkv6' | 'rwkv7'>;

/** What the norm of a head adds to the variance. */
const HEAD_EPS = 64e-5;

export interface LayerNorm {
  readonly weight: number;
  readonly bias: number;
}

/** The weights of a layer that both have. */
export interface RwkvLayer {
  readonly norm: LayerNorm;
  readonly norm2: LayerNorm;
  readonly receptance: Matrix;
  readonly key: Matrix;
  readonly value: Matrix;
  readonly headNorm: LayerNorm;
  readonly output: Matrix;
  readonly channelLerpK: number;
  readonly channelKey: Matrix;
  readonly channelValue: Matrix;
}

/** Activation rows that all layers use: the residual stream, what is normed, the token before it, and two for mixes. */
export interface RwkvRows {
  x: Rows;
  normed: Rows;
  before: Rows;
  readonly mixed: Rows;
  readonly y: Rows;
  readonly ff: Rows;
}

/** What one version makes of a layer. */
export interface Mixes<L extends RwkvLayer> {
  /** y = the time mix of `normed` and `before`, without the output matrix. */
  timeMix(layer: L, rows: RwkvRows, state: LayerState): void;
  /** x = x + the channel mix, of which `ff` holds the squares, and what else becomes of x between layers. */
  channelEnd(layer: L, l: number, rows: RwkvRows): void;
}

export function packNorm(builder: WeightsBuilder, name: string): LayerNorm {
  return { weight: builder.vector(`${name}.weight`), bias: builder.vector(`${name}.bias`) };
}

export function packCommon(builder: WeightsBuilder, blk: string): RwkvLayer {
  const matrix = (name: string) => builder.matrix(`${blk}${name}.weight`);
  return {
    norm: packNorm(builder, `${blk}attn_norm`),
    norm2: packNorm(builder, `${blk}attn_norm_2`),
    receptance: matrix('time_mix_receptance'),
    key: matrix('time_mix_key'),
    value: matrix('time_mix_value'),
    headNorm: packNorm(builder, `${blk}time_mix_ln`),
    output: matrix('time_mix_output'),
    channelLerpK: builder.vector(`${blk}channel_mix_lerp_k.weight`),
    channelKey: matrix('channel_mix_key'),
    channelValue: matrix('channel_mix_value'),
  };
}

/** Part `part` of a tensor that holds one row of n values for each input that is mixed. */
export function packFused(builder: WeightsBuilder, name: string, part: number, n: number): number {
  return builder.arranged(name, pad16(n), (i) => (i < n ? part * n + i : -1));
}

/** dst = layer norm of n values, for each of nPart parts. Rows have one stride. */
function layerNorm(
  draft: Draft,
  src: Rows,
  dst: Rows,
  norm: LayerNorm,
  { nPart, n, eps }: { readonly nPart: number; readonly n: number; readonly eps: number },
): void {
  const at = { rows: draft.rows, src: src.at, dst: dst.at, stride: src.stride };
  ops.layerNorm(draft.plan, { ...at, nPart, n, ...norm, eps });
}

/** The norm of each head of y, in place. */
export function normHeads(draft: Draft, y: Rows, norm: LayerNorm, hparams: RwkvHparams): void {
  layerNorm(draft, y, y, norm, { nPart: hparams.n_head, n: hparams.n_embd_head, eps: HEAD_EPS });
}

/** dst = x on its way to the token before it: by weights, by the rows `way`, or by their sum. */
export function mix(
  draft: Draft,
  { normed, before }: Pick<RwkvRows, 'normed' | 'before'>,
  dst: Rows,
  { weight = -1, way }: { readonly weight?: number; readonly way?: Rows },
): void {
  const { at: x, stride } = normed;
  ops.lerp(draft.plan, {
    rows: draft.rows,
    x,
    to: before.at,
    dst: dst.at,
    stride,
    n: stride,
    weight,
    way: way?.at ?? -1,
  });
}

export function apply(draft: Draft, f: keyof typeof ops.FUNCTION, x: Rows, n: number): void {
  ops.pointwise(draft.plan, { rows: draft.rows, x: x.at, stride: x.stride, n, f: ops.FUNCTION[f] });
}

/** dst = m2 f(m1 src) (+ bias); `low` holds what is between. */
export function lowRank(
  draft: Draft,
  { m1, m2, bias }: { readonly m1: Matrix; readonly m2: Matrix; readonly bias?: number },
  rows: { readonly src: Rows; readonly low: Rows; readonly dst: Rows },
  f?: keyof typeof ops.FUNCTION,
): void {
  draft.project(m1, rows.src, rows.low);
  if (f !== undefined) apply(draft, f, rows.low, m1.n);
  draft.project(m2, rows.low, rows.dst, bias === undefined ? {} : { bias });
}

/**
 * The network of a version: `packLayer` packs what it has of its own (`blk` is `blk.0.` and so on), `mixes` takes its own
 * activation rows and adds the operations.
 */
export function rwkvNetwork<H extends RwkvHparams, L extends RwkvLayer>(
  model: Model,
  hparams: H,
  packLayer: (builder: WeightsBuilder, blk: string, l: number) => L,
  mixes: (draft: Draft) => Mixes<L>,
): Network {
  const { n_embd, n_embd_head, n_head, n_ff, n_layer, norm_eps: eps } = hparams;
  const builder = new WeightsBuilder(model);
  const embed = builder.table('token_embd.weight');
  const embedNorm = packNorm(builder, 'token_embd_norm');
  const layers = Array.from({ length: n_layer }, (_, l) => packLayer(builder, `blk.${l}.`, l));
  const outputNorm = packNorm(builder, 'output_norm');
  const output = builder.matrix('output.weight');
  const whole = { nPart: 1, n: n_embd, eps };

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    const take = () => draft.take(n_embd);
    const rows: RwkvRows = {
      x: take(),
      normed: take(),
      before: take(),
      mixed: take(),
      y: take(),
      ff: draft.take(n_ff),
    };
    const { timeMix, channelEnd } = mixes(draft);
    const { stride } = rows.x;
    const timeShift = new States(draft, stride);
    const channelShift = new States(draft, stride);
    const wkv = new States(draft, n_head * n_embd_head * pad16(n_embd_head));
    const shift = (state: LayerState) => {
      const { normed, before } = rows;
      ops.tokenShift(draft.plan, { x: normed.at, dst: before.at, stride, n: stride, ...state });
    };

    draft.embed(embed, n_embd, rows.x);
    layerNorm(draft, rows.x, rows.x, embedNorm, whole);
    layers.forEach((layer, l) => {
      layerNorm(draft, rows.x, rows.normed, layer.norm, whole);
      shift(timeShift.next());
      timeMix(layer, rows, wkv.next());
      draft.project(layer.output, rows.y, rows.x, { add: true });
      layerNorm(draft, rows.x, rows.normed, layer.norm2, whole);
      shift(channelShift.next());
      if (l === n_layer - 1)
        [rows.x, rows.normed, rows.before] = draft.onlyOutputs(rows.x, rows.normed, rows.before);
      mix(draft, rows, rows.mixed, { weight: layer.channelLerpK });
      draft.project(layer.channelKey, rows.mixed, rows.ff);
      apply(draft, 'reluSquared', rows.ff, n_ff);
      channelEnd(layer, l, rows);
    });
    layerNorm(draft, rows.x, rows.normed, outputNorm, whole);
    draft.projectOutputs(output, rows.normed);
    return draft.built();
  }

  return { caches: [{ kind: 'recurrent' }], weights: builder.build(), tables: [], build };
}

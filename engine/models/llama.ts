/**
 * The plan of a llama, with one feed-forward net or experts in every layer (spec: architectures.md 3). In the last layer,
 * after attention, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import { RopeTable } from '../rope.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import {
  type ExpertRoom,
  type ExpertWeights,
  expertFeedForward,
  packExperts,
  takeExpertRoom,
} from './experts.ts';
import { attend, type GatedWeights, gatedFeedForward, packAttention, packGated, rotate } from './parts.ts';

type Hparams = HparamsOf<'llama'>;

/** A feed-forward net: its weights in a layer, the room that all layers share, and x += net(n) for the rows n. */
interface Net<W, R> {
  pack(builder: WeightsBuilder, prefix: string): W;
  take(draft: Draft): R;
  add(draft: Draft, weights: W, n: Rows, x: Rows, room: R): void;
}

function gatedNet({ n_ff }: Hparams): Net<GatedWeights, { readonly gate: Rows; readonly up: Rows }> {
  return {
    pack: packGated,
    take: (draft) => ({ gate: draft.take(n_ff), up: draft.take(n_ff) }),
    add: gatedFeedForward,
  };
}

function expertNet(hparams: Hparams): Net<ExpertWeights, ExpertRoom> {
  return {
    pack: packExperts,
    take: (draft) => takeExpertRoom(draft, hparams),
    add: (draft, weights, n, x, room) => expertFeedForward(draft, weights, n, x, hparams, room),
  };
}

export function llama(model: Model, hparams: Hparams): Network {
  return hparams.n_expert > 0
    ? network(model, hparams, expertNet(hparams))
    : network(model, hparams, gatedNet(hparams));
}

function network<W, R>(model: Model, hparams: Hparams, net: Net<W, R>): Network {
  const { n_embd, n_head, n_head_kv, n_embd_head: d, n_rot } = hparams;
  const eps = hparams.norm_rms_eps;
  const { ends, layers, weights } = packModel(model, (builder, prefix) => packLayer(builder, prefix, net));
  const rope = new RopeTable(n_rot, hparams.rope_freq_base, hparams.rope_freq_scale);
  const scale = Math.fround(1 / Math.sqrt(d));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const q = draft.take(n_head * d);
    const k = draft.take(n_head_kv * d);
    const v = draft.take(n_head_kv * d);
    let att = draft.take(n_head * d);
    const room = net.take(draft);
    const angles = draft.takeRope(rope);

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      draft.project(layer.q, norm, q);
      draft.project(layer.k, norm, k);
      draft.project(layer.v, norm, v);
      rotate(draft, q, n_head, hparams, angles);
      const turn = (keys: Rows): void => rotate(draft, keys, n_head_kv, hparams, angles);
      attend(draft, { q, k, v, dst: att, turn, scale }, hparams);
      if (l === layers.length - 1) [x, att] = draft.onlyOutputs(x, att);
      draft.project(layer.o, att, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      net.add(draft, layer.ffn, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'attention' }], weights, tables: [rope], build };
}

function packLayer<W>(builder: WeightsBuilder, prefix: string, net: Net<W, unknown>) {
  return {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    ...packAttention(builder, prefix),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    ffn: net.pack(builder, prefix),
  };
}

/** The plan of a llama (spec: architectures.md 3). In the last layer, after attention, only output rows go on. */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import { RopeTable } from '../rope.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { attend, gatedFeedForward, packGated, rotate } from './parts.ts';

export function llama(model: Model, hparams: HparamsOf<'llama'>): Network {
  const { n_embd, n_head, n_head_kv, n_embd_head: d, n_ff, n_rot } = hparams;
  const eps = hparams.norm_rms_eps;
  const { ends, layers, weights } = packModel(model, packLayer);
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
    const room = { gate: draft.take(n_ff), up: draft.take(n_ff) };
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
      gatedFeedForward(draft, layer.ffn, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'attention' }], weights, ropes: [rope], build };
}

function packLayer(builder: WeightsBuilder, prefix: string) {
  return {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    q: builder.matrix(`${prefix}attn_q.weight`),
    k: builder.matrix(`${prefix}attn_k.weight`),
    v: builder.matrix(`${prefix}attn_v.weight`),
    o: builder.matrix(`${prefix}attn_output.weight`),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    ffn: packGated(builder, prefix),
  };
}

/**
 * The plan of isobatch-symmetric (formula: ARCHITECTURE.md): K and V belong to one ubatch, so every layer of a kind puts
 * them in the same rows. In the last layer, after attention, only output rows go on; they are the answer.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, CacheSpec, Network, PlanContext } from '../layout.ts';
import { RopeTable } from '../rope.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { attend, gatedFeedForward, packAttention, packGated, rotate, takeAttention } from './parts.ts';

type Hparams = HparamsOf<'isobatch-symmetric'>;

export function symmetric(model: Model, hparams: Hparams): Network {
  const { n_embd, n_ff, n_head, n_head_kv, n_rot, n_swa, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, packLayer);
  const rope = new RopeTable(n_rot, hparams.rope_freq_base, hparams.rope_freq_scale, 'NEOX');
  const scale = Math.fround(1 / Math.sqrt(hparams.n_embd_head));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const { q, k, v, att: heads } = takeAttention(draft, hparams);
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
      attend(draft, { q, k, v, dst: heads, turn, scale, cache: l % 2 }, hparams);
      let att = heads;
      if (l === layers.length - 1) [x, att] = draft.onlyOutputs(x, att);
      draft.project(layer.o, att, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      gatedFeedForward(draft, layer.ffn, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.answer(norm, n_embd);
    return draft.built();
  }

  const both: CacheSpec[] = [{ kind: 'ubatch', around: n_swa >> 1 }, { kind: 'ubatch' }];
  return { caches: both.slice(0, layers.length), weights, tables: [rope], build };
}

function packLayer(builder: WeightsBuilder, prefix: string) {
  return {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    ...packAttention(builder, prefix),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    ffn: packGated(builder, prefix),
  };
}

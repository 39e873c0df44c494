/**
 * The plan of a refact (formula: oracle/models/refact.ts): nothing is turned, so a move changes no key. In the last layer,
 * after attention, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { alibiSlopes } from '../alibi.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel } from './draft.ts';
import { attend, gatedFeedForward, packAttention, packGated, takeAttention } from './parts.ts';

type Hparams = HparamsOf<'refact'>;

export function refact(model: Model, hparams: Hparams): Network {
  const { n_embd, n_ff, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix) =>
    packLayer(builder, prefix, hparams),
  );
  const scale = Math.fround(1 / Math.sqrt(hparams.n_embd_head));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const { q, k, v, att: heads } = takeAttention(draft, hparams);
    const room = { gate: draft.take(n_ff), up: draft.take(n_ff) };

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      draft.project(layer.q, norm, q);
      draft.project(layer.k, norm, k);
      draft.project(layer.v, norm, v);
      attend(draft, { q, k, v, dst: heads, turn: null, scale, slopes: layer.slopes }, hparams);
      let att = heads;
      if (l === layers.length - 1) [x, att] = draft.onlyOutputs(x, att);
      draft.project(layer.o, att, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      gatedFeedForward(draft, layer.ffn, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'attention' }], weights, tables: [], build };
}

function packLayer(builder: WeightsBuilder, prefix: string, { n_head, max_alibi_bias }: Hparams) {
  return {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    ...packAttention(builder, prefix),
    slopes: builder.numbers(alibiSlopes(n_head, max_alibi_bias)),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    ffn: packGated(builder, prefix),
  };
}

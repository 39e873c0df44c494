/**
 * The plan of a falcon-h1 (formula: oracle/models/falcon-h1.ts): in every layer attention and the mixer of mamba2 read
 * the same normed rows; then a gated feed-forward net. In the last layer, after what looks at other tokens, only output
 * rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import { RopeTable } from '../rope.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel } from './draft.ts';
import { Mixer2, packMixer2 } from './mamba2.ts';
import { attention, gatedFeedForward, packAttention, packGated, takeAttention } from './parts.ts';

type Hparams = HparamsOf<'falcon-h1'>;

/** Places in `Network.caches`. */
const STATES = 0;
const CELLS = 1;

export function falconH1(model: Model, hparams: Hparams): Network {
  const { n_embd, n_ff, n_rot, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix) =>
    packLayer(builder, hparams, prefix),
  );
  const rope = new RopeTable(n_rot, hparams.rope_freq_base, hparams.rope_freq_scale, 'NEOX');
  const scale = Math.fround(1 / Math.sqrt(hparams.n_embd_head));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const mixer = new Mixer2(draft, hparams, STATES);
    const heads = takeAttention(draft, hparams);
    const angles = draft.takeRope(rope);
    const room = { gate: draft.take(n_ff), up: draft.take(n_ff) };

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      const how = { rope: { angles, n_rot }, scale, cache: CELLS };
      let att = attention(draft, layer.attention, norm, heads, hparams, how);
      let y = mixer.mix(layer.mixer, norm);
      if (l === layers.length - 1) [x, att, y] = draft.onlyOutputs(x, att, y);
      draft.project(layer.attention.o, att, x, { add: true });
      draft.project(layer.mixer.out, y, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      gatedFeedForward(draft, layer.ffn, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'recurrent' }, { kind: 'attention' }], weights, tables: [rope], build };
}

function packLayer(builder: WeightsBuilder, hparams: Hparams, prefix: string) {
  return {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    attention: packAttention(builder, prefix),
    mixer: packMixer2(builder, hparams, prefix),
    ffnNorm: builder.vector(`${prefix}ffn_norm`),
    ffn: packGated(builder, prefix),
  };
}

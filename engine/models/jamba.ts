/**
 * The plan of a jamba (spec: architectures.md 8): the mixer of mamba or attention without rotation, each followed by a
 * gated feed-forward net or by experts, whose weights are not renormalised. In the last layer, after what looks at other tokens, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel } from './draft.ts';
import { expertFeedForward, packExperts, takeExpertRoom } from './experts.ts';
import { Mixer, packMixer } from './mamba.ts';
import { attention, gatedFeedForward, packAttention, packGated, takeAttention } from './parts.ts';

type Hparams = HparamsOf<'jamba'>;

/** Places in `Network.caches`. */
const STATES = 0;
const CELLS = 1;

export function jamba(model: Model, hparams: Hparams): Network {
  const { n_embd, n_ff, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix, l) =>
    packLayer(builder, prefix, hparams, l),
  );
  const scale = Math.fround(1 / Math.sqrt(hparams.n_embd_head));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const mixer = new Mixer(draft, hparams, STATES);
    const heads = takeAttention(draft, { ...hparams, n_head_kv: Math.max(...hparams.n_head_kv) });
    const room = { gate: draft.take(n_ff), up: draft.take(n_ff) };
    const experts = { ...hparams, shares_of_all: true };
    const expertRoom = hparams.has_experts.includes(true) ? takeExpertRoom(draft, experts) : undefined;

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      const shape = { ...hparams, n_head_kv: hparams.n_head_kv[l]! };
      let y =
        'mixer' in layer
          ? mixer.mix(layer.mixer, norm, layer.norms)
          : attention(draft, layer, norm, heads, shape, { scale, cache: CELLS });
      if (l === layers.length - 1) [x, y] = draft.onlyOutputs(x, y);
      draft.project('mixer' in layer ? layer.mixer.out : layer.o, y, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      if (layer.net.kind === 'experts') expertFeedForward(draft, layer.net, norm, x, experts, expertRoom!);
      else gatedFeedForward(draft, layer.net, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'recurrent' }, { kind: 'attention' }], weights, tables: [], build };
}

function packLayer(builder: WeightsBuilder, prefix: string, hparams: Hparams, l: number) {
  const both = {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    net: hparams.has_experts[l]
      ? { kind: 'experts' as const, ...packExperts(builder, prefix) }
      : { kind: 'gated' as const, ...packGated(builder, prefix) },
  };
  if (hparams.n_head_kv[l]! > 0) return { ...both, ...packAttention(builder, prefix) };
  const norm = (what: string) => builder.vector(`${prefix}ssm_${what}_norm.weight`);
  return {
    ...both,
    mixer: packMixer(builder, hparams, prefix),
    norms: { dt: norm('dt'), b: norm('b'), c: norm('c') },
  };
}

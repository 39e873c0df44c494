/**
 * The plan of a jamba (spec: architectures.md 8): the mixer of mamba or attention without rotation, each followed by a
 * gated feed-forward net. In the last layer, after what looks at other tokens, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel } from './draft.ts';
import { Mixer, packMixer } from './mamba.ts';
import { attend, gatedFeedForward, packAttention, packGated } from './parts.ts';

type Hparams = HparamsOf<'jamba'>;

/** Places in `Network.caches`. */
const STATES = 0;
const CELLS = 1;

export function jamba(model: Model, hparams: Hparams): Network {
  const { n_embd, n_head, n_embd_head: d, n_ff, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix, l) =>
    packLayer(builder, prefix, hparams, l),
  );
  const most_kv = Math.max(...hparams.n_head_kv);
  const scale = Math.fround(1 / Math.sqrt(d));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const mixer = new Mixer(draft, hparams, STATES);
    const q = draft.take(n_head * d);
    const k = draft.take(most_kv * d);
    const v = draft.take(most_kv * d);
    const dst = draft.take(n_head * d);
    const room = { gate: draft.take(n_ff), up: draft.take(n_ff) };

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      let y = dst;
      if ('mixer' in layer) y = mixer.mix(layer.mixer, norm, layer.norms);
      else {
        draft.project(layer.q, norm, q);
        draft.project(layer.k, norm, k);
        draft.project(layer.v, norm, v);
        const n_head_kv = hparams.n_head_kv[l]!;
        const heads = { n_head, n_head_kv, n_embd_head: d };
        attend(draft, { q, k, v, dst, turn: null, scale, cache: CELLS }, heads);
      }
      if (l === layers.length - 1) [x, y] = draft.onlyOutputs(x, y);
      draft.project('mixer' in layer ? layer.mixer.out : layer.o, y, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      gatedFeedForward(draft, layer.ffn, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'recurrent' }, { kind: 'attention' }], weights, ropes: [], build };
}

function packLayer(builder: WeightsBuilder, prefix: string, hparams: Hparams, l: number) {
  const both = {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    ffn: packGated(builder, prefix),
  };
  if (hparams.n_head_kv[l]! > 0) return { ...both, ...packAttention(builder, prefix) };
  const norm = (what: string) => builder.vector(`${prefix}ssm_${what}_norm.weight`);
  return {
    ...both,
    mixer: packMixer(builder, hparams, prefix),
    norms: { dt: norm('dt'), b: norm('b'), c: norm('c') },
  };
}

/**
 * The plan of an openelm (spec: architectures.md 11). Layers differ in their heads and feed-forward widths: activation
 * rows have room for the widest layer, and each layer lays its own rows out in it. The fused matrix of q, k and v is
 * packed as its three parts, so that each starts at a whole vector. In the last layer, after attention, only output
 * rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { pad16 } from '../../native/plan.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import { RopeTable } from '../rope.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { attend, gatedFeedForward, headNorm, packGated, rotate } from './parts.ts';

type Hparams = HparamsOf<'openelm'>;

export function openelm(model: Model, hparams: Hparams): Network {
  const { n_embd, n_embd_head: d, n_rot, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix, l) =>
    packLayer(builder, prefix, hparams, l),
  );
  const rope = new RopeTable(n_rot, hparams.rope_freq_base, hparams.rope_freq_scale, 'NEOX');
  const scale = Math.fround(1 / Math.sqrt(d));
  const widest = (n: (layer: Hparams['layers'][number]) => number) => Math.max(...hparams.layers.map(n));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const [n_q, n_kv, n_ff] = [
      widest(({ n_head }) => n_head * d),
      widest(({ n_head_kv }) => n_head_kv * d),
      widest((layer) => layer.n_ff),
    ];
    const room = {
      q: draft.take(n_q),
      k: draft.take(n_kv),
      v: draft.take(n_kv),
      att: draft.take(n_q),
      gate: draft.take(n_ff),
      up: draft.take(n_ff),
    };
    const angles = draft.takeRope(rope);

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      const { n_head, n_head_kv, n_ff: ff } = hparams.layers[l]!;
      const [q, k, v] = [
        within(room.q, n_head * d),
        within(room.k, n_head_kv * d),
        within(room.v, n_head_kv * d),
      ];
      let att = within(room.att, n_head * d);
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      draft.project(layer.q, norm, q);
      draft.project(layer.k, norm, k);
      draft.project(layer.v, norm, v);
      headNorm(draft, q, n_head, d, layer.qNorm, eps);
      headNorm(draft, k, n_head_kv, d, layer.kNorm, eps);
      rotate(draft, q, n_head, hparams, angles);
      const turn = (keys: Rows): void => rotate(draft, keys, n_head_kv, hparams, angles);
      attend(draft, { q, k, v, dst: att, turn, scale }, { n_head, n_head_kv, n_embd_head: d });
      if (l === layers.length - 1) [x, att] = draft.onlyOutputs(x, att);
      draft.project(layer.o, att, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      gatedFeedForward(draft, layer.ffn, norm, x, { gate: within(room.gate, ff), up: within(room.up, ff) });
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'attention' }], weights, tables: [rope], build };
}

/** Rows of n values where wider ones have room. */
function within({ at }: Rows, n: number): Rows {
  return { at, stride: pad16(n) };
}

function packLayer(builder: WeightsBuilder, prefix: string, { layers, n_embd_head: d }: Hparams, l: number) {
  const { n_head, n_head_kv } = layers[l]!;
  const [endQ, endK] = [n_head * d, (n_head + n_head_kv) * d];
  return {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    q: builder.matrix(`${prefix}attn_qkv.weight`, 0, endQ),
    k: builder.matrix(`${prefix}attn_qkv.weight`, endQ, endK),
    v: builder.matrix(`${prefix}attn_qkv.weight`, endK),
    qNorm: builder.vector(`${prefix}attn_q_norm.weight`),
    kNorm: builder.vector(`${prefix}attn_k_norm.weight`),
    o: builder.matrix(`${prefix}attn_output.weight`),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    ffn: packGated(builder, prefix),
  };
}

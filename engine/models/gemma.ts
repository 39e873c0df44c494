/**
 * The plan of a gemma2 or gemma3 (spec: architectures.md 4 and 5). Layers with a window have a cache of their own, which
 * forgets what no later query sees, and may turn by other angles. In the last layer, after attention, only output rows
 * go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { DIM } from '../../native/plan.ts';
import type { BuiltPlan, CacheSpec, Network, PlanContext } from '../layout.ts';
import { RopeTable } from '../rope.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { attend, headNorm, packGated, rotate } from './parts.ts';

type GemmaHparams = HparamsOf<'gemma2' | 'gemma3'>;

/** `normedHeads`: each head of q and k is normed before it turns. */
export function gemma(model: Model, hparams: GemmaHparams, normedHeads: boolean): Network {
  const { n_embd, n_layer, n_head, n_head_kv, n_embd_head: d, n_ff, n_rot } = hparams;
  const { norm_rms_eps: eps, n_swa, final_softcap } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix) =>
    packLayer(builder, prefix, normedHeads),
  );
  const kinds = kindsOf(hparams);
  const scale = Math.fround(1 / Math.sqrt(hparams.score_divisor));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const q = draft.take(n_head * d);
    const k = draft.take(n_head_kv * d);
    const v = draft.take(n_head_kv * d);
    let att = draft.take(n_head * d);
    const gate = draft.take(n_ff);
    const up = draft.take(n_ff);
    /** What a layer adds, before the norm behind it. */
    const part = draft.take(n_embd);
    const angles = kinds.map(({ rope }) => draft.takeRope(rope));
    const addNormed = (weight: number): void => normAdd(draft, part, x, n_embd, weight, eps);

    draft.embed(ends.embed, n_embd, x);
    const factor = Math.fround(Math.sqrt(n_embd));
    draft.plan.scaleRows({ rows: draft.rows, x: x.at, stride: x.stride, n: n_embd, factor });
    layers.forEach((layer, l) => {
      const kind = kinds.findIndex(({ windowed }) => windowed === hparams.windowed[l]);
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      draft.project(layer.q, norm, q);
      draft.project(layer.k, norm, k);
      draft.project(layer.v, norm, v);
      if (layer.heads) {
        headNorm(draft, q, n_head, d, layer.heads.q, eps);
        headNorm(draft, k, n_head_kv, d, layer.heads.k, eps);
      }
      rotate(draft, q, n_head, { n_embd_head: d, n_rot }, angles[kind]!);
      const turn = (keys: Rows): void =>
        rotate(draft, keys, n_head_kv, { n_embd_head: d, n_rot }, angles[kind]!);
      attend(draft, { q, k, v, dst: att, turn, scale, cap: hparams.attn_softcap, cache: kind }, hparams);
      if (l === n_layer - 1) [x, att] = draft.onlyOutputs(x, att);
      draft.project(layer.o, att, part);
      addNormed(layer.postAttention);
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      draft.project(layer.ffn.gate, norm, gate);
      draft.project(layer.ffn.up, norm, up);
      const { at: dst, stride } = gate;
      draft.plan.geluMul({ rows: draft.rows, gate: dst, up: up.at, dst, stride, n: n_ff });
      draft.project(layer.ffn.down, gate, part);
      addNormed(layer.postFfw);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    if (final_softcap > 0) {
      const rowMap = context.index.outRows;
      draft.plan.capOutputs({ rows: DIM.outputs, n: ends.output.n, cap: final_softcap, rowMap });
    }
    return draft.built();
  }

  const caches = kinds.map(({ windowed }): CacheSpec => {
    return windowed ? { kind: 'attention', window: { kind: 'sliding', size: n_swa } } : { kind: 'attention' };
  });
  return { caches, weights, tables: kinds.map(({ rope }) => rope), build };
}

/** A cache and the angles of the layers that use it. */
interface LayerKind {
  readonly windowed: boolean;
  readonly rope: RopeTable;
}

/** Of the layers that there are; those with a window first. */
function kindsOf(h: GemmaHparams): LayerKind[] {
  return [true, false]
    .filter((windowed) => h.windowed.includes(windowed))
    .map((windowed) => {
      const base = windowed ? h.rope_freq_base_swa : h.rope_freq_base;
      const freq_scale = windowed ? h.rope_freq_scale_swa : h.rope_freq_scale;
      return { windowed, rope: new RopeTable(h.n_rot, base, freq_scale, 'NEOX') };
    });
}

/** x += RMS norm of part. */
function normAdd(draft: Draft, part: Rows, x: Rows, n: number, weight: number, eps: number): void {
  const from = { src: part.at, srcStride: part.stride };
  draft.plan.normAdd({ rows: draft.rows, ...from, dst: x.at, dstStride: x.stride, n, weight, eps });
}

function packLayer(builder: WeightsBuilder, prefix: string, normedHeads: boolean) {
  const vector = (name: string): number => builder.vector(`${prefix}${name}.weight`);
  return {
    attnNorm: vector('attn_norm'),
    q: builder.matrix(`${prefix}attn_q.weight`),
    k: builder.matrix(`${prefix}attn_k.weight`),
    v: builder.matrix(`${prefix}attn_v.weight`),
    ...(normedHeads ? { heads: { q: vector('attn_q_norm'), k: vector('attn_k_norm') } } : {}),
    o: builder.matrix(`${prefix}attn_output.weight`),
    postAttention: vector('post_attention_norm'),
    ffnNorm: vector('ffn_norm'),
    ffn: packGated(builder, prefix),
    postFfw: vector('post_ffw_norm'),
  };
}

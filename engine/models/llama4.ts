/**
 * The plan of a llama4 (formula: oracle/models/llama4.ts). Layers with chunks have a cache of their own, which forgets a
 * chunk when the next one begins. In the last layer, after attention, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, CacheSpec, Network, PlanContext } from '../layout.ts';
import { type PositionTable, RopeTable } from '../rope.ts';
import { TemperatureTable } from '../temperature.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { openedExperts, packExperts, takeOpenedRoom } from './experts.ts';
import {
  attend,
  gatedFeedForward,
  headNorm,
  packAttention,
  packGated,
  rotate,
  takeAttention,
} from './parts.ts';

type Hparams = HparamsOf<'llama4'>;

export function llama4(model: Model, hparams: Hparams): Network {
  const { n_embd, n_head, n_head_kv, n_embd_head: d, n_rot, n_chunk, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix, l) =>
    packLayer(builder, prefix, hparams.routed[l]!),
  );
  const kinds = kindsOf(hparams);
  const kindOf = (l: number): number => kinds.indexOf(hparams.chunked[l]!);
  const ropes = kinds.map(
    (chunked) =>
      new RopeTable(
        n_rot,
        chunked ? hparams.rope_freq_base_swa : hparams.rope_freq_base,
        hparams.rope_freq_scale,
      ),
  );
  const temperature = hparams.temperature && new TemperatureTable(hparams.temperature);
  const scale = Math.fround(1 / Math.sqrt(d));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const heads = takeAttention(draft, hparams);
    const { q, k, v } = heads;
    const gated = (n_ff: number) => ({ gate: draft.take(n_ff), up: draft.take(n_ff) });
    const room = gated(hparams.n_ff);
    const sizes = { ...hparams, n_ff: hparams.n_ff_exp };
    const experts = hparams.routed.includes(true)
      ? { room: takeOpenedRoom(draft, sizes), all: gated(hparams.n_ff_exp) }
      : undefined;
    const angles = ropes.map((rope) => draft.takeRope(rope));
    const warmth = temperature && draft.takeTable(temperature);
    const settle = (rows: Rows, n: number): void => {
      if (hparams.norm_heads) headNorm(draft, rows, n, d, -1, eps);
    };

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      const kind = kindOf(l);
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      draft.project(layer.q, norm, q);
      draft.project(layer.k, norm, k);
      draft.project(layer.v, norm, v);
      const turn = (rows: Rows, n: number): void => rotate(draft, rows, n, hparams, angles[kind]!);
      if (hparams.turned[l]) {
        turn(q, n_head);
        settle(q, n_head);
      } else if (warmth) warm(draft, q, warmth, n_head * d);
      attend(
        draft,
        {
          ...heads,
          dst: heads.att,
          turn: hparams.turned[l] ? (keys) => turn(keys, n_head_kv) : null,
          settle: (keys) => hparams.turned[l] && settle(keys, n_head_kv),
          scale,
          cache: kind,
        },
        hparams,
      );
      let att = heads.att;
      if (l === layers.length - 1) [x, att] = draft.onlyOutputs(x, att);
      draft.project(layer.o, att, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      if ('ffn' in layer) gatedFeedForward(draft, layer.ffn, norm, x, room);
      else {
        openedExperts(draft, layer.experts, norm, x, sizes, experts!.room);
        gatedFeedForward(draft, layer.all, norm, x, experts!.all);
      }
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  const caches = kinds.map((chunked): CacheSpec => {
    return chunked
      ? { kind: 'attention', window: { kind: 'chunked', size: n_chunk } }
      : { kind: 'attention' };
  });
  const tables: PositionTable[] = temperature ? [...ropes, temperature] : ropes;
  return { caches, weights, tables, build };
}

/** Whether the layers of a kind have chunks; only those that there are, chunks first. */
function kindsOf({ chunked }: Hparams): boolean[] {
  return [true, false].filter((kind) => chunked.includes(kind));
}

/** Each row of q times its number in the table. */
function warm(draft: Draft, q: Rows, by: Rows, n: number): void {
  const row = { src: q.at, srcStride: q.stride, dst: q.at, dstStride: q.stride };
  draft.plan.timesEach({ rows: draft.rows, ...row, by: by.at, byStride: by.stride, times: 1, n });
}

function packLayer(builder: WeightsBuilder, prefix: string, routed: boolean) {
  const both = {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    ...packAttention(builder, prefix),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
  };
  if (!routed) return { ...both, ffn: packGated(builder, prefix) };
  return { ...both, experts: packExperts(builder, prefix), all: packGated(builder, prefix, '_shexp') };
}

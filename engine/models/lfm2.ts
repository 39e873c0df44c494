/**
 * The plan of an lfm2 (formula: oracle/models/lfm2.ts): a gated short convolution or attention with normed heads, each
 * followed by a gated feed-forward net. in_proj is packed as its three parts. In the last layer, after what looks at
 * other tokens, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import { RopeTable } from '../rope.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import {
  attention,
  gatedFeedForward,
  packAttention,
  packConv,
  packGated,
  States,
  takeAttention,
} from './parts.ts';

type Hparams = HparamsOf<'lfm2'>;

/** Places in `Network.caches`. */
const STATES = 0;
const CELLS = 1;

export function lfm2(model: Model, hparams: Hparams): Network {
  const { n_embd, n_ff, n_rot, d_conv, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(
    model,
    (builder, prefix, l) => packLayer(builder, prefix, hparams, l),
    'token_embd_norm',
  );
  const rope = new RopeTable(n_rot, hparams.rope_freq_base, hparams.rope_freq_scale, 'NEOX');
  const scale = Math.fround(1 / Math.sqrt(hparams.n_embd_head));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const [b, c, bx, conv] = [1, 2, 3, 4].map(() => draft.take(n_embd)) as [Rows, Rows, Rows, Rows];
    const states = new States(draft, (d_conv - 1) * b.stride, STATES);
    const heads = takeAttention(draft, { ...hparams, n_head_kv: Math.max(...hparams.n_head_kv) });
    const angles = draft.takeRope(rope);
    const room = { gate: draft.take(n_ff), up: draft.take(n_ff) };

    const convolved = (w: Convolution): Rows => {
      draft.project(w.inB, norm, b);
      draft.project(w.inC, norm, c);
      draft.project(w.inX, norm, bx);
      const state = states.next();
      draft.plan.shortConv({
        b: b.at,
        gate: c.at,
        x: bx.at,
        stride: b.stride,
        dst: conv.at,
        dstStride: conv.stride,
        n: b.stride,
        dConv: d_conv,
        w: w.conv,
        ...state,
      });
      return conv;
    };

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.attnNorm, eps);
      const shape = { ...hparams, n_head_kv: hparams.n_head_kv[l]! };
      let y =
        'conv' in layer
          ? convolved(layer)
          : attention(draft, layer, norm, heads, shape, {
              rope: { angles, n_rot },
              norms: { q: layer.qNorm, k: layer.kNorm, eps },
              scale,
              cache: CELLS,
            });
      if (l === layers.length - 1) [x, y] = draft.onlyOutputs(x, y);
      draft.project('conv' in layer ? layer.out : layer.o, y, x, { add: true });
      draft.rmsNorm(x, norm, n_embd, layer.ffnNorm, eps);
      gatedFeedForward(draft, layer.ffn, norm, x, room);
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'recurrent' }, { kind: 'attention' }], weights, tables: [rope], build };
}

type Convolution = ReturnType<typeof packConvolution>;

function packConvolution(builder: WeightsBuilder, prefix: string, { n_embd, d_conv }: Hparams) {
  const part = (name: string, from: number) =>
    builder.matrix(`${prefix}shortconv.${name}.weight`, from * n_embd, (from + 1) * n_embd);
  return {
    inB: part('in_proj', 0),
    inC: part('in_proj', 1),
    inX: part('in_proj', 2),
    conv: packConv(builder, `${prefix}shortconv.conv.weight`, d_conv, n_embd),
    out: builder.matrix(`${prefix}shortconv.out_proj.weight`),
  };
}

function packLayer(builder: WeightsBuilder, prefix: string, hparams: Hparams, l: number) {
  const both = {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    ffn: packGated(builder, prefix),
  };
  if (hparams.n_head_kv[l] === 0) return { ...both, ...packConvolution(builder, prefix, hparams) };
  return {
    ...both,
    ...packAttention(builder, prefix),
    qNorm: builder.vector(`${prefix}attn_q_norm.weight`),
    kNorm: builder.vector(`${prefix}attn_k_norm.weight`),
  };
}

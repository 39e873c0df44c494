/**
 * The plan of a mamba2 (spec: architectures.md 2). The input projection is packed as its three parts (gate z, the
 * convolved xBC, steps dt), so that each starts at a whole vector; x, B and C are one behind the other in a row of xBC.
 * In the last layer, after the mixer, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { pad16 } from '../../native/plan.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel } from './draft.ts';
import { packConv, States } from './parts.ts';

type Hparams = HparamsOf<'mamba2'>;

/** Channels that are convolved: x of every head, then B and C of every group. */
function convolvedChannels({ d_inner, d_state, n_group }: Hparams): number {
  return d_inner + 2 * n_group * d_state;
}

export function mamba2(model: Model, hparams: Hparams): Network {
  const { n_embd, d_inner, d_state, d_conv, n_ssm_head, n_group, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix) =>
    packLayer(builder, hparams, prefix),
  );

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    const { plan } = draft;
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const z = draft.take(d_inner);
    const xBC = draft.take(convolvedChannels(hparams));
    const conv = draft.take(convolvedChannels(hparams));
    const dt = draft.take(n_ssm_head);
    let y = draft.take(d_inner);
    const convStates = new States(draft, (d_conv - 1) * xBC.stride);
    const ssmStates = new States(draft, d_inner * pad16(d_state));

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.norm, eps);
      draft.project(layer.inZ, norm, z);
      draft.project(layer.inXBC, norm, xBC);
      draft.project(layer.inDt, norm, dt, { bias: layer.dtBias });
      plan.ssmConv({
        x: xBC.at,
        xStride: xBC.stride,
        dst: conv.at,
        dstStride: conv.stride,
        n: xBC.stride,
        dConv: d_conv,
        w: layer.conv,
        bias: layer.convBias,
        ...convStates.next(),
      });
      plan.ssmScanHeads({
        x: conv.at,
        xStride: conv.stride,
        dt: dt.at,
        dtStride: dt.stride,
        b: conv.at + d_inner,
        bStride: conv.stride,
        c: conv.at + d_inner + n_group * d_state,
        cStride: conv.stride,
        dst: y.at,
        dstStride: y.stride,
        nHead: n_ssm_head,
        dHead: d_inner / n_ssm_head,
        nGroup: n_group,
        nState: d_state,
        a: layer.a,
        ...ssmStates.next(),
      });
      plan.ssmGateNorm({
        rows: draft.rows,
        y: y.at,
        yStride: y.stride,
        x: conv.at,
        xStride: conv.stride,
        z: z.at,
        zStride: z.stride,
        dst: y.at,
        dstStride: y.stride,
        n: d_inner,
        groups: n_group,
        dSkip: layer.d,
        weight: layer.ssmNorm,
        eps,
      });
      if (l === layers.length - 1) [x, y] = draft.onlyOutputs(x, y);
      draft.project(layer.out, y, x, { add: true });
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'recurrent' }], weights, ropes: [], build };
}

function packLayer(builder: WeightsBuilder, hparams: Hparams, prefix: string) {
  const { d_inner, d_conv, n_ssm_head } = hparams;
  const n_channels = convolvedChannels(hparams);
  const dHead = d_inner / n_ssm_head;
  /** All n numbers of a tensor, whatever its shape. */
  const flat = (name: string, n: number) => builder.arranged(name, pad16(n), (i) => (i < n ? i : -1));
  return {
    norm: builder.vector(`${prefix}attn_norm.weight`),
    inZ: builder.matrix(`${prefix}ssm_in.weight`, 0, d_inner),
    inXBC: builder.matrix(`${prefix}ssm_in.weight`, d_inner, d_inner + n_channels),
    inDt: builder.matrix(`${prefix}ssm_in.weight`, d_inner + n_channels),
    conv: packConv(builder, `${prefix}ssm_conv1d.weight`, d_conv, n_channels),
    convBias: builder.vector(`${prefix}ssm_conv1d.bias`),
    dtBias: builder.vector(`${prefix}ssm_dt.bias`),
    a: flat(`${prefix}ssm_a`, n_ssm_head),
    // One for each channel of a head.
    d: builder.arranged(`${prefix}ssm_d`, pad16(d_inner), (i) => (i < d_inner ? Math.floor(i / dHead) : -1)),
    ssmNorm: flat(`${prefix}ssm_norm.weight`, d_inner),
    out: builder.matrix(`${prefix}ssm_out.weight`),
  };
}

/**
 * The plan of a mamba (spec: architectures.md 1). The input projection is packed as its two halves (x and z) and ssm_x
 * as its three parts (dt, B, C), so that each starts at a whole vector. In the last layer, after the mixer, only
 * output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { pad16 } from '../../native/plan.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { packConv, States } from './parts.ts';

type Hparams = HparamsOf<'mamba'>;

export function mamba(model: Model, hparams: Hparams): Network {
  const { n_embd, d_inner, d_state, d_conv, dt_rank, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix) =>
    packLayer(builder, hparams, prefix),
  );

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    const { plan } = draft;
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const xIn = draft.take(d_inner);
    const z = draft.take(d_inner);
    const conv = draft.take(d_inner);
    const dtIn = draft.take(dt_rank);
    const b = draft.take(d_state);
    const c = draft.take(d_state);
    const dt = draft.take(d_inner);
    let y = draft.take(d_inner);
    // Channels are the lanes, so all operations of the mixer are for whole vectors of them.
    const n = xIn.stride;
    const convStates = new States(draft, (d_conv - 1) * n);
    const ssmStates = new States(draft, n * d_state);
    const normalize = (rows: Rows, width: number) => draft.rmsNorm(rows, rows, width, -1, eps);

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.norm, eps);
      draft.project(layer.inX, norm, xIn);
      draft.project(layer.inZ, norm, z);
      const convState = convStates.next();
      const ssmState = ssmStates.next();
      plan.ssmConv({
        x: xIn.at,
        xStride: xIn.stride,
        dst: conv.at,
        dstStride: conv.stride,
        n,
        dConv: d_conv,
        w: layer.conv,
        bias: layer.convBias,
        ...convState,
      });
      draft.project(layer.xDt, conv, dtIn);
      draft.project(layer.xB, conv, b);
      draft.project(layer.xC, conv, c);
      if (hparams.dt_b_c_rms) {
        normalize(dtIn, dt_rank);
        normalize(b, d_state);
        normalize(c, d_state);
      }
      draft.project(layer.dt, dtIn, dt, { bias: layer.dtBias });
      plan.ssmScan({
        x: conv.at,
        xStride: conv.stride,
        dt: dt.at,
        dtStride: dt.stride,
        b: b.at,
        bStride: b.stride,
        c: c.at,
        cStride: c.stride,
        dst: y.at,
        dstStride: y.stride,
        n,
        nState: d_state,
        a: layer.a,
        ...ssmState,
      });
      plan.ssmGate({
        rows: draft.rows,
        y: y.at,
        yStride: y.stride,
        x: conv.at,
        xStride: conv.stride,
        z: z.at,
        zStride: z.stride,
        dst: y.at,
        dstStride: y.stride,
        n,
        dSkip: layer.d,
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
  const { d_inner, d_state, d_conv, dt_rank } = hparams;
  const width = pad16(d_inner);
  return {
    norm: builder.vector(`${prefix}attn_norm.weight`),
    inX: builder.matrix(`${prefix}ssm_in.weight`, 0, d_inner),
    inZ: builder.matrix(`${prefix}ssm_in.weight`, d_inner, 2 * d_inner),
    conv: packConv(builder, `${prefix}ssm_conv1d.weight`, d_conv, d_inner),
    convBias: builder.vector(`${prefix}ssm_conv1d.bias`),
    xDt: builder.matrix(`${prefix}ssm_x.weight`, 0, dt_rank),
    xB: builder.matrix(`${prefix}ssm_x.weight`, dt_rank, dt_rank + d_state),
    xC: builder.matrix(`${prefix}ssm_x.weight`, dt_rank + d_state, dt_rank + 2 * d_state),
    dt: builder.matrix(`${prefix}ssm_dt.weight`),
    dtBias: builder.vector(`${prefix}ssm_dt.bias`),
    // {N, D} becomes [D/16][N][16].
    a: builder.arranged(`${prefix}ssm_a`, width * d_state, (i) => {
      const channel = Math.floor(i / (16 * d_state)) * 16 + (i % 16);
      return channel < d_inner ? channel * d_state + (Math.floor(i / 16) % d_state) : -1;
    }),
    d: builder.vector(`${prefix}ssm_d`),
    out: builder.matrix(`${prefix}ssm_out.weight`),
  };
}

/**
 * The plan of a mamba2 (spec: architectures.md 2), and its mixer, which hybrids have too. The input projection is packed
 * as its three parts (gate z, the convolved xBC, steps dt), so that each starts at a whole vector; x, B and C are one
 * behind the other in a row of xBC. In the last layer, after the mixer, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { pad16 } from '../../native/plan.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { packConv, States } from './parts.ts';

type Hparams = HparamsOf<'mamba2'>;
type MixerHparams = Pick<
  Hparams,
  'd_inner' | 'd_state' | 'd_conv' | 'n_ssm_head' | 'n_group' | 'norm_rms_eps'
>;

/** Channels that are convolved: x of every head, then B and C of every group. */
function convolvedChannels({ d_inner, d_state, n_group }: MixerHparams): number {
  return d_inner + 2 * n_group * d_state;
}

export function mamba2(model: Model, hparams: Hparams): Network {
  const { n_embd, d_inner, norm_rms_eps: eps } = hparams;
  const { ends, layers, weights } = packModel(model, (builder, prefix) => ({
    norm: builder.vector(`${prefix}attn_norm.weight`),
    mixer: packMixer2(builder, hparams, prefix),
    ssmNorm: flat(builder, `${prefix}ssm_norm.weight`, d_inner),
  }));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const mixer = new Mixer2(draft, hparams);

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.norm, eps);
      let y = mixer.mix(layer.mixer, norm, layer.ssmNorm);
      if (l === layers.length - 1) [x, y] = draft.onlyOutputs(x, y);
      draft.project(layer.mixer.out, y, x, { add: true });
    });
    draft.rmsNorm(x, norm, n_embd, ends.outputNorm, eps);
    draft.projectOutputs(ends.output, norm);
    return draft.built();
  }

  return { caches: [{ kind: 'recurrent' }], weights, tables: [], build };
}

/** The mixers of a model, one after the other: they share their room, and each has states of its own. */
export class Mixer2 {
  readonly #draft: Draft;
  readonly #hparams: MixerHparams;
  readonly #room: Readonly<Record<'z' | 'xBC' | 'conv' | 'dt' | 'y', Rows>>;
  readonly #convStates: States;
  readonly #ssmStates: States;

  /** `cache`: number of the network's recurrent cache. */
  constructor(draft: Draft, hparams: MixerHparams, cache = 0) {
    const { d_inner, d_state, d_conv, n_ssm_head } = hparams;
    const channels = convolvedChannels(hparams);
    this.#draft = draft;
    this.#hparams = hparams;
    this.#room = {
      z: draft.take(d_inner),
      xBC: draft.take(channels),
      conv: draft.take(channels),
      dt: draft.take(n_ssm_head),
      y: draft.take(d_inner),
    };
    this.#convStates = new States(draft, (d_conv - 1) * pad16(channels), cache);
    this.#ssmStates = new States(draft, d_inner * pad16(d_state), cache);
  }

  /**
   * The mixer of one more layer over the normed rows u, up to what ssm_out projects (the caller does that, since it may
   * need only some rows). `norm`: the weight of the norm behind the gate, if there is one.
   */
  mix(w: Mixer2Weights, u: Rows, norm?: number): Rows {
    const draft = this.#draft;
    const { plan } = draft;
    const { d_inner, d_state, d_conv, n_ssm_head, n_group, norm_rms_eps: eps } = this.#hparams;
    const { z, xBC, conv, dt, y } = this.#room;
    draft.project(w.inZ, u, z);
    draft.project(w.inXBC, u, xBC);
    draft.project(w.inDt, u, dt, { bias: w.dtBias });
    plan.ssmConv({
      x: xBC.at,
      xStride: xBC.stride,
      dst: conv.at,
      dstStride: conv.stride,
      n: xBC.stride,
      dConv: d_conv,
      w: w.conv,
      bias: w.convBias,
      ...this.#convStates.next(),
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
      a: w.a,
      ...this.#ssmStates.next(),
    });
    const gated = {
      rows: draft.rows,
      y: y.at,
      yStride: y.stride,
      x: conv.at,
      xStride: conv.stride,
      z: z.at,
      zStride: z.stride,
      dst: y.at,
      dstStride: y.stride,
      dSkip: w.d,
    };
    if (norm === undefined) plan.ssmGate({ ...gated, n: y.stride });
    else plan.ssmGateNorm({ ...gated, n: d_inner, groups: n_group, weight: norm, eps });
    return y;
  }
}

export type Mixer2Weights = ReturnType<typeof packMixer2>;

/** All n numbers of a tensor, whatever its shape. */
function flat(builder: WeightsBuilder, name: string, n: number): number {
  return builder.arranged(name, pad16(n), (i) => (i < n ? i : -1));
}

export function packMixer2(builder: WeightsBuilder, hparams: MixerHparams, prefix: string) {
  const { d_inner, d_conv, n_ssm_head } = hparams;
  const n_channels = convolvedChannels(hparams);
  const dHead = d_inner / n_ssm_head;
  return {
    inZ: builder.matrix(`${prefix}ssm_in.weight`, 0, d_inner),
    inXBC: builder.matrix(`${prefix}ssm_in.weight`, d_inner, d_inner + n_channels),
    inDt: builder.matrix(`${prefix}ssm_in.weight`, d_inner + n_channels),
    conv: packConv(builder, `${prefix}ssm_conv1d.weight`, d_conv, n_channels),
    convBias: builder.vector(`${prefix}ssm_conv1d.bias`),
    dtBias: builder.vector(`${prefix}ssm_dt.bias`),
    a: flat(builder, `${prefix}ssm_a`, n_ssm_head),
    // One for each channel of a head.
    d: builder.arranged(`${prefix}ssm_d`, pad16(d_inner), (i) => (i < d_inner ? Math.floor(i / dHead) : -1)),
    out: builder.matrix(`${prefix}ssm_out.weight`),
  };
}

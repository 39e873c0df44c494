/**
 * The plan of a mamba (spec: architectures.md 1), and its mixer, which hybrids have too. The input projection is packed
 * as its two halves (x and z) and ssm_x as its three parts (dt, B, C), so that each starts at a whole vector. In the
 * last layer, after the mixer, only output rows go on.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { pad16 } from '../../native/plan.ts';
import type { BuiltPlan, Network, PlanContext } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import { Draft, packModel, type Rows } from './draft.ts';
import { packConv, States } from './parts.ts';

type Hparams = HparamsOf<'mamba'>;
type MixerHparams = Pick<Hparams, 'd_conv' | 'd_inner' | 'd_state' | 'dt_rank' | 'norm_rms_eps'>;

export function mamba(model: Model, hparams: Hparams): Network {
  const { n_embd, norm_rms_eps: eps } = hparams;
  // Norms of dt, B and C without weights.
  const norms = hparams.dt_b_c_rms ? { dt: -1, b: -1, c: -1 } : undefined;
  const { ends, layers, weights } = packModel(model, (builder, prefix) => ({
    norm: builder.vector(`${prefix}attn_norm.weight`),
    mixer: packMixer(builder, hparams, prefix),
  }));

  function build(context: PlanContext): BuiltPlan {
    const draft = new Draft(context);
    let x = draft.take(n_embd);
    const norm = draft.take(n_embd);
    const mixer = new Mixer(draft, hparams);

    draft.embed(ends.embed, n_embd, x);
    layers.forEach((layer, l) => {
      draft.rmsNorm(x, norm, n_embd, layer.norm, eps);
      let y = mixer.mix(layer.mixer, norm, norms);
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
export class Mixer {
  readonly #draft: Draft;
  readonly #hparams: MixerHparams;
  readonly #room: Readonly<Record<'xIn' | 'z' | 'conv' | 'dtIn' | 'b' | 'c' | 'dt' | 'y', Rows>>;
  readonly #convStates: States;
  readonly #ssmStates: States;

  /** `cache`: number of the network's recurrent cache. */
  constructor(draft: Draft, hparams: MixerHparams, cache = 0) {
    const { d_inner, d_state, d_conv, dt_rank } = hparams;
    this.#draft = draft;
    this.#hparams = hparams;
    this.#room = {
      xIn: draft.take(d_inner),
      z: draft.take(d_inner),
      conv: draft.take(d_inner),
      dtIn: draft.take(dt_rank),
      b: draft.take(d_state),
      c: draft.take(d_state),
      dt: draft.take(d_inner),
      y: draft.take(d_inner),
    };
    // Channels are the lanes, so all operations of the mixer are for whole vectors of them.
    this.#convStates = new States(draft, (d_conv - 1) * pad16(d_inner), cache);
    this.#ssmStates = new States(draft, pad16(d_inner) * d_state, cache);
  }

  /**
   * The mixer of one more layer over the normed rows u, up to what ssm_out projects (the caller does that, since it may
   * need only some rows). `norms`: weights of the norms of dt, B and C, -1 for a norm without.
   */
  mix(
    w: MixerWeights,
    u: Rows,
    norms?: { readonly dt: number; readonly b: number; readonly c: number },
  ): Rows {
    const draft = this.#draft;
    const { d_state, d_conv, dt_rank, norm_rms_eps: eps } = this.#hparams;
    const { xIn, z, conv, dtIn, b, c, dt, y } = this.#room;
    const n = xIn.stride;
    draft.project(w.inX, u, xIn);
    draft.project(w.inZ, u, z);
    const convState = this.#convStates.next();
    const ssmState = this.#ssmStates.next();
    draft.plan.ssmConv({
      x: xIn.at,
      xStride: xIn.stride,
      dst: conv.at,
      dstStride: conv.stride,
      n,
      dConv: d_conv,
      w: w.conv,
      bias: w.convBias,
      ...convState,
    });
    draft.project(w.xDt, conv, dtIn);
    draft.project(w.xB, conv, b);
    draft.project(w.xC, conv, c);
    if (norms !== undefined) {
      draft.rmsNorm(dtIn, dtIn, dt_rank, norms.dt, eps);
      draft.rmsNorm(b, b, d_state, norms.b, eps);
      draft.rmsNorm(c, c, d_state, norms.c, eps);
    }
    draft.project(w.dt, dtIn, dt, { bias: w.dtBias });
    draft.plan.ssmScan({
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
      a: w.a,
      ...ssmState,
    });
    draft.plan.ssmGate({
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
      dSkip: w.d,
    });
    return y;
  }
}

export type MixerWeights = ReturnType<typeof packMixer>;

export function packMixer(builder: WeightsBuilder, hparams: MixerHparams, prefix: string) {
  const { d_inner, d_state, d_conv, dt_rank } = hparams;
  const width = pad16(d_inner);
  return {
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

/**
 * The plan of a mamba (spec: architectures.md 1). The input projection is packed as its two halves (x and z) and ssm_x
 * as its three parts (dt, B, C), so that each starts at a whole vector. In the last layer, after the mixer, only
 * output rows go on.
 */
import type { MambaHparams, Model } from '../model/types.ts';
import { DIM, PlanBuilder, pad16 } from '../native/plan.ts';
import { Arena, type BuiltPlan, type Network, type PlanContext } from './layout.ts';
import { project, projectOutputs } from './projection.ts';
import { type Matrix, WeightsBuilder } from './weights.ts';

interface LayerWeights {
  readonly norm: number;
  readonly inX: Matrix;
  readonly inZ: Matrix;
  readonly conv: number;
  readonly convBias: number;
  readonly xDt: Matrix;
  readonly xB: Matrix;
  readonly xC: Matrix;
  readonly dt: Matrix;
  readonly dtBias: number;
  readonly a: number;
  readonly d: number;
  readonly out: Matrix;
}

export function mambaNetwork(model: Model, hparams: MambaHparams): Network {
  const builder = new WeightsBuilder(model);
  const embed = builder.table('token_embd.weight');
  const layers: LayerWeights[] = [];
  for (let l = 0; l < hparams.n_layer; l++) layers.push(packLayer(builder, hparams, `blk.${l}.`));
  const outputNorm = builder.vector('output_norm.weight');
  const output = builder.matrix(builder.has('output.weight') ? 'output.weight' : 'token_embd.weight');
  const weights = builder.build();

  function build(context: PlanContext): BuiltPlan {
    const { n_embd, d_inner, d_state, d_conv, dt_rank } = hparams;
    const { tokens, index, n_seq_max } = context;
    const widthE = pad16(n_embd);
    const widthD = pad16(d_inner);
    const widthN = pad16(d_state);
    const widthR = pad16(dt_rank);
    const convWidth = (d_conv - 1) * widthD;
    const ssmWidth = widthD * d_state;

    const act = new Arena();
    let x = act.take(tokens * widthE);
    const norm = act.take(tokens * widthE);
    const xIn = act.take(tokens * widthD);
    const z = act.take(tokens * widthD);
    const conv = act.take(tokens * widthD);
    const dtIn = act.take(tokens * widthR);
    const b = act.take(tokens * widthN);
    const c = act.take(tokens * widthN);
    const dt = act.take(tokens * widthD);
    let y = act.take(tokens * widthD);
    const xOut = act.take(tokens * widthE);
    const yOut = act.take(tokens * widthD);
    const movedConv = act.take(n_seq_max * convWidth);
    const movedSsm = act.take(n_seq_max * ssmWidth);

    const plan = new PlanBuilder();
    let rows: number = DIM.tokens;
    const into = (
      m: Matrix,
      src: number,
      srcStride: number,
      dst: number,
      dstStride: number,
      how?: { bias?: number; add?: boolean },
    ) => project(plan, rows, m, { at: src, stride: srcStride }, { at: dst, stride: dstStride }, how);
    const normalize = (src: number, dst: number, width: number, n: number, weight: number) =>
      plan.rmsNorm({
        rows,
        src,
        srcStride: width,
        dst,
        dstStride: width,
        n,
        weight,
        eps: hparams.norm_rms_eps,
      });
    /** Rows of one state tensor follow their slots: those that move are read before any is written. */
    const moveStates = (state: number, width: number, moved: number) => {
      plan.stateGather({ src: state, width, ids: index.movedIds, dst: moved });
      plan.stateScatter({ src: moved, width, srcIds: index.extraSrc, dst: state, dstIds: index.extraDst });
    };
    const ids = { srcIds: index.srcIds, dstIds: index.dstIds };
    const layerWords = n_seq_max * (convWidth + ssmWidth);

    plan.embed({
      rows,
      dst: x,
      dstStride: widthE,
      table: embed.offset,
      tableStride: embed.stride,
      type: embed.type,
      n: n_embd,
      ids: index.tokenIds,
    });
    layers.forEach((layer, l) => {
      const convState = l * layerWords;
      const ssmState = convState + n_seq_max * convWidth;
      normalize(x, norm, widthE, n_embd, layer.norm);
      into(layer.inX, norm, widthE, xIn, widthD);
      into(layer.inZ, norm, widthE, z, widthD);
      moveStates(convState, convWidth, movedConv);
      moveStates(ssmState, ssmWidth, movedSsm);
      plan.ssmConv({
        x: xIn,
        xStride: widthD,
        dst: conv,
        dstStride: widthD,
        n: widthD,
        dConv: d_conv,
        w: layer.conv,
        bias: layer.convBias,
        state: convState,
        ...ids,
        moved: movedConv,
      });
      into(layer.xDt, conv, widthD, dtIn, widthR);
      into(layer.xB, conv, widthD, b, widthN);
      into(layer.xC, conv, widthD, c, widthN);
      if (hparams.dt_b_c_rms) {
        normalize(dtIn, dtIn, widthR, dt_rank, -1);
        normalize(b, b, widthN, d_state, -1);
        normalize(c, c, widthN, d_state, -1);
      }
      into(layer.dt, dtIn, widthR, dt, widthD, { bias: layer.dtBias });
      plan.ssmScan({
        x: conv,
        xStride: widthD,
        dt,
        dtStride: widthD,
        b,
        bStride: widthN,
        c,
        cStride: widthN,
        dst: y,
        dstStride: widthD,
        n: widthD,
        nState: d_state,
        a: layer.a,
        state: ssmState,
        ...ids,
        moved: movedSsm,
      });
      plan.ssmGate({
        rows,
        y,
        yStride: widthD,
        x: conv,
        xStride: widthD,
        z,
        zStride: widthD,
        dst: y,
        dstStride: widthD,
        n: widthD,
        dSkip: layer.d,
      });
      if (l === layers.length - 1) {
        rows = DIM.outputs;
        plan.gatherRows({
          rows,
          src: x,
          srcStride: widthE,
          dst: xOut,
          dstStride: widthE,
          n: widthE,
          ids: index.outIds,
        });
        plan.gatherRows({
          rows,
          src: y,
          srcStride: widthD,
          dst: yOut,
          dstStride: widthD,
          n: widthD,
          ids: index.outIds,
        });
        x = xOut;
        y = yOut;
      }
      into(layer.out, y, widthD, x, widthE, { add: true });
    });
    normalize(x, norm, widthE, n_embd, outputNorm);
    projectOutputs(plan, output, { at: norm, stride: widthE }, index.outRows);
    const cacheBytes = layers.length * layerWords * 4;
    return { plan: plan.build(), n_ops: plan.n_ops, actWords: act.words, cacheBytes, ropeTable: -1 };
  }

  return { memory: 'recurrent', weights, build };
}

function packLayer(builder: WeightsBuilder, hparams: MambaHparams, prefix: string): LayerWeights {
  const { d_inner, d_state, d_conv, dt_rank } = hparams;
  const width = pad16(d_inner);
  return {
    norm: builder.vector(`${prefix}attn_norm.weight`),
    inX: builder.matrix(`${prefix}ssm_in.weight`, 0, d_inner),
    inZ: builder.matrix(`${prefix}ssm_in.weight`, d_inner, 2 * d_inner),
    // {d_conv, D} becomes [d_conv][D]: the channels are the lanes.
    conv: builder.arranged(`${prefix}ssm_conv1d.weight`, d_conv * width, (i) => {
      const channel = i % width;
      return channel < d_inner ? channel * d_conv + Math.floor(i / width) : -1;
    }),
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

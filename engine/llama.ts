/** The plan of a llama (spec: architectures.md 3). In the last layer, after attention, only output rows go on. */
import type { LlamaHparams, Model } from '../model/types.ts';
import { DIM, PlanBuilder, pad16, TYPE } from '../native/plan.ts';
import { Arena, type BuiltPlan, type Network, type PlanContext } from './layout.ts';
import { project, projectOutputs } from './projection.ts';
import { type Matrix, WeightsBuilder } from './weights.ts';

interface LayerWeights {
  readonly attnNorm: number;
  readonly q: Matrix;
  readonly k: Matrix;
  readonly v: Matrix;
  readonly o: Matrix;
  readonly ffnNorm: number;
  readonly gate: Matrix;
  readonly up: Matrix;
  readonly down: Matrix;
}

export function llamaNetwork(model: Model, hparams: LlamaHparams): Network {
  const builder = new WeightsBuilder(model);
  const embed = builder.table('token_embd.weight');
  const layers: LayerWeights[] = [];
  for (let l = 0; l < hparams.n_layer; l++) layers.push(packLayer(builder, `blk.${l}.`));
  const outputNorm = builder.vector('output_norm.weight');
  const output = builder.matrix(builder.has('output.weight') ? 'output.weight' : 'token_embd.weight');
  const weights = builder.build();

  function build(context: PlanContext): BuiltPlan {
    const { n_embd, n_head, n_head_kv, n_embd_head: d, n_ff, n_rot } = hparams;
    const { tokens, index } = context;
    const act = new Arena();
    const widthE = pad16(n_embd);
    const widthQ = pad16(n_head * d);
    const widthKv = pad16(n_head_kv * d);
    const widthF = pad16(n_ff);
    let x = act.take(tokens * widthE);
    const norm = act.take(tokens * widthE);
    const q = act.take(tokens * widthQ);
    const k = act.take(tokens * widthKv);
    const v = act.take(tokens * widthKv);
    let att = act.take(tokens * widthQ);
    const gate = act.take(tokens * widthF);
    const up = act.take(tokens * widthF);
    const xOut = act.take(tokens * widthE);
    const attOut = act.take(tokens * widthQ);
    const ropeTable = act.take(tokens * pad16(n_rot));
    const rope = { nHead: n_head, d, nRot: n_rot, table: ropeTable, tableStride: pad16(n_rot) };

    const cell = n_head_kv * d * (context.typeKv === TYPE.F16 ? 2 : 4);
    const layerWords = pad16((context.n_ctx * cell) / 4);
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
    const normalize = (weight: number) =>
      plan.rmsNorm({
        rows,
        src: x,
        srcStride: widthE,
        dst: norm,
        dstStride: widthE,
        n: n_embd,
        weight,
        eps: hparams.norm_rms_eps,
      });

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
      const keys = 2 * l * layerWords;
      const values = keys + layerWords;
      normalize(layer.attnNorm);
      into(layer.q, norm, widthE, q, widthQ);
      into(layer.k, norm, widthE, k, widthKv);
      into(layer.v, norm, widthE, v, widthKv);
      plan.rope({ rows, x: q, stride: widthQ, ...rope });
      plan.rope({ rows, x: k, stride: widthKv, ...rope, nHead: n_head_kv });
      plan.kvStore({
        rows,
        src: k,
        stride: widthKv,
        n: n_head_kv * d,
        dst: keys,
        type: context.typeKv,
        cells: index.cells,
      });
      plan.kvStore({
        rows,
        src: v,
        stride: widthKv,
        n: n_head_kv * d,
        dst: values,
        type: context.typeKv,
        cells: index.cells,
      });
      plan.attention({
        q,
        qStride: widthQ,
        dst: att,
        dstStride: widthQ,
        nHead: n_head,
        nHeadKv: n_head_kv,
        d,
        k: keys,
        v: values,
        type: context.typeKv,
        scale: Math.fround(1 / Math.sqrt(d)),
        index: index.attention,
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
          src: att,
          srcStride: widthQ,
          dst: attOut,
          dstStride: widthQ,
          n: widthQ,
          ids: index.outIds,
        });
        x = xOut;
        att = attOut;
      }
      into(layer.o, att, widthQ, x, widthE, { add: true });
      normalize(layer.ffnNorm);
      into(layer.gate, norm, widthE, gate, widthF);
      into(layer.up, norm, widthE, up, widthF);
      plan.siluMul({ rows, gate, up, dst: gate, stride: widthF, n: n_ff });
      into(layer.down, gate, widthF, x, widthE, { add: true });
    });
    normalize(outputNorm);
    projectOutputs(plan, output, { at: norm, stride: widthE }, index.outRows);
    const cacheBytes = 2 * layers.length * layerWords * 4;
    return { plan: plan.build(), n_ops: plan.n_ops, actWords: act.words, cacheBytes, ropeTable };
  }

  return { memory: 'attention', weights, build };
}

function packLayer(builder: WeightsBuilder, prefix: string): LayerWeights {
  return {
    attnNorm: builder.vector(`${prefix}attn_norm.weight`),
    q: builder.matrix(`${prefix}attn_q.weight`),
    k: builder.matrix(`${prefix}attn_k.weight`),
    v: builder.matrix(`${prefix}attn_v.weight`),
    o: builder.matrix(`${prefix}attn_output.weight`),
    ffnNorm: builder.vector(`${prefix}ffn_norm.weight`),
    gate: builder.matrix(`${prefix}ffn_gate.weight`),
    up: builder.matrix(`${prefix}ffn_up.weight`),
    down: builder.matrix(`${prefix}ffn_down.weight`),
  };
}

/** The plan of an RWKV-7 (spec: architectures.md 10). */
import type { HparamsOf, Model } from '../../model/types.ts';
import * as ops from '../../native/plan-rwkv.ts';
import type { Network } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import type { Draft } from './draft.ts';
import { apply, lowRank, type Mixes, mix, normHeads, packCommon, packFused, rwkvNetwork } from './rwkv.ts';

type Hparams = HparamsOf<'rwkv7'>;
type Layer = ReturnType<typeof packLayer>;

export function rwkv7(model: Model, hparams: Hparams): Network {
  return rwkvNetwork(
    model,
    hparams,
    (builder, blk, l) => packLayer(builder, hparams, blk, l),
    (draft) => mixes(draft, hparams),
  );
}

function mixes(draft: Draft, hparams: Hparams): Mixes<Layer> {
  const { n_embd, n_head: nHead, n_embd_head: d } = hparams;
  const { plan } = draft;
  const take = () => draft.take(n_embd);
  const [r, w, k, v, a, g, kappa, b, share, vFirst] = [
    take(),
    take(),
    take(),
    take(),
    take(),
    take(),
    take(),
    take(),
    take(),
    take(),
  ];
  const { rank_decay, rank_iclr, rank_value, rank_gate } = hparams;
  const low = draft.take(Math.max(rank_decay, rank_iclr, rank_value, rank_gate));
  return {
    timeMix(layer, rows, state) {
      const { mixed, y } = rows;
      const { stride } = y;
      const shifted = (weight: number) => mix(draft, rows, mixed, { weight });
      shifted(layer.lerp.r);
      draft.project(layer.receptance, mixed, r);
      shifted(layer.lerp.w);
      lowRank(draft, layer.decay, { src: mixed, low, dst: w }, 'tanh');
      apply(draft, 'decay7', w, n_embd);
      shifted(layer.lerp.k);
      draft.project(layer.key, mixed, k);
      shifted(layer.lerp.v);
      // Later layers draw their values to those of the first one.
      const values = layer.residual === undefined ? vFirst : v;
      draft.project(layer.value, mixed, values);
      if (layer.residual !== undefined) {
        lowRank(draft, layer.residual, { src: mixed, low, dst: share });
        apply(draft, 'sigmoid', share, n_embd);
        const way = { x: v.at, to: vFirst.at, dst: v.at, stride, n: stride, weight: -1, way: share.at };
        ops.lerp(plan, { rows: draft.rows, ...way });
      }
      shifted(layer.lerp.a);
      lowRank(draft, layer.iclr, { src: mixed, low, dst: a });
      apply(draft, 'sigmoid', a, n_embd);
      shifted(layer.lerp.g);
      lowRank(draft, layer.gate, { src: mixed, low, dst: g }, 'sigmoid');
      const heads = { stride, nHead, d };
      const { keyScale, keyIclr } = layer;
      const keys = { k: k.at, iclr: a.at, kappa: kappa.at, b: b.at, keyScale, keyIclr };
      ops.wkv7Keys(plan, { rows: draft.rows, ...keys, ...heads });
      const token = { r: r.at, w: w.at, k: k.at, v: values.at, kappa: kappa.at, b: b.at };
      ops.wkv7(plan, { ...token, dst: y.at, ...heads, ...state });
      normHeads(draft, y, layer.headNorm, hparams);
      const bonus = { y: y.at, r: r.at, k: k.at, v: values.at, g: g.at, rk: layer.bonus };
      ops.wkv7Output(plan, { rows: draft.rows, ...bonus, ...heads });
    },
    channelEnd(layer, _l, { x, ff }) {
      draft.project(layer.channelValue, ff, x, { add: true });
    },
  };
}

function packLayer(builder: WeightsBuilder, { n_embd }: Hparams, blk: string, l: number) {
  const time = `${blk}time_mix_`;
  const product = (name: string) => ({
    m1: builder.matrix(`${time}${name}1.weight`),
    m2: builder.matrix(`${time}${name}2.weight`),
  });
  const biased = (name: string) => ({ ...product(name), bias: builder.vector(`${time}${name}0.weight`) });
  const lerp = (part: number) => packFused(builder, `${time}lerp_fused.weight`, part, n_embd);
  return {
    ...packCommon(builder, blk),
    lerp: { r: lerp(0), w: lerp(1), k: lerp(2), v: lerp(3), a: lerp(4), g: lerp(5) },
    decay: biased('w'),
    iclr: biased('a'),
    residual: l === 0 ? undefined : biased('v'),
    gate: product('g'),
    keyScale: builder.vector(`${time}k_k.weight`),
    keyIclr: builder.vector(`${time}k_a.weight`),
    bonus: builder.vector(`${time}r_k.weight`),
  };
}

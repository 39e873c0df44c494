/**
 * The plan of an RWKV-6 (spec: architectures.md 9). The product from which the five mixes come is packed as its five
 * parts, so that each starts at a whole vector.
 */
import type { HparamsOf, Model } from '../../model/types.ts';
import { pad16 } from '../../native/plan.ts';
import * as ops from '../../native/plan-rwkv.ts';
import type { Network } from '../layout.ts';
import type { WeightsBuilder } from '../weights.ts';
import type { Draft } from './draft.ts';
import { apply, lowRank, type Mixes, mix, normHeads, packCommon, packFused, rwkvNetwork } from './rwkv.ts';

type Hparams = HparamsOf<'rwkv6'>;
type Layer = ReturnType<typeof packLayer>;

/** In the order of the tensors that hold all five. */
const PARTS = ['w', 'k', 'v', 'r', 'g'] as const;

export function rwkv6(model: Model, hparams: Hparams): Network {
  return rwkvNetwork(
    model,
    hparams,
    (builder, blk) => packLayer(builder, hparams, blk),
    (draft) => mixes(draft, hparams),
  );
}

function mixes(draft: Draft, hparams: Hparams): Mixes<Layer> {
  const { n_embd, n_head: nHead, n_embd_head: d, rank_mix, rank_decay, rescale_every: q } = hparams;
  const { plan } = draft;
  const take = () => draft.take(n_embd);
  const [r, w, k, v, g, way] = [take(), take(), take(), take(), take(), take()];
  const lows = PARTS.map(() => draft.take(rank_mix));
  const low = draft.take(rank_decay);
  return {
    timeMix(layer, rows, state) {
      const { mixed, y } = rows;
      const { stride } = y;
      mix(draft, rows, mixed, { weight: layer.lerpX });
      PARTS.forEach((_, part) => {
        draft.project(layer.ways[part]!.m1, mixed, lows[part]!);
        apply(draft, 'tanh', lows[part]!, rank_mix);
      });
      /** mixed = x on the way of this part. */
      const shifted = (name: (typeof PARTS)[number]) => {
        const { m2, lerp } = layer.ways[PARTS.indexOf(name)]!;
        draft.project(m2, lows[PARTS.indexOf(name)]!, way);
        mix(draft, rows, mixed, { weight: lerp, way });
      };
      shifted('w');
      lowRank(draft, layer.decay, { src: mixed, low, dst: w }, 'tanh');
      apply(draft, 'decay6', w, n_embd);
      shifted('k');
      draft.project(layer.key, mixed, k);
      shifted('v');
      draft.project(layer.value, mixed, v);
      shifted('r');
      draft.project(layer.receptance, mixed, r);
      shifted('g');
      draft.project(layer.gate, mixed, g);
      const token = { r: r.at, w: w.at, k: k.at, v: v.at };
      ops.wkv6(plan, { ...token, dst: y.at, stride, nHead, d, u: layer.first, ...state });
      normHeads(draft, y, layer.headNorm, hparams);
      plan.siluMul({ rows: draft.rows, gate: g.at, up: y.at, dst: y.at, stride, n: n_embd });
    },
    channelEnd(layer, l, rows) {
      const { x, mixed, y, ff } = rows;
      const { stride } = x;
      draft.project(layer.channelValue, ff, y);
      mix(draft, rows, mixed, { weight: layer.channelLerpR });
      draft.project(layer.channelReceptance, mixed, way);
      const scale = q > 0 && (l + 1) % q === 0 ? 0.5 : 1;
      ops.gatedAdd(plan, { rows: draft.rows, gate: way.at, y: y.at, x: x.at, stride, n: stride, scale });
    },
  };
}

function packLayer(builder: WeightsBuilder, { n_embd, rank_mix }: Hparams, blk: string) {
  const time = `${blk}time_mix_`;
  const fused = `${time}lerp_fused.weight`;
  const lerp = (name: string, part: number) =>
    builder.has(fused)
      ? packFused(builder, fused, part, n_embd)
      : builder.vector(`${time}lerp_${name}.weight`);
  return {
    ...packCommon(builder, blk),
    lerpX: builder.vector(`${time}lerp_x.weight`),
    ways: PARTS.map((name, part) => ({
      m1: builder.matrix(`${time}w1.weight`, part * rank_mix, (part + 1) * rank_mix),
      m2: builder.matrix(`${time}w2.weight`, part * n_embd, (part + 1) * n_embd),
      lerp: lerp(name, part),
    })),
    decay: {
      m1: builder.matrix(`${time}decay_w1.weight`),
      m2: builder.matrix(`${time}decay_w2.weight`),
      bias: builder.vector(`${time}decay.weight`),
    },
    gate: builder.matrix(`${time}gate.weight`),
    // {n, heads} is one row of all heads.
    first: builder.arranged(`${time}first.weight`, pad16(n_embd), (i) => (i < n_embd ? i : -1)),
    channelLerpR: builder.vector(`${blk}channel_mix_lerp_r.weight`),
    channelReceptance: builder.matrix(`${blk}channel_mix_receptance.weight`),
  };
}

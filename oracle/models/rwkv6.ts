/** RWKV-6 over lists of entries (spec: architectures.md 9). */
import type { HparamsOf } from '../../model/types.ts';
import { linear, type Pass } from './parts.ts';
import { headNorm, type Layer, layerNorm, rwkvRows } from './rwkv.ts';

type Hparams = HparamsOf<'rwkv6'>;

/** Order of the mixes in the tensors that hold all five. */
const PARTS = ['w', 'k', 'v', 'r', 'g'] as const;
type Part = (typeof PARTS)[number];

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const { rescale_every: q } = hparams;
  const halved = (h: R, il: number) =>
    q > 0 && (il + 1) % q === 0 ? pass.ops.scale(h, 0.5, `blk.${il}.rescale`) : h;
  return rwkvRows(pass, hparams, (il) => layerOf(pass, hparams, il), halved);
}

function layerOf<R>(pass: Pass<R>, hparams: Hparams, il: number): Layer<R> {
  const { weights, ops } = pass;
  const { n_embd, n_head, norm_eps, rank_mix } = hparams;
  const blk = `blk.${il}`;
  const mix = `${blk}.time_mix`;
  const constant = (name: string) => ops.constant(weights.vector(`${name}.weight`));
  const [norm, norm_2] = [
    layerNorm(pass, `${blk}.attn_norm`, norm_eps),
    layerNorm(pass, `${blk}.attn_norm_2`, norm_eps),
  ];
  const of = (name: string) => linear(pass, `${mix}_${name}`);
  const [w1, decay_w1, decay_w2] = [of('w1'), of('decay_w1'), of('decay_w2')];
  const w2 = weights.matrices(`${mix}_w2.weight`);
  const [receptance, key, value, gate, output] = [
    of('receptance'),
    of('key'),
    of('value'),
    of('gate'),
    of('output'),
  ];
  const lerp_x = constant(`${mix}_lerp_x`);
  const lerps = lerpsOf(pass, mix, n_embd);
  const decay = constant(`${mix}_decay`);
  const first = weights.vector(`${mix}_first.weight`);
  const ln = headNorm(pass, `${mix}_ln`, n_head);
  const [channel_lerp_k, channel_lerp_r] = [
    constant(`${blk}.channel_mix_lerp_k`),
    constant(`${blk}.channel_mix_lerp_r`),
  ];
  const channel = (name: string) => linear(pass, `${blk}.channel_mix_${name}`);
  const [channel_key, channel_value, channel_receptance] = [
    channel('key'),
    channel('value'),
    channel('receptance'),
  ];

  function timeMix(x: R, x_prev: R, wkv: R): { y: R; wkv: R } {
    const m = ops.apply('tanh', w1(ops.lerp(x, x_prev, lerp_x, `${mix}.lerp_x`)), `${mix}.w1_tanh`);
    const shifted = (part: Part): R => {
      const j = PARTS.indexOf(part);
      const own = ops.matVec(w2[j]!, ops.slice(m, j * rank_mix, (j + 1) * rank_mix), `${mix}_w2.${part}`);
      return ops.lerp(x, x_prev, ops.add(lerps[part], own, `${mix}.way_${part}`), `${mix}.lerp_${part}`);
    };
    const low = ops.apply('tanh', decay_w1(shifted('w')), `${mix}.decay_tanh`);
    const exponent = ops.apply('exp', ops.add(decay, decay_w2(low), `${mix}.decay_add`), `${mix}.decay_exp`);
    const w = ops.apply('exp', ops.scale(exponent, -1, `${mix}.decay_less`), `${mix}.kept`);
    const token = { r: receptance(shifted('r')), k: key(shifted('k')), v: value(shifted('v')), w };
    const g = ops.silu(gate(shifted('g')), `${mix}.gate_silu`);
    const out = ops.wkv6(wkv, token, first, n_head, `${mix}.wkv`);
    return { y: output(ops.mul(ln(out.y), g, `${mix}.gate_mul`)), wkv: out.state };
  }

  function channelMix(y: R, y_prev: R): R {
    const shifted = (by: R, part: string) => ops.lerp(y, y_prev, by, `${blk}.channel_mix.lerp_${part}`);
    const squared = ops.apply(
      'reluSquared',
      channel_key(shifted(channel_lerp_k, 'k')),
      `${blk}.channel_mix.relu`,
    );
    const r = channel_receptance(shifted(channel_lerp_r, 'r'));
    const open = ops.apply('sigmoid', r, `${blk}.channel_mix.sigmoid`);
    return ops.mul(open, channel_value(squared), `${blk}.channel_mix.mul`);
  }

  return (h, _t, before) => {
    const x = norm(h);
    const mixer = timeMix(x, before.time, before.wkv);
    const middle = ops.add(h, mixer.y, `${mix}.add`);
    const y = norm_2(middle);
    const after = ops.add(middle, channelMix(y, before.channel), `${blk}.channel_mix.add`);
    return { h: after, state: { time: x, channel: y, wkv: mixer.wkv } };
  };
}

/** The five mixes, from one tensor or from five. */
function lerpsOf<R>({ weights, ops }: Pass<R>, mix: string, n_embd: number): Record<Part, R> {
  const fused = `${mix}_lerp_fused.weight`;
  const whole = weights.has(fused) ? weights.vector(fused) : undefined;
  const lerp = (part: Part): R => {
    const j = PARTS.indexOf(part);
    const own = whole?.slice(j * n_embd, (j + 1) * n_embd) ?? weights.vector(`${mix}_lerp_${part}.weight`);
    return ops.constant(own);
  };
  return { w: lerp('w'), k: lerp('k'), v: lerp('v'), r: lerp('r'), g: lerp('g') };
}

/** RWKV-7 over lists of entries (spec: architectures.md 10). */
import type { HparamsOf } from '../../model/types.ts';
import { linear, type Pass } from './parts.ts';
import { headNorm, type Layer, layerNorm, rwkvRows } from './rwkv.ts';

type Hparams = HparamsOf<'rwkv7'>;

/** The decay of a step is at least e to the power of this, a float32. */
const STRONGEST_DECAY = Math.fround(-0.606531);
const UNIT_EPS = 1e-12;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  /** Values of the first layer, by place. */
  const v_first: R[] = [];
  return rwkvRows(pass, hparams, (il) => layerOf(pass, hparams, il, v_first));
}

function layerOf<R>(pass: Pass<R>, hparams: Hparams, il: number, v_first: R[]): Layer<R> {
  const { weights, ops } = pass;
  const { n_embd, n_head, norm_eps } = hparams;
  const blk = `blk.${il}`;
  const mix = `${blk}.time_mix`;
  const constant = (name: string) => ops.constant(weights.vector(`${name}.weight`));
  const all = (value: number) => ops.constant(new Float64Array(n_embd).fill(value));
  const fused = weights.vector(`${mix}_lerp_fused.weight`);
  const [lerp_r, lerp_w, lerp_k, lerp_v, lerp_a, lerp_g] = [0, 1, 2, 3, 4, 5].map((part) =>
    ops.constant(fused.slice(part * n_embd, (part + 1) * n_embd)),
  ) as [R, R, R, R, R, R];
  const [norm, norm_2] = [
    layerNorm(pass, `${blk}.attn_norm`, norm_eps),
    layerNorm(pass, `${blk}.attn_norm_2`, norm_eps),
  ];
  const of = (name: string) => linear(pass, `${mix}_${name}`);
  const [receptance, key, value, output] = [of('receptance'), of('key'), of('value'), of('output')];
  const [w1, w2, a1, a2, g1, g2] = [of('w1'), of('w2'), of('a1'), of('a2'), of('g1'), of('g2')];
  const [w0, a0] = [constant(`${mix}_w0`), constant(`${mix}_a0`)];
  const [k_k, k_a, r_k] = [constant(`${mix}_k_k`), constant(`${mix}_k_a`), constant(`${mix}_r_k`)];
  const ln = headNorm(pass, `${mix}_ln`, n_head);
  const channel_lerp_k = constant(`${blk}.channel_mix_lerp_k`);
  const channel_key = linear(pass, `${blk}.channel_mix_key`);
  const channel_value = linear(pass, `${blk}.channel_mix_value`);

  /** Values are drawn to those of the first layer. */
  const mixed = ((): ((v: R, x_v: R, t: number) => R) => {
    if (il === 0) {
      weights.ignore(`${mix}_v0.weight`, `${mix}_v1.weight`, `${mix}_v2.weight`);
      return (v) => {
        v_first.push(v);
        return v;
      };
    }
    const [v0, v1, v2] = [constant(`${mix}_v0`), of('v1'), of('v2')];
    return (v, x_v, t) => {
      const share = ops.apply('sigmoid', ops.add(v0, v2(v1(x_v)), `${mix}.v_add`), `${mix}.v_sigmoid`);
      return ops.lerp(v, v_first[t]!, share, `${mix}.v_lerp`);
    };
  })();

  function timeMix(x: R, t: number, x_prev: R, wkv: R): { y: R; wkv: R } {
    const shifted = (by: R, part: string) => ops.lerp(x, x_prev, by, `${mix}.lerp_${part}`);
    const r = receptance(shifted(lerp_r, 'r'));
    const decay = ops.add(
      w0,
      w2(ops.apply('tanh', w1(shifted(lerp_w, 'w')), `${mix}.w_tanh`)),
      `${mix}.w_add`,
    );
    const exponent = ops.scale(
      ops.apply('sigmoid', decay, `${mix}.w_sigmoid`),
      STRONGEST_DECAY,
      `${mix}.w_scale`,
    );
    const w = ops.apply('exp', exponent, `${mix}.w_exp`);
    const k = key(shifted(lerp_k, 'k'));
    const x_v = shifted(lerp_v, 'v');
    const v = mixed(value(x_v), x_v, t);
    const a = ops.apply(
      'sigmoid',
      ops.add(a0, a2(a1(shifted(lerp_a, 'a'))), `${mix}.a_add`),
      `${mix}.a_sigmoid`,
    );
    const g = g2(ops.apply('sigmoid', g1(shifted(lerp_g, 'g')), `${mix}.g_sigmoid`));
    const kappa = ops.unitParts(ops.mul(k, k_k, `${mix}.k_k`), n_head, UNIT_EPS, `${mix}.kappa`);
    const less = ops.mul(ops.add(a, all(-1), `${mix}.a_less`), k_a, `${mix}.k_a`);
    const k_new = ops.mul(k, ops.add(all(1), less, `${mix}.k_share`), `${mix}.k_new`);
    const out = ops.wkv7(wkv, { r, w, k: k_new, v, kappa, iclr: a }, n_head, `${mix}.wkv`);
    const bonus = ops.partSums(
      ops.mul(ops.mul(k_new, r, `${mix}.kr`), r_k, `${mix}.r_k`),
      n_head,
      `${mix}.bonus`,
    );
    const o = ops.add(ln(out.y), ops.mul(bonus, v, `${mix}.bonus_v`), `${mix}.bonus_add`);
    return { y: output(ops.mul(o, g, `${mix}.gate`)), wkv: out.state };
  }

  function channelMix(y: R, y_prev: R): R {
    const y_k = ops.lerp(y, y_prev, channel_lerp_k, `${blk}.channel_mix.lerp_k`);
    return channel_value(ops.apply('reluSquared', channel_key(y_k), `${blk}.channel_mix.relu`));
  }

  return (h, t, before) => {
    const x = norm(h);
    const mixer = timeMix(x, t, before.time, before.wkv);
    const middle = ops.add(h, mixer.y, `${mix}.add`);
    const y = norm_2(middle);
    const after = ops.add(middle, channelMix(y, before.channel), `${blk}.channel_mix.add`);
    return { h: after, state: { time: x, channel: y, wkv: mixer.wkv } };
  };
}

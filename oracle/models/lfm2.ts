/**
 * lfm2 over lists of entries. Layers without heads of keys and values are short convolutions: of the three parts b, c
 * and x of in_proj u, the last columns of b x are convolved, without bias, and c times that goes through out_proj. The
 * others attend, with normed heads and NEOX pairs. (Sources: LiquidAI's LFM2 and llama.cpp's src/models/lfm2.cpp.)
 */
import type { HparamsOf } from '../../model/types.ts';
import {
  attention,
  embedded,
  feedForward,
  linear,
  outputs,
  type Pass,
  previousPlaces,
  rmsNorm,
  sawPlaces,
} from './parts.ts';

type Hparams = HparamsOf<'lfm2'>;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const { norm_rms_eps: eps, n_embd_head, n_rot } = hparams;
  const before = previousPlaces(pass);
  const saw = sawPlaces(pass);
  const pairs = { freq_base: hparams.rope_freq_base, freq_scale: hparams.rope_freq_scale };
  const rope = { type: 'NEOX', n_embd_head, n_rot, ...pairs } as const;
  let h = embedded(pass);
  hparams.n_head_kv.forEach((n_head_kv, il) => {
    const blk = `blk.${il}`;
    const u = h.map(rmsNorm(pass, `${blk}.attn_norm`, eps));
    const m =
      n_head_kv > 0
        ? attention(pass, il, u, saw, { ...hparams, n_head_kv }, { rope, headNormEps: eps })
        : shortConvolution(pass, hparams, blk, u, before);
    h = h.map((x, t) => pass.ops.add(x, m[t]!, `${blk}.add`));
    h = feedForward(pass, il, h, eps);
  });
  return outputs(pass, h, rmsNorm(pass, 'token_embd_norm', eps));
}

/** out_proj (c conv(b x)), (b, c, x) = in_proj u. What a layer remembers after an entry: the last d_conv-1 columns b x. */
function shortConvolution<R>(
  pass: Pass<R>,
  { n_embd, d_conv }: Hparams,
  blk: string,
  u: readonly R[],
  before: readonly number[],
): R[] {
  const { weights, ops } = pass;
  const in_proj = linear(pass, `${blk}.shortconv.in_proj`);
  const conv = weights.matrix(`${blk}.shortconv.conv.weight`);
  const out_proj = linear(pass, `${blk}.shortconv.out_proj`);
  const zero: readonly R[] = Array.from({ length: d_conv - 1 }, () => ops.zeros(n_embd));
  const states: (readonly R[])[] = [];
  return u.map((ut, t) => {
    const bcx = in_proj(ut);
    const [b, c, x] = [0, 1, 2].map((part) => ops.slice(bcx, part * n_embd, (part + 1) * n_embd));
    const columns = [...(states[before[t]!] ?? zero), ops.mul(b!, x!, `${blk}.conv_in`)];
    states.push(columns.slice(1));
    return out_proj(ops.mul(c!, ops.ssmConv(columns, conv, `${blk}.conv`), `${blk}.conv_gate`));
  });
}

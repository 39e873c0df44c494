/**
 * falcon-h1 over lists of entries: in every layer attention (NEOX pairs) and the mixer of Mamba-2, without a norm, read
 * the same normed row, and both are added. (Sources: tiiuae's Falcon-H1 and llama.cpp's src/models/falcon-h1.cpp;
 * multipliers are folded into the weights by the converter.)
 */
import type { HparamsOf } from '../../model/types.ts';
import { mixed } from './mamba2.ts';
import {
  attention,
  embedded,
  gatedFeedForward,
  outputs,
  type Pass,
  previousPlaces,
  rmsNorm,
  sawPlaces,
} from './parts.ts';

type Hparams = HparamsOf<'falcon-h1'>;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const { norm_rms_eps: eps, n_embd_head, n_rot } = hparams;
  const { ops, weights } = pass;
  const before = previousPlaces(pass);
  const saw = sawPlaces(pass);
  const pairs = { freq_base: hparams.rope_freq_base, freq_scale: hparams.rope_freq_scale };
  const rope = { type: 'NEOX', n_embd_head, n_rot, ...pairs } as const;
  let h = embedded(pass);
  for (let il = 0; il < hparams.n_layer; il++) {
    const blk = `blk.${il}`;
    const u = h.map(rmsNorm(pass, `${blk}.attn_norm`, eps));
    const a = attention(pass, il, u, saw, hparams, { rope });
    const s = mixed(pass, hparams, blk, u, before);
    h = h.map((x, t) => ops.add(ops.add(a[t]!, s[t]!, `${blk}.both`), x, `${blk}.add`));
    const ffn_norm = weights.vector(`${blk}.ffn_norm`);
    const ffn = gatedFeedForward(pass, blk);
    h = h.map((x) => ops.add(x, ffn(ops.rmsNorm(x, eps, ffn_norm, `${blk}.ffn_norm`)), `${blk}.ffn_add`));
  }
  return outputs(pass, h, rmsNorm(pass, 'output_norm', eps));
}

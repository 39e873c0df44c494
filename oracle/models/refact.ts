/**
 * refact over lists of entries: a llama (spec: architectures.md 3) that turns nothing; a score falls with the distance
 * between the query and where its key stood when it was seen (spec: batching.md 6.1, 6.5).
 */
import type { HparamsOf } from '../../model/types.ts';
import { slopesOf } from '../alibi.ts';
import { attended, embedded, feedForward, linear, outputs, type Pass, rmsNorm, sawPlaces } from './parts.ts';

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: HparamsOf<'refact'>): R[] {
  const { ops } = pass;
  const eps = hparams.norm_rms_eps;
  const saw = sawPlaces(pass);
  const slopes = slopesOf(hparams.n_head, hparams.max_alibi_bias);
  let h = embedded(pass);
  for (let il = 0; il < hparams.n_layer; il++) {
    const blk = `blk.${il}`;
    const a = h.map(rmsNorm(pass, `${blk}.attn_norm`, eps));
    const [q, k, v] = ['q', 'k', 'v'].map((name) => a.map(linear(pass, `${blk}.attn_${name}`)));
    const o = attended(pass, il, { q: q!, k: k!, v: v! }, saw, hparams, slopes);
    const wo = linear(pass, `${blk}.attn_output`);
    h = h.map((x, t) => ops.add(x, wo(o[t]!), `${blk}.attn_add`));
    h = feedForward(pass, il, h, eps);
  }
  return outputs(pass, h, rmsNorm(pass, 'output_norm', eps));
}

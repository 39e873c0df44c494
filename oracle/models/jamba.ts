/**
 * jamba over lists of entries (spec: architectures.md 8). Layers without heads of keys and values are mixers of mamba
 * with norms of dt, B and C; the others attend to the entries that were seen, and rotate nothing. So positions play no
 * part, but an entry must go on from the one before it.
 */
import type { HparamsOf } from '../../model/types.ts';
import { expertFeedForward } from './experts.ts';
import { mixed, type Norms } from './mamba.ts';
import {
  attention,
  embedded,
  feedForward,
  outputs,
  type Pass,
  previousPlaces,
  rmsNorm,
  sawPlaces,
} from './parts.ts';

type Hparams = HparamsOf<'jamba'>;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const eps = hparams.norm_rms_eps;
  const before = previousPlaces(pass);
  const saw = sawPlaces(pass);
  let h = embedded(pass);
  hparams.n_head_kv.forEach((n_head_kv, il) => {
    const blk = `blk.${il}`;
    const u = h.map(rmsNorm(pass, `${blk}.attn_norm`, eps));
    const m =
      n_head_kv > 0
        ? attention(pass, il, u, saw, { ...hparams, n_head_kv })
        : mixed(pass, hparams, blk, u, before, norms(pass, blk, eps));
    h = h.map((x, t) => pass.ops.add(x, m[t]!, `${blk}.add`));
    // Weights of experts are not renormalised.
    const net = hparams.has_experts[il]
      ? expertFeedForward(pass, il, hparams.n_expert_used, 'all')
      : undefined;
    h = feedForward(pass, il, h, eps, net);
  });
  return outputs(pass, h, rmsNorm(pass, 'output_norm', eps));
}

function norms<R>(pass: Pass<R>, blk: string, eps: number): Norms<R> {
  const normed = (what: string) => rmsNorm(pass, `${blk}.ssm_${what}_norm`, eps);
  return { dt: normed('dt'), b: normed('b'), c: normed('c') };
}

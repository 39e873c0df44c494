/**
 * jamba over lists of entries (spec: architectures.md 8). Layers without heads of keys and values are mixers of mamba
 * with norms of dt, B and C; the others attend to the entries that were seen, and rotate nothing. So positions play no
 * part, but an entry must go on from the one before it.
 */
import type { HparamsOf } from '../../model/types.ts';
import { mixed, type Norms } from './mamba.ts';
import {
  attended,
  embedded,
  feedForward,
  linear,
  outputs,
  type Pass,
  previousPlaces,
  rmsNorm,
  type Seen,
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
        ? attention(pass, { ...hparams, n_head_kv }, il, u, saw)
        : mixed(pass, hparams, blk, u, before, norms(pass, blk, eps));
    h = h.map((x, t) => pass.ops.add(x, m[t]!, `${blk}.add`));
    h = feedForward(pass, il, h, eps);
  });
  return outputs(pass, h, rmsNorm(pass, 'output_norm', eps));
}

function norms<R>(pass: Pass<R>, blk: string, eps: number): Norms<R> {
  const normed = (what: string) => rmsNorm(pass, `${blk}.ssm_${what}_norm`, eps);
  return { dt: normed('dt'), b: normed('b'), c: normed('c') };
}

/** Wo * attention(Wq u, Wk u, Wv u) */
function attention<R>(
  pass: Pass<R>,
  shape: { readonly n_head: number; readonly n_head_kv: number; readonly n_embd_head: number },
  il: number,
  u: readonly R[],
  saw: readonly (readonly Seen[])[],
): R[] {
  const [wq, wk, wv, wo] = ['q', 'k', 'v', 'output'].map((name) => linear(pass, `blk.${il}.attn_${name}`));
  const qkv = { q: u.map(wq!), k: u.map(wk!), v: u.map(wv!) };
  return attended(pass, il, qkv, saw, shape).map(wo!);
}

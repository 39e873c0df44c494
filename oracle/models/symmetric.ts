/**
 * isobatch-symmetric (formula: ARCHITECTURE.md): blocks as those of a llama (spec: architectures.md 3), without a memory
 * and without causality. An entry sees all entries of its sequence (spec: batching.md 6.3), in layers 0, 2, ... those that
 * the symmetric window shows (6.2). Rows are embeddings.
 */
import type { HparamsOf } from '../../model/types.ts';
import { swaMasked } from '../mask.ts';
import { embedded, feedForward, linear, type Pass, rmsNorm } from './parts.ts';

type Hparams = HparamsOf<'isobatch-symmetric'>;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const { place, asked } = pass;
  const eps = hparams.norm_rms_eps;
  let h = embedded(pass);
  for (let il = 0; il < hparams.n_layer; il++) {
    h = attention(pass, hparams, il, h);
    h = feedForward(pass, il, h, eps);
  }
  const norm = rmsNorm(pass, 'output_norm', eps);
  return asked.map((entry) => norm(h[place.get(entry)!]!));
}

/** h + Wo * attention(rope(Wq a), rope(Wk a), Wv a), a = RMSNorm(h). */
function attention<R>(pass: Pass<R>, hparams: Hparams, il: number, h: readonly R[]): R[] {
  const { ops, order, place } = pass;
  const blk = `blk.${il}`;
  const rope = {
    n_embd_head: hparams.n_embd_head,
    n_rot: hparams.n_rot,
    freq_base: hparams.rope_freq_base,
    freq_scale: hparams.rope_freq_scale,
    type: 'NEOX' as const,
  };
  const [wq, wk, wv, wo] = ['q', 'k', 'v', 'output'].map((name) => linear(pass, `${blk}.attn_${name}`));
  const a = h.map(rmsNorm(pass, `${blk}.attn_norm`, hparams.norm_rms_eps));
  const turned = (x: R, t: number): R => ops.rope(x, order[t]!.pos, rope);
  const q = a.map((x, t) => turned(wq!(x), t));
  const k = a.map((x, t) => turned(wk!(x), t));
  const v = a.map((x) => wv!(x));
  return h.map((x, t) => {
    const { pos, saw } = order[t]!;
    const seen = saw.filter((key) => il % 2 === 1 || !swaMasked('symmetric', hparams.n_swa, key.pos, pos));
    const at = (list: readonly R[]) => seen.map((key) => list[place.get(key)!]!);
    const o = ops.attend(q[t]!, at(k), at(v), hparams, `${blk}.attn`);
    return ops.add(x, wo!(o), `${blk}.attn_add`);
  });
}

/**
 * openelm over lists of entries (spec: architectures.md 11): as llama, but every layer has its own number of heads and
 * its own feed-forward width, q, k and v are parts of one product, and each head of q and k is normed before it turns.
 */
import type { HparamsOf } from '../../model/types.ts';
import {
  attended,
  embedded,
  feedForward,
  headNorm,
  linear,
  outputs,
  type Pass,
  rmsNorm,
  type Seen,
  sawPlaces,
} from './parts.ts';

type Hparams = HparamsOf<'openelm'>;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const pos = pass.order.map((entry) => entry.pos_eval);
  const saw = sawPlaces(pass);
  let h = embedded(pass);
  for (let il = 0; il < hparams.n_layer; il++) {
    h = attention(pass, hparams, il, h, pos, saw);
    h = feedForward(pass, il, h, hparams.norm_rms_eps);
  }
  return outputs(pass, h, rmsNorm(pass, 'output_norm', hparams.norm_rms_eps));
}

/** h + Wo * attention(rope(norm(q)), rope(norm(k)), v), (q, k, v) = Wqkv RMSNorm(h). */
function attention<R>(
  pass: Pass<R>,
  hparams: Hparams,
  il: number,
  h: readonly R[],
  pos: readonly number[],
  saw: readonly (readonly Seen[])[],
): R[] {
  const { ops } = pass;
  const { n_embd_head: d, norm_rms_eps: eps } = hparams;
  const { n_head, n_head_kv } = hparams.layers[il]!;
  const blk = `blk.${il}`;
  const turned = {
    type: 'NEOX',
    n_embd_head: d,
    n_rot: hparams.n_rot,
    freq_base: hparams.rope_freq_base,
    freq_scale: hparams.rope_freq_scale,
  } as const;
  const norm = rmsNorm(pass, `${blk}.attn_norm`, eps);
  const wqkv = linear(pass, `${blk}.attn_qkv`);
  const normedQ = headNorm(pass, `${blk}.attn_q_norm`, { n_head, n_embd_head: d }, eps);
  const normedK = headNorm(pass, `${blk}.attn_k_norm`, { n_head: n_head_kv, n_embd_head: d }, eps);
  const wo = linear(pass, `${blk}.attn_output`);
  const qkv = h.map((x) => wqkv(norm(x)));
  const [endQ, endK] = [n_head * d, (n_head + n_head_kv) * d];
  const turn = (x: R, by: number): R => ops.rope(x, by, turned);
  const q = qkv.map((x, t) => turn(normedQ(ops.slice(x, 0, endQ)), pos[t]!));
  const k = qkv.map((x, t) => turn(normedK(ops.slice(x, endQ, endK)), pos[t]!));
  const v = qkv.map((x) => ops.slice(x, endK));
  const o = attended(pass, il, { q, k, v, turn }, saw, { n_head, n_head_kv, n_embd_head: d });
  return h.map((x, t) => ops.add(x, wo(o[t]!), `${blk}.attn_add`));
}

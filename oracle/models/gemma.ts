/**
 * What gemma2 and gemma3 have in common, over lists of entries (spec: architectures.md 4 and 5): every part of a layer has
 * a norm before and one behind it, and in layers with a window an entry attends only to those that it saw less than
 * n_swa positions ago.
 */
import type { HparamsOf } from '../../model/types.ts';
import { swaMasked } from '../mask.ts';
import {
  attended,
  embedded,
  gatedFeedForward,
  linear,
  outputs,
  type Pass,
  rmsNorm,
  type Seen,
  sawPlaces,
} from './parts.ts';

type GemmaHparams = HparamsOf<'gemma2' | 'gemma3'>;

/** q or k of layer `il` before it turns. */
export type Turned = <R>(pass: Pass<R>, name: string, n_head: number) => (x: R) => R;

/** See `Rows`. `turned` makes q and k of a normed row, which then turn. */
export function gemmaRows<R>(pass: Pass<R>, hparams: GemmaHparams, turned: Turned): R[] {
  const { ops } = pass;
  const factor = Math.fround(Math.sqrt(hparams.n_embd));
  let h = embedded(pass).map((x) => ops.scale(x, factor, 'embd_scale'));
  const saw = sawPlaces(pass);
  const sawWindow = saw.map((seen, t) => {
    const { pos_eval, saw: entries } = pass.order[t]!;
    return seen.filter((_, i) => !swaMasked('standard', hparams.n_swa, entries[i]!.pos, pos_eval));
  });
  for (let il = 0; il < hparams.n_layer; il++) {
    h = attention(pass, hparams, il, h, hparams.windowed[il] ? sawWindow : saw, turned);
    h = feedForward(pass, hparams, il, h);
  }
  const norm = rmsNorm(pass, 'output_norm', hparams.norm_rms_eps);
  return outputs(pass, h, norm, hparams.final_softcap);
}

/** h + RMSNorm(Wo * attention(rope(q), rope(k), Wv a)), a = RMSNorm(h). */
function attention<R>(
  pass: Pass<R>,
  hparams: GemmaHparams,
  il: number,
  h: readonly R[],
  saw: readonly (readonly Seen[])[],
  turned: Turned,
): R[] {
  const { ops, order } = pass;
  const blk = `blk.${il}`;
  const { n_head, n_head_kv, n_embd_head, n_rot, norm_rms_eps, attn_softcap } = hparams;
  const local = hparams.windowed[il]!;
  const rope = {
    type: 'NEOX',
    n_embd_head,
    n_rot,
    freq_base: local ? hparams.rope_freq_base_swa : hparams.rope_freq_base,
    freq_scale: local ? hparams.rope_freq_scale_swa : hparams.rope_freq_scale,
  } as const;
  const shape = {
    n_head,
    n_head_kv,
    n_embd_head,
    root: Math.sqrt(hparams.score_divisor),
    softcap: attn_softcap > 0 ? attn_softcap : undefined,
  };
  const wq = turned(pass, `${blk}.attn_q`, n_head);
  const wk = turned(pass, `${blk}.attn_k`, n_head_kv);
  const [wv, wo] = [linear(pass, `${blk}.attn_v`), linear(pass, `${blk}.attn_output`)];
  const a = h.map(rmsNorm(pass, `${blk}.attn_norm`, norm_rms_eps));
  const turn = (x: R, by: number): R => ops.rope(x, by, rope);
  const q = a.map((x, t) => turn(wq(x), order[t]!.pos_eval));
  const k = a.map((x, t) => turn(wk(x), order[t]!.pos_eval));
  const v = a.map(wv);
  const o = attended(pass, il, { q, k, v, turn }, saw, shape);
  const post = rmsNorm(pass, `${blk}.post_attention_norm`, norm_rms_eps);
  return h.map((x, t) => ops.add(x, post(wo(o[t]!)), `${blk}.attn_add`));
}

/** h + RMSNorm(down(GELU(gate n) * up n)), n = RMSNorm(h). */
function feedForward<R>(pass: Pass<R>, hparams: GemmaHparams, il: number, h: readonly R[]): R[] {
  const blk = `blk.${il}`;
  const norm = rmsNorm(pass, `${blk}.ffn_norm`, hparams.norm_rms_eps);
  const post = rmsNorm(pass, `${blk}.post_ffw_norm`, hparams.norm_rms_eps);
  const ffn = gatedFeedForward(pass, blk, 'gelu');
  return h.map((x) => pass.ops.add(x, post(ffn(norm(x))), `${blk}.ffn_add`));
}

/**
 * llama over lists of entries (spec: architectures.md 3). Every entry on which the answer depends is evaluated once,
 * layer by layer; an entry attends to exactly the entries that it saw. Keys are rotated by the position at which they
 * were evaluated, and once more by each move.
 */
import type { HparamsOf } from '../../model/types.ts';
import { expertFeedForward } from './experts.ts';
import {
  attended,
  embedded,
  feedForward,
  linear,
  outputs,
  type Pass,
  rmsNorm,
  type Seen,
  sawPlaces,
} from './parts.ts';

type Hparams = HparamsOf<'llama'>;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const { n_expert, n_expert_used, norm_rms_eps } = hparams;
  const pos = pass.order.map((entry) => entry.pos_eval);
  const saw = sawPlaces(pass);
  let h = embedded(pass);
  for (let il = 0; il < hparams.n_layer; il++) {
    h = attention(pass, hparams, il, h, pos, saw);
    const net = n_expert > 0 ? expertFeedForward(pass, il, n_expert_used) : undefined;
    h = feedForward(pass, il, h, norm_rms_eps, net);
  }
  return outputs(pass, h, rmsNorm(pass, 'output_norm', norm_rms_eps));
}

/** h + Wo * attention(rope(Wq a), rope(Wk a), Wv a), a = RMSNorm(h). */
function attention<R>(
  pass: Pass<R>,
  hparams: Hparams,
  il: number,
  h: readonly R[],
  pos: readonly number[],
  saw: readonly (readonly Seen[])[],
): R[] {
  const { ops } = pass;
  const blk = `blk.${il}`;
  const turned = {
    n_embd_head: hparams.n_embd_head,
    n_rot: hparams.n_rot,
    freq_base: hparams.rope_freq_base,
    freq_scale: hparams.rope_freq_scale,
  };
  const [wq, wk, wv] = [
    linear(pass, `${blk}.attn_q`),
    linear(pass, `${blk}.attn_k`),
    linear(pass, `${blk}.attn_v`),
  ];
  const wo = linear(pass, `${blk}.attn_output`);
  const a = h.map(rmsNorm(pass, `${blk}.attn_norm`, hparams.norm_rms_eps));
  const turn = (x: R, by: number): R => ops.rope(x, by, turned);
  const q = a.map((x, t) => turn(wq(x), pos[t]!));
  const k = a.map((x, t) => turn(wk(x), pos[t]!));
  const v = a.map(wv);
  const o = attended(pass, il, { q, k, v, turn }, saw, hparams);
  return h.map((x, t) => ops.add(x, wo(o[t]!), `${blk}.attn_add`));
}

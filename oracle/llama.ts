/**
 * llama over lists of entries (spec: architectures.md 3). Every entry on which the answer depends is evaluated once,
 * layer by layer; an entry attends to exactly the entries that it saw. Keys are rotated by the position at which they
 * were evaluated.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { LlamaHparams, Model } from '../model/types.ts';
import { type Entry, evaluationOrder } from './entries.ts';
import type { Operators } from './operators.ts';
import { Weights } from './weights.ts';

/**
 * Logits (n_vocab) of each entry, or the embedding (n_embd) that they are made of. Throws `model`, `memory.overflow`;
 * `internal` for an entry that was shifted.
 */
export function rows<R>(
  model: Model,
  entries: readonly Entry[],
  ops: Operators<R>,
  embeddings: boolean,
): R[] {
  const hparams = model.hparams as LlamaHparams;
  const weights = new Weights(model);
  const order = evaluationOrder(entries);
  const place = new Map(order.map((entry, t) => [entry, t]));
  refuseShifted(order);
  const pos = order.map((entry) => entry.pos_eval);
  const saw = order.map((entry) => entry.saw.map((seen) => place.get(seen)!));

  const token_embd = weights.matrix('token_embd.weight');
  let h = order.map((entry) => ops.row(token_embd, entry.token));
  for (let il = 0; il < hparams.n_layer; il++) {
    h = attention(h, pos, saw, weights, hparams, il, ops);
    h = feedForward(h, weights, hparams, il, ops);
  }
  const output_norm = weights.vector('output_norm.weight');
  const output = weights.has('output.weight') ? weights.matrix('output.weight') : token_embd;
  weights.allRead();
  return entries.map((entry) => {
    const last = ops.rmsNorm(h[place.get(entry)!]!, hparams.norm_rms_eps, output_norm, 'output_norm');
    return embeddings ? last : ops.matVec(output, last, 'output');
  });
}

/** h + Wo * attention(rope(Wq a), rope(Wk a), Wv a), a = RMSNorm(h). */
function attention<R>(
  h: readonly R[],
  pos: readonly number[],
  saw: readonly (readonly number[])[],
  weights: Weights,
  hparams: LlamaHparams,
  il: number,
  ops: Operators<R>,
): R[] {
  const blk = `blk.${il}`;
  const norm = weights.vector(`${blk}.attn_norm.weight`);
  const wq = weights.matrix(`${blk}.attn_q.weight`);
  const wk = weights.matrix(`${blk}.attn_k.weight`);
  const wv = weights.matrix(`${blk}.attn_v.weight`);
  const wo = weights.matrix(`${blk}.attn_output.weight`);
  const turned = {
    n_embd_head: hparams.n_embd_head,
    n_rot: hparams.n_rot,
    freq_base: hparams.rope_freq_base,
    freq_scale: hparams.rope_freq_scale,
  };
  const a = h.map((x) => ops.rmsNorm(x, hparams.norm_rms_eps, norm, `${blk}.attn_norm`));
  const q = a.map((x, t) => ops.rope(ops.matVec(wq, x, `${blk}.attn_q`), pos[t]!, turned));
  const k = a.map((x, t) =>
    ops.stored(ops.rope(ops.matVec(wk, x, `${blk}.attn_k`), pos[t]!, turned), `K of layer ${il}`),
  );
  const v = a.map((x) => ops.stored(ops.matVec(wv, x, `${blk}.attn_v`), `V of layer ${il}`));
  return h.map((x, t) => {
    const seen = (of: readonly R[]) => saw[t]!.map((j) => of[j]!);
    const o = ops.attend(q[t]!, seen(k), seen(v), hparams, `${blk}.attn`);
    return ops.add(x, ops.matVec(wo, o, `${blk}.attn_output`), `${blk}.attn_add`);
  });
}

/** h + down(SiLU(gate n) * up n), n = RMSNorm(h). */
function feedForward<R>(
  h: readonly R[],
  weights: Weights,
  hparams: LlamaHparams,
  il: number,
  ops: Operators<R>,
): R[] {
  const blk = `blk.${il}`;
  const norm = weights.vector(`${blk}.ffn_norm.weight`);
  const gate = weights.matrix(`${blk}.ffn_gate.weight`);
  const up = weights.matrix(`${blk}.ffn_up.weight`);
  const down = weights.matrix(`${blk}.ffn_down.weight`);
  return h.map((x) => {
    const n = ops.rmsNorm(x, hparams.norm_rms_eps, norm, `${blk}.ffn_norm`);
    const gated = ops.mul(
      ops.silu(ops.matVec(gate, n, `${blk}.ffn_gate`), `${blk}.ffn_silu`),
      ops.matVec(up, n, `${blk}.ffn_up`),
      `${blk}.ffn_mul`,
    );
    return ops.add(x, ops.matVec(down, gated, `${blk}.ffn_down`), `${blk}.ffn_add`);
  });
}

function refuseShifted(order: readonly Entry[]): void {
  const shifted = order.find((entry) => entry.pos !== entry.pos_eval);
  if (shifted) {
    throw new IsobatchError(
      'internal',
      `an entry moved from position ${shifted.pos_eval} to ${shifted.pos}; shifted keys are not specified here`,
      { pos_eval: shifted.pos_eval, pos: shifted.pos },
    );
  }
}

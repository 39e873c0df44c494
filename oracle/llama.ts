/**
 * llama over lists of entries, in float64 (spec: architectures.md 3). Every entry on which the answer depends is
 * evaluated once, layer by layer; an entry attends to exactly the entries that it saw. Keys are rotated by the position
 * at which they were evaluated.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { LlamaHparams, Model } from '../model/types.ts';
import { type Entry, evaluationOrder } from './entries.ts';
import type { ForwardOptions } from './forward.ts';
import { roundToHalf } from './half.ts';
import { add, matVec, mul, rmsNorm, rope, row, silu, softmax } from './math.ts';
import { Weights } from './weights.ts';

/** Logits (n_vocab) of each entry. Throws `model`, `memory.overflow`; `internal` for an entry that was shifted. */
export function logits(
  model: Model,
  entries: readonly Entry[],
  options: ForwardOptions = {},
): Float64Array[] {
  const hparams = model.hparams as LlamaHparams;
  const weights = new Weights(model);
  const order = evaluationOrder(entries);
  const place = new Map(order.map((entry, t) => [entry, t]));
  refuseShifted(order);
  const pos = order.map((entry) => entry.pos_eval);
  const saw = order.map((entry) => entry.saw.map((seen) => place.get(seen)!));

  const token_embd = weights.matrix('token_embd.weight');
  let h = order.map((entry) => row(token_embd, entry.token));
  for (let il = 0; il < hparams.n_layer; il++) {
    h = attention(h, pos, saw, weights, hparams, il, options);
    h = feedForward(h, weights, hparams, il);
  }
  const output_norm = weights.vector('output_norm.weight');
  const output = weights.has('output.weight') ? weights.matrix('output.weight') : token_embd;
  weights.allRead();
  return entries.map((entry) =>
    matVec(output, rmsNorm(h[place.get(entry)!]!, hparams.norm_rms_eps, output_norm)),
  );
}

/** h + Wo * attention(rope(Wq a), rope(Wk a), Wv a), a = RMSNorm(h). */
function attention(
  h: readonly Float64Array[],
  pos: readonly number[],
  saw: readonly (readonly number[])[],
  weights: Weights,
  hparams: LlamaHparams,
  il: number,
  options: ForwardOptions,
): Float64Array[] {
  const norm = weights.vector(`blk.${il}.attn_norm.weight`);
  const wq = weights.matrix(`blk.${il}.attn_q.weight`);
  const wk = weights.matrix(`blk.${il}.attn_k.weight`);
  const wv = weights.matrix(`blk.${il}.attn_v.weight`);
  const wo = weights.matrix(`blk.${il}.attn_output.weight`);
  const shape = {
    n_embd_head: hparams.n_embd_head,
    n_rot: hparams.n_rot,
    freq_base: hparams.rope_freq_base,
    freq_scale: hparams.rope_freq_scale,
  };
  const a = h.map((x) => rmsNorm(x, hparams.norm_rms_eps, norm));
  const q = a.map((x, t) => rope(matVec(wq, x), pos[t]!, shape));
  const k = a.map((x, t) => stored(rope(matVec(wk, x), pos[t]!, shape), options, `K of layer ${il}`));
  const v = a.map((x) => stored(matVec(wv, x), options, `V of layer ${il}`));
  return h.map((x, t) => add(x, matVec(wo, attend(q[t]!, k, v, saw[t]!, hparams))));
}

/** Per head: softmax over the entries seen of q*k/sqrt(d), then the weighted sum of their values. */
function attend(
  q: Float64Array,
  k: readonly Float64Array[],
  v: readonly Float64Array[],
  seen: readonly number[],
  { n_head, n_head_kv, n_embd_head: d }: LlamaHparams,
): Float64Array {
  const out = new Float64Array(n_head * d);
  for (let head = 0; head < n_head; head++) {
    const kv = Math.floor((head * n_head_kv) / n_head) * d;
    const scores = new Float64Array(seen.length);
    for (let j = 0; j < seen.length; j++) {
      let dot = 0;
      for (let i = 0; i < d; i++) {
        dot += q[head * d + i]! * k[seen[j]!]![kv + i]!;
      }
      scores[j] = dot / Math.sqrt(d);
    }
    const weight = softmax(scores);
    for (let j = 0; j < seen.length; j++) {
      for (let i = 0; i < d; i++) {
        out[head * d + i]! += weight[j]! * v[seen[j]!]![kv + i]!;
      }
    }
  }
  return out;
}

/** h + down(SiLU(gate n) * up n), n = RMSNorm(h). */
function feedForward(
  h: readonly Float64Array[],
  weights: Weights,
  hparams: LlamaHparams,
  il: number,
): Float64Array[] {
  const norm = weights.vector(`blk.${il}.ffn_norm.weight`);
  const gate = weights.matrix(`blk.${il}.ffn_gate.weight`);
  const up = weights.matrix(`blk.${il}.ffn_up.weight`);
  const down = weights.matrix(`blk.${il}.ffn_down.weight`);
  return h.map((x) => {
    const n = rmsNorm(x, hparams.norm_rms_eps, norm);
    return add(x, matVec(down, mul(matVec(gate, n).map(silu), matVec(up, n))));
  });
}

/** K or V as memory keeps it. */
function stored(x: Float64Array, options: ForwardOptions, what: string): Float64Array {
  if (options.type_kv !== 'F16') {
    return x;
  }
  const half = x.map(roundToHalf);
  const i = half.findIndex((value) => !Number.isFinite(value));
  if (i >= 0) {
    throw new IsobatchError('memory.overflow', `${what}, element ${i}: ${x[i]} does not fit F16`, {
      element: i,
      value: x[i],
    });
  }
  return half;
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

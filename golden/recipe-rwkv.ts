/**
 * Recipes of random `rwkv6` and `rwkv7` models: a state a head that decays, and inputs mixed with those of the token
 * before (spec: libllama.md 1, architectures.md 9 and 10).
 *
 * Decays are chosen so that memory lasts: a step keeps between 0.69 and 0.99 of the state.
 */
import type { TensorType } from '../model/types.ts';
import { FFN_KEY, LAYER_NORM_KEY, loadableKeys, NO_HEADS_KEY, SIZE } from './recipe-blocks.ts';
import { BYTE_VOCAB, fileOf, type Metadata, u32, Weights } from './recipe-parts.ts';

const N_LAYER = 2;
/** Inner width of the small two-step products. */
const LORA = 8;

function start(name: string, type: TensorType): Weights {
  const { n_embd } = SIZE;
  const w = new Weights(name, type);
  w.embeddings(n_embd, BYTE_VOCAB);
  w.layerNorm('token_embd_norm', n_embd);
  w.layerNorm('output_norm', n_embd);
  w.matrix('output.weight', n_embd, BYTE_VOCAB, 3);
  return w;
}

/** What both versions have in each layer. */
function common(w: Weights, blk: string): void {
  const { n_embd, n_ff } = SIZE;
  w.layerNorm(`${blk}.attn_norm`, n_embd);
  w.layerNorm(`${blk}.attn_norm_2`, n_embd);
  for (const part of ['key', 'value', 'receptance', 'output'])
    w.matrix(`${blk}.time_mix_${part}.weight`, n_embd, n_embd);
  w.layerNorm(`${blk}.time_mix_ln`, n_embd);
  w.spread(`${blk}.channel_mix_lerp_k.weight`, [n_embd, 1, 1], 0, 1);
  w.matrix(`${blk}.channel_mix_key.weight`, n_embd, n_ff);
  w.matrix(`${blk}.channel_mix_value.weight`, n_ff, n_embd);
}

/** Four heads of 16; the residual stream is halved after each layer, as the key for large models asks. */
export function buildRwkv6(name: string, type: TensorType): Uint8Array {
  const { n_embd } = SIZE;
  const n_embd_head = 16;
  const w = start(name, type);
  for (let i = 0; i < N_LAYER; i++) {
    const blk = `blk.${i}`;
    const mix = `${blk}.time_mix`;
    common(w, blk);
    w.matrix(`${mix}_w1.weight`, n_embd, 5 * LORA);
    w.matrices(`${mix}_w2.weight`, LORA, n_embd, 5, 0.5);
    for (const part of ['x', 'w', 'k', 'v', 'r', 'g'])
      w.spread(`${mix}_lerp_${part}.weight`, [n_embd, 1, 1], 0, 1);
    w.add(`${mix}_first.weight`, [n_embd_head, n_embd / n_embd_head], 'F32', (random) => random.normal());
    // The share that a step keeps is exp(-exp(x)).
    w.spread(`${mix}_decay.weight`, [n_embd], -5, -1);
    w.matrix(`${mix}_decay_w1.weight`, n_embd, LORA);
    w.matrix(`${mix}_decay_w2.weight`, LORA, n_embd, 0.5);
    w.matrix(`${mix}_gate.weight`, n_embd, n_embd, 2);
    w.spread(`${blk}.channel_mix_lerp_r.weight`, [n_embd, 1, 1], 0, 1);
    w.matrix(`${blk}.channel_mix_receptance.weight`, n_embd, n_embd);
  }
  const keys: Metadata = [
    ...FFN_KEY,
    ...NO_HEADS_KEY,
    ...LAYER_NORM_KEY,
    ['wkv.head_size', u32(n_embd_head)],
    ['time_mix_extra_dim', u32(LORA)],
    ['time_decay_extra_dim', u32(LORA)],
    ['rescale_every_n_layers', u32(1)],
  ];
  return fileOf(loadableKeys('rwkv6', name, N_LAYER, keys), w);
}

/** One head of 64. */
export function buildRwkv7(name: string, type: TensorType): Uint8Array {
  const { n_embd } = SIZE;
  const w = start(name, type);
  for (let i = 0; i < N_LAYER; i++) {
    const blk = `blk.${i}`;
    const mix = `${blk}.time_mix`;
    common(w, blk);
    // The share that a step keeps is exp(-0.61 sigmoid(x)).
    w.spread(`${mix}_w0.weight`, [n_embd], -5, 0);
    for (const part of ['a', 'v']) w.vector(`${mix}_${part}0.weight`, n_embd, 0.5);
    for (const part of ['w', 'a', 'v', 'g']) {
      w.matrix(`${mix}_${part}1.weight`, n_embd, LORA);
      w.matrix(`${mix}_${part}2.weight`, LORA, n_embd, part === 'g' ? 2 : 0.5);
    }
    w.spread(`${mix}_lerp_fused.weight`, [n_embd, 1, 1, 6], 0, 1);
    w.norm(`${mix}_k_k.weight`, n_embd);
    w.norm(`${mix}_k_a.weight`, n_embd);
    w.vector(`${mix}_r_k.weight`, n_embd, 0.1);
  }
  const keys: Metadata = [
    ...FFN_KEY,
    ...NO_HEADS_KEY,
    ...LAYER_NORM_KEY,
    ['wkv.head_size', u32(n_embd)],
    ['attention.decay_lora_rank', u32(LORA)],
    ['attention.iclr_lora_rank', u32(LORA)],
    ['attention.value_residual_mix_lora_rank', u32(LORA)],
    ['attention.gate_lora_rank', u32(LORA)],
  ];
  return fileOf(loadableKeys('rwkv7', name, N_LAYER, keys), w);
}

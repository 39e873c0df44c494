/**
 * Recipes of random `gemma2` and `gemma3` models: windows of 8 keys in some layers, norms on both sides of each part,
 * tied output (spec: libllama.md 1, architectures.md 4 and 5).
 *
 * Embeddings are small, since gemma multiplies them by sqrt(n_embd) and uses them for the output too. The norms behind
 * each part are twice as large as elsewhere, so that what layers add outweighs the token's own embedding; else a tied
 * model would say little more than its last token.
 */
import type { TensorType } from '../model/types.ts';
import {
  attention,
  FFN_KEY,
  HEAD_KEYS,
  HEAD_SIZE_KEYS,
  headNorms,
  loadableKeys,
  normedFfn,
  RMS_KEY,
  ROPE_KEYS,
  SIZE,
} from './recipe-blocks.ts';
import { BYTE_VOCAB, f32, fileOf, type Metadata, u32, Weights } from './recipe-parts.ts';

const WINDOW = 8;

const KEYS: Metadata = [
  ...FFN_KEY,
  ...HEAD_KEYS,
  ...HEAD_SIZE_KEYS,
  ...RMS_KEY,
  ...ROPE_KEYS,
  ['attention.sliding_window', u32(WINDOW)],
];

function weights(name: string, n_layer: number, type: TensorType, normedHeads: boolean): Weights {
  const { n_embd, n_ff, n_embd_head } = SIZE;
  const w = new Weights(name, type);
  w.embeddings(n_embd, BYTE_VOCAB, 0.3);
  w.norm('output_norm.weight', n_embd);
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    attention(w, blk, SIZE);
    if (normedHeads) headNorms(w, blk, n_embd_head);
    w.norm(`${blk}.post_attention_norm.weight`, n_embd, 2);
    normedFfn(w, blk, n_embd, n_ff);
    w.norm(`${blk}.post_ffw_norm.weight`, n_embd, 2);
  }
  return w;
}

/** Every second layer has a window, the first one too. The soft caps are low enough to be felt. */
export function buildGemma2(name: string, n_layer: number, type: TensorType): Uint8Array {
  const keys: Metadata = [...KEYS, ['attn_logit_softcapping', f32(10)], ['final_logit_softcapping', f32(15)]];
  return fileOf(loadableKeys('gemma2', name, n_layer, keys), weights(name, n_layer, type, false));
}

/** Five layers with a window, one without, and so on; the latter rotate by another base. */
export function buildGemma3(name: string, n_layer: number, type: TensorType): Uint8Array {
  const keys: Metadata = [...KEYS, ['rope.freq_base', f32(1e6)]];
  return fileOf(loadableKeys('gemma3', name, n_layer, keys), weights(name, n_layer, type, true));
}

/**
 * Recipes of random `gemma2` and `gemma3` models: windows of 8 keys in some layers, norms on both sides of each part,
 * tied output (spec: libllama.md 1, architectures.md 4 and 5).
 *
 * Embeddings are small, since gemma multiplies them by sqrt(n_embd) and uses them for the output too. The norms behind
 * each part are twice as large as elsewhere, so that what layers add outweighs the token's own embedding; else a tied
 * model would say little more than its last token.
 */
import type { TensorType } from '../model/types.ts';
import { attention, gatedFfn, headNorms, keysOf, SIZE } from './recipe-blocks.ts';
import {
  BYTE_VOCAB,
  byteVocabulary,
  f32,
  fileOf,
  type Metadata,
  noVocabulary,
  text,
  u32,
  Weights,
} from './recipe-parts.ts';

export interface GemmaShape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  readonly n_ff: number;
  readonly window: number;
  /** Of so many layers the last has no window, where that is not what the architecture has anyway. */
  readonly swa_period?: number;
  /** A byte vocabulary as llama.cpp wants it; else tokens are only numbers. */
  readonly loadable: boolean;
}

/** The shape of the loadable recipes; others differ from it in what is theirs. */
export const GEMMA_LOADABLE: GemmaShape = {
  ...SIZE,
  n_vocab: BYTE_VOCAB,
  n_layer: 4,
  window: 8,
  loadable: true,
};

function weights(name: string, shape: GemmaShape, type: TensorType, normedHeads: boolean): Weights {
  const { n_embd, n_ff, n_embd_head } = shape;
  const w = new Weights(name, type);
  w.embeddings(n_embd, shape.n_vocab, 0.3);
  w.norm('output_norm.weight', n_embd);
  for (let i = 0; i < shape.n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    attention(w, blk, shape);
    if (normedHeads) headNorms(w, blk, n_embd_head);
    w.norm(`${blk}.post_attention_norm.weight`, n_embd, 2);
    w.norm(`${blk}.ffn_norm.weight`, n_embd);
    gatedFfn(w, blk, n_embd, n_ff);
    w.norm(`${blk}.post_ffw_norm.weight`, n_embd, 2);
  }
  return w;
}

function metadata(arch: string, name: string, shape: GemmaShape, more: Metadata): Metadata {
  const { swa_period } = shape;
  const keys: Metadata = [
    ['context_length', u32(SIZE.n_ctx_train)],
    ['embedding_length', u32(shape.n_embd)],
    ['block_count', u32(shape.n_layer)],
    ['feed_forward_length', u32(shape.n_ff)],
    ['attention.head_count', u32(shape.n_head)],
    ['attention.head_count_kv', u32(shape.n_head_kv)],
    ['attention.key_length', u32(shape.n_embd_head)],
    ['attention.value_length', u32(shape.n_embd_head)],
    ['attention.layer_norm_rms_epsilon', f32(1e-5)],
    ['rope.dimension_count', u32(shape.n_embd_head)],
    ['attention.sliding_window', u32(shape.window)],
    ...(swa_period === undefined ? [] : ([['attention.sliding_window_pattern', u32(swa_period)]] as const)),
    ...more,
  ];
  return [
    ['general.architecture', text(arch)],
    ['general.name', text(name)],
    ...keysOf(arch, keys),
    ...(shape.loadable ? byteVocabulary() : noVocabulary(arch, shape.n_vocab)),
  ];
}

/** Every second layer has a window, the first one too. The soft caps are low enough to be felt. */
export function buildGemma2(name: string, shape: GemmaShape, type: TensorType): Uint8Array {
  const caps: Metadata = [
    ['attn_logit_softcapping', f32(10)],
    ['final_logit_softcapping', f32(15)],
  ];
  return fileOf(metadata('gemma2', name, shape, caps), weights(name, shape, type, false));
}

/** Five layers with a window, one without, and so on; the latter rotate by another base. `more`: further keys. */
export function buildGemma3(
  name: string,
  shape: GemmaShape,
  type: TensorType,
  more: Metadata = [],
): Uint8Array {
  const keys: Metadata = [['rope.freq_base', f32(1e6)], ...more];
  return fileOf(metadata('gemma3', name, shape, keys), weights(name, shape, type, true));
}

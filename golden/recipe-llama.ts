/**
 * Recipes of random `llama` models: the shapes of spec: libllama.md 1, at any size.
 */
import type { TensorType } from '../model/types.ts';
import { attention, expertKeys, keysOf, normedExperts, normedFfn, untied } from './recipe-blocks.ts';
import { byteVocabulary, f32, fileOf, noVocabulary, text, u32, Weights } from './recipe-parts.ts';

export interface LlamaShape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  readonly n_ff: number;
  readonly n_ctx_train: number;
  /** A byte vocabulary as llama.cpp wants it; else tokens are only numbers. */
  readonly loadable: boolean;
  /** Experts of every layer, each of width n_ff, and how many of them a token goes to; one net if it is not there. */
  readonly experts?: { readonly n_expert: number; readonly n_expert_used: number };
}

/** The bytes of a model file; the seed names the weights. */
export function buildLlama(seed: string, shape: LlamaShape, type: TensorType): Uint8Array {
  const { n_embd, n_ff, n_vocab, experts } = shape;
  const w = new Weights(seed, type);
  untied(w, n_embd, n_vocab);
  for (let i = 0; i < shape.n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    attention(w, blk, shape);
    if (experts) normedExperts(w, blk, n_embd, n_ff, experts.n_expert);
    else normedFfn(w, blk, n_embd, n_ff);
  }
  return fileOf(
    [
      ['general.architecture', text('llama')],
      ['general.name', text(seed)],
      ['llama.context_length', u32(shape.n_ctx_train)],
      ['llama.embedding_length', u32(n_embd)],
      ['llama.block_count', u32(shape.n_layer)],
      ['llama.feed_forward_length', u32(n_ff)],
      ['llama.attention.head_count', u32(shape.n_head)],
      ['llama.attention.head_count_kv', u32(shape.n_head_kv)],
      ['llama.attention.layer_norm_rms_epsilon', f32(1e-5)],
      ['llama.rope.dimension_count', u32(shape.n_embd_head)],
      ...(experts ? keysOf('llama', expertKeys(experts)) : []),
      ...(shape.loadable ? byteVocabulary() : noVocabulary('llama', n_vocab)),
    ],
    w,
  );
}

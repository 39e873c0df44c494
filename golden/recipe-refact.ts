/** Recipes of random `refact` models: as those of `llama`, but for rotation. Six or three heads: no power of two. */
import type { TensorType } from '../model/types.ts';
import { attention, firstKeys, keysOf, normedFfn, RMS_KEY, untied } from './recipe-blocks.ts';
import { BYTE_VOCAB, byteVocabulary, fileOf, noVocabulary, u32, Weights } from './recipe-parts.ts';

export interface RefactShape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  readonly n_ff: number;
}

export const REFACT_LOADABLE: RefactShape = {
  n_vocab: BYTE_VOCAB,
  n_embd: 96,
  n_layer: 2,
  n_head: 6,
  n_head_kv: 2,
  n_embd_head: 16,
  n_ff: 96,
};

export function buildRefact(name: string, shape: RefactShape, type: TensorType): Uint8Array {
  const { n_vocab, n_embd, n_layer } = shape;
  const w = new Weights(name, type);
  untied(w, n_embd, n_vocab);
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    attention(w, blk, shape);
    normedFfn(w, blk, n_embd, shape.n_ff);
  }
  return fileOf(
    [
      ...firstKeys('refact', name, n_layer, n_embd),
      ...keysOf('refact', [
        ['feed_forward_length', u32(shape.n_ff)],
        ['attention.head_count', u32(shape.n_head)],
        ['attention.head_count_kv', u32(shape.n_head_kv)],
        ...RMS_KEY,
      ]),
      ...(n_vocab === BYTE_VOCAB ? byteVocabulary() : noVocabulary('refact', n_vocab)),
    ],
    w,
  );
}

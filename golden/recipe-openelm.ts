/**
 * Recipe of a random `openelm` model: every layer has its own number of heads and its own feed-forward width; queries,
 * keys and values in one matrix, tied output (spec: libllama.md 1, architectures.md 11).
 */
import type { TensorType } from '../model/types.ts';
import {
  HEAD_SIZE_KEYS,
  headNorms,
  loadableKeys,
  normedFfn,
  RMS_KEY,
  ROPE_KEYS,
  SIZE,
} from './recipe-blocks.ts';
import { BYTE_VOCAB, fileOf, i32s, type Metadata, Weights } from './recipe-parts.ts';

const LAYERS = [
  { n_head: 4, n_head_kv: 2, n_ff: 96 },
  { n_head: 2, n_head_kv: 1, n_ff: 64 },
  { n_head: 4, n_head_kv: 2, n_ff: 96 },
] as const;

export function buildOpenelm(name: string, type: TensorType): Uint8Array {
  const { n_embd, n_embd_head } = SIZE;
  const w = new Weights(name, type);
  // Small, since the output is tied: else the model would say little more than its last token.
  w.embeddings(n_embd, BYTE_VOCAB, 0.3);
  w.norm('output_norm.weight', n_embd);
  LAYERS.forEach(({ n_head, n_head_kv, n_ff }, i) => {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    w.matrix(`${blk}.attn_qkv.weight`, n_embd, (n_head + 2 * n_head_kv) * n_embd_head);
    headNorms(w, blk, n_embd_head);
    w.matrix(`${blk}.attn_output.weight`, n_head * n_embd_head, n_embd);
    normedFfn(w, blk, n_embd, n_ff);
  });
  const keys: Metadata = [
    ['feed_forward_length', i32s(LAYERS.map(({ n_ff }) => n_ff))],
    ['attention.head_count', i32s(LAYERS.map(({ n_head }) => n_head))],
    ['attention.head_count_kv', i32s(LAYERS.map(({ n_head_kv }) => n_head_kv))],
    ...HEAD_SIZE_KEYS,
    ...RMS_KEY,
    ...ROPE_KEYS,
  ];
  return fileOf(loadableKeys('openelm', name, LAYERS.length, keys), w);
}

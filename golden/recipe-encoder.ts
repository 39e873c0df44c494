/**
 * Recipes of random models with an encoder: `bert` (embeddings only, pooled by their mean, absolute positions), `t5` (encoder
 * and decoder, relative positions), and our own `isobatch-symmetric` (windows to both sides). Shapes: spec: libllama.md 1, architectures.md 6 and 7.
 */
import type { TensorType } from '../model/types.ts';
import {
  attention,
  FFN_KEY,
  firstKeys,
  HEAD_SIZE_KEYS,
  keysOf,
  LAYER_NORM_KEY,
  loadableKeys,
  normedFfn,
  QUERY_HEADS_KEY,
  RMS_KEY,
  SIZE,
} from './recipe-blocks.ts';
import { BYTE_VOCAB, fileOf, flag, type Metadata, noVocabulary, u32, Weights } from './recipe-parts.ts';

const N_LAYER = 2;

export function buildBert(name: string, type: TensorType): Uint8Array {
  const { n_embd, n_ff, n_ctx_train } = SIZE;
  const n_token_types = 2;
  const w = new Weights(name, type);
  w.embeddings(n_embd, BYTE_VOCAB);
  w.add('token_types.weight', [n_embd, n_token_types], 'F32', (random) => random.normal() / 2);
  w.add('position_embd.weight', [n_embd, n_ctx_train], 'F32', (random) => random.normal() / 2);
  w.layerNorm('token_embd_norm', n_embd);
  const dense = (tensor: string, n_in: number, n_out: number, gain = 1) => {
    w.matrix(`${tensor}.weight`, n_in, n_out, gain);
    w.bias(`${tensor}.bias`, n_out);
  };
  for (let i = 0; i < N_LAYER; i++) {
    const blk = `blk.${i}`;
    dense(`${blk}.attn_q`, n_embd, n_embd, 2);
    dense(`${blk}.attn_k`, n_embd, n_embd, 2);
    dense(`${blk}.attn_v`, n_embd, n_embd);
    dense(`${blk}.attn_output`, n_embd, n_embd);
    w.layerNorm(`${blk}.attn_output_norm`, n_embd);
    dense(`${blk}.ffn_up`, n_embd, n_ff);
    dense(`${blk}.ffn_down`, n_ff, n_embd);
    w.layerNorm(`${blk}.layer_output_norm`, n_embd);
  }
  const keys: Metadata = [
    ...FFN_KEY,
    ...QUERY_HEADS_KEY,
    ...LAYER_NORM_KEY,
    ['attention.causal', flag(false)],
    // The mean of the rows of a sequence.
    ['pooling_type', u32(1)],
  ];
  const metadata: Metadata = [
    ...loadableKeys('bert', name, N_LAYER, keys),
    ['tokenizer.ggml.token_type_count', u32(n_token_types)],
  ];
  return fileOf(metadata, w);
}

const N_BUCKETS = 32;

export function buildT5(name: string, type: TensorType): Uint8Array {
  const { n_embd } = SIZE;
  const w = new Weights(name, type);
  w.embeddings(n_embd, BYTE_VOCAB);
  w.matrix('output.weight', n_embd, BYTE_VOCAB, 3);
  for (const side of ['enc', 'dec']) {
    w.norm(`${side}.output_norm.weight`, n_embd);
    for (let i = 0; i < N_LAYER; i++) t5Layer(w, `${side}.blk.${i}`, side === 'dec', i === 0);
  }
  const keys: Metadata = [
    ...FFN_KEY,
    ...QUERY_HEADS_KEY,
    ...HEAD_SIZE_KEYS,
    ...RMS_KEY,
    ['attention.relative_buckets_count', u32(N_BUCKETS)],
    ['decoder_start_token_id', u32(0)],
  ];
  return fileOf(loadableKeys('t5', name, N_LAYER, keys), w);
}

/** The biases of the first layer serve the others too. */
function t5Layer(w: Weights, blk: string, decoder: boolean, first: boolean): void {
  const { n_embd, n_ff, n_head } = SIZE;
  w.norm(`${blk}.attn_norm.weight`, n_embd);
  t5Attention(w, `${blk}.attn`);
  if (first) w.add(`${blk}.attn_rel_b.weight`, [n_head, N_BUCKETS], 'F32', (random) => random.normal());
  if (decoder) {
    w.norm(`${blk}.cross_attn_norm.weight`, n_embd);
    t5Attention(w, `${blk}.cross_attn`);
  }
  normedFfn(w, blk, n_embd, n_ff);
}

function t5Attention(w: Weights, attn: string): void {
  const { n_embd, n_embd_head, n_head } = SIZE;
  const n_q = n_head * n_embd_head;
  // t5 does not divide scores by sqrt(n_embd_head) = 4: queries are smaller instead.
  w.matrix(`${attn}_q.weight`, n_embd, n_q, 0.5);
  w.matrix(`${attn}_k.weight`, n_embd, n_q);
  w.matrix(`${attn}_v.weight`, n_embd, n_q);
  w.matrix(`${attn}_o.weight`, n_q, n_embd);
}

export interface SymmetricShape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  readonly n_ff: number;
  readonly window: number;
}

export function buildSymmetric(name: string, shape: SymmetricShape, type: TensorType): Uint8Array {
  const { n_vocab, n_embd, n_layer } = shape;
  const w = new Weights(name, type);
  w.embeddings(n_embd, n_vocab);
  w.norm('output_norm.weight', n_embd);
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    attention(w, blk, shape);
    normedFfn(w, blk, n_embd, shape.n_ff);
  }
  return fileOf(
    [
      ...firstKeys('isobatch-symmetric', name, n_layer, n_embd),
      ...keysOf('isobatch-symmetric', [
        ['feed_forward_length', u32(shape.n_ff)],
        ['attention.head_count', u32(shape.n_head)],
        ['attention.head_count_kv', u32(shape.n_head_kv)],
        ...RMS_KEY,
        ['rope.dimension_count', u32(shape.n_embd_head)],
        ['attention.causal', flag(false)],
        ['attention.sliding_window', u32(shape.window)],
      ]),
      ...noVocabulary('isobatch-symmetric', n_vocab),
    ],
    w,
  );
}

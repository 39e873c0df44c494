/**
 * What recipes of several architectures share: the size of the models that real llama.cpp loads, their first keys,
 * and the tensors of attention and feed-forward parts (names and shapes: spec: libllama.md 1, architectures.md).
 */
import { BYTE_VOCAB, byteVocabulary, f32, type Metadata, text, u32, type Weights } from './recipe-parts.ts';

/** Size of the loadable recipes. */
export const SIZE = {
  n_embd: 64,
  n_head: 4,
  n_head_kv: 2,
  n_embd_head: 16,
  n_ff: 96,
  n_ctx_train: 512,
} as const;

export type AttentionShape = Readonly<Record<'n_embd' | 'n_head' | 'n_head_kv' | 'n_embd_head', number>>;

/** What most architectures begin with: embeddings, the last norm, and an output that is not tied to them. */
export function untied(w: Weights, n_embd: number, n_vocab: number = BYTE_VOCAB, gain = 1): void {
  w.embeddings(n_embd, n_vocab, gain);
  w.norm('output_norm.weight', n_embd);
  w.matrix('output.weight', n_embd, n_vocab, 3);
}

/** Query, key, value and output matrices of one layer. */
export function attention(w: Weights, blk: string, shape: AttentionShape): void {
  const { n_embd, n_head, n_head_kv, n_embd_head } = shape;
  // Twice as large, so that attention prefers some keys to others.
  w.matrix(`${blk}.attn_q.weight`, n_embd, n_head * n_embd_head, 2);
  w.matrix(`${blk}.attn_k.weight`, n_embd, n_head_kv * n_embd_head, 2);
  w.matrix(`${blk}.attn_v.weight`, n_embd, n_head_kv * n_embd_head);
  w.matrix(`${blk}.attn_output.weight`, n_head * n_embd_head, n_embd);
}

/** Norms of each query and key head; twice as large, since they undo the gain of the matrices. */
export function headNorms(w: Weights, blk: string, n_embd_head: number): void {
  w.norm(`${blk}.attn_q_norm.weight`, n_embd_head, 2);
  w.norm(`${blk}.attn_k_norm.weight`, n_embd_head, 2);
}

/** The second half of a layer: a norm and a gated feed-forward part. */
export function normedFfn(w: Weights, blk: string, n_embd: number, n_ff: number): void {
  w.norm(`${blk}.ffn_norm.weight`, n_embd);
  gatedFfn(w, blk, n_embd, n_ff);
}

/** A norm, a router, and the gated feed-forward parts of `n_expert` experts. */
export function normedExperts(w: Weights, blk: string, n_embd: number, n_ff: number, n_expert: number): void {
  w.norm(`${blk}.ffn_norm.weight`, n_embd);
  // Twice as large, so that the weights of the chosen experts differ.
  w.router(`${blk}.ffn_gate_inp.weight`, n_embd, n_expert, 2);
  w.matrices(`${blk}.ffn_gate_exps.weight`, n_embd, n_ff, n_expert);
  w.matrices(`${blk}.ffn_up_exps.weight`, n_embd, n_ff, n_expert);
  w.matrices(`${blk}.ffn_down_exps.weight`, n_ff, n_embd, n_expert);
}

export function gatedFfn(w: Weights, blk: string, n_embd: number, n_ff: number): void {
  w.matrix(`${blk}.ffn_gate.weight`, n_embd, n_ff);
  w.matrix(`${blk}.ffn_up.weight`, n_embd, n_ff);
  w.matrix(`${blk}.ffn_down.weight`, n_ff, n_embd);
}

/** Keys of one architecture, written without its name. */
export function keysOf(arch: string, keys: Metadata): Metadata {
  return keys.map(([key, value]) => [`${arch}.${key}`, value]);
}

/** The first keys of a model, by default of the size that is loadable. */
export function firstKeys(
  arch: string,
  name: string,
  n_layer: number,
  n_embd: number = SIZE.n_embd,
): Metadata {
  return [
    ['general.architecture', text(arch)],
    ['general.name', text(name)],
    ...keysOf(arch, [
      ['context_length', u32(SIZE.n_ctx_train)],
      ['embedding_length', u32(n_embd)],
      ['block_count', u32(n_layer)],
    ]),
  ];
}

/** All keys of a loadable model: the first ones, those of its architecture, and the vocabulary. */
export function loadableKeys(arch: string, name: string, n_layer: number, keys: Metadata): Metadata {
  return [...firstKeys(arch, name, n_layer), ...keysOf(arch, keys), ...byteVocabulary()];
}

const HEAD_COUNT: Metadata[number] = ['attention.head_count', u32(SIZE.n_head)];
/** Where keys and values have as many heads as queries, or where layers differ in that. */
export const QUERY_HEADS_KEY: Metadata = [HEAD_COUNT];
/** Keys of attention with the same heads in every layer. */
export const HEAD_KEYS: Metadata = [HEAD_COUNT, ['attention.head_count_kv', u32(SIZE.n_head_kv)]];

/** Models without attention still have the key. */
export const NO_HEADS_KEY: Metadata = [['attention.head_count', u32(0)]];

export const FFN_KEY: Metadata = [['feed_forward_length', u32(SIZE.n_ff)]];
export const HEAD_SIZE_KEYS: Metadata = [
  ['attention.key_length', u32(SIZE.n_embd_head)],
  ['attention.value_length', u32(SIZE.n_embd_head)],
];
export const ROPE_KEYS: Metadata = [['rope.dimension_count', u32(SIZE.n_embd_head)]];
export const RMS_KEY: Metadata = [['attention.layer_norm_rms_epsilon', f32(1e-5)]];
export const LAYER_NORM_KEY: Metadata = [['attention.layer_norm_epsilon', f32(1e-5)]];

export function expertKeys(experts: { readonly n_expert: number; readonly n_expert_used: number }): Metadata {
  return [
    ['expert_count', u32(experts.n_expert)],
    ['expert_used_count', u32(experts.n_expert_used)],
  ];
}

/**
 * Recipes of random `rwkv6` and `rwkv7` models: a state a head that decays, and inputs mixed with those of the token
 * before (spec: libllama.md 1, architectures.md 9 and 10).
 *
 * Decays are chosen so that memory lasts: a step keeps between 0.69 and 0.99 of the state.
 */
import type { TensorType } from '../model/types.ts';
import { firstKeys, keysOf, LAYER_NORM_KEY, loadableKeys, NO_HEADS_KEY, SIZE } from './recipe-blocks.ts';
import { BYTE_VOCAB, fileOf, type Metadata, noVocabulary, u32, Weights } from './recipe-parts.ts';

export interface RwkvShape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Inner width of the small two-step products. */
  readonly rank: number;
  /** A byte vocabulary as llama.cpp wants it; else tokens are only numbers. */
  readonly loadable: boolean;
}

const LOADABLE = {
  n_vocab: BYTE_VOCAB,
  n_embd: SIZE.n_embd,
  n_layer: 2,
  n_ff: SIZE.n_ff,
  rank: 8,
  loadable: true,
};

/** Four heads of 16. */
export const RWKV6_LOADABLE: RwkvShape = { ...LOADABLE, n_embd_head: 16 };
/** One head of 64. */
export const RWKV7_LOADABLE: RwkvShape = { ...LOADABLE, n_embd_head: 64 };

/** Small, with heads of half a vector. */
export function rwkvFuzz(n_layer: number, n_embd: number): RwkvShape {
  return { n_vocab: 64, n_embd, n_layer, n_embd_head: 8, n_ff: n_embd, rank: 4, loadable: false };
}

function start(name: string, { n_embd, n_vocab }: RwkvShape, type: TensorType): Weights {
  const w = new Weights(name, type);
  w.embeddings(n_embd, n_vocab);
  w.layerNorm('token_embd_norm', n_embd);
  w.layerNorm('output_norm', n_embd);
  w.matrix('output.weight', n_embd, n_vocab, 3);
  return w;
}

/** What both versions have in each layer. */
function common(w: Weights, blk: string, { n_embd, n_ff }: RwkvShape): void {
  w.layerNorm(`${blk}.attn_norm`, n_embd);
  w.layerNorm(`${blk}.attn_norm_2`, n_embd);
  for (const part of ['key', 'value', 'receptance', 'output'])
    w.matrix(`${blk}.time_mix_${part}.weight`, n_embd, n_embd);
  w.layerNorm(`${blk}.time_mix_ln`, n_embd);
  w.spread(`${blk}.channel_mix_lerp_k.weight`, [n_embd, 1, 1], 0, 1);
  w.matrix(`${blk}.channel_mix_key.weight`, n_embd, n_ff);
  w.matrix(`${blk}.channel_mix_value.weight`, n_ff, n_embd);
}

/** The file of a model; `keys` are those of its architecture that not both versions have. */
function fileWith(arch: string, name: string, shape: RwkvShape, keys: Metadata, w: Weights): Uint8Array {
  const { n_embd, n_layer, n_ff, n_embd_head, n_vocab } = shape;
  const own: Metadata = [
    ['feed_forward_length', u32(n_ff)],
    ...NO_HEADS_KEY,
    ...LAYER_NORM_KEY,
    ['wkv.head_size', u32(n_embd_head)],
    ...keys,
  ];
  if (shape.loadable) return fileOf(loadableKeys(arch, name, n_layer, own), w);
  const first = firstKeys(arch, name, n_layer, n_embd);
  return fileOf([...first, ...keysOf(arch, own), ...noVocabulary(arch, n_vocab)], w);
}

/**
 * After every so many layers, one for the model that llama.cpp loads, the residual stream is halved, as a key for large
 * models asks. That model has its mixes in five tensors, the small one in one.
 */
export function buildRwkv6(name: string, shape: RwkvShape, type: TensorType): Uint8Array {
  const { n_embd, n_embd_head, rank, loadable } = shape;
  const w = start(name, shape, type);
  for (let i = 0; i < shape.n_layer; i++) {
    const blk = `blk.${i}`;
    const mix = `${blk}.time_mix`;
    common(w, blk, shape);
    w.matrix(`${mix}_w1.weight`, n_embd, 5 * rank);
    w.matrices(`${mix}_w2.weight`, rank, n_embd, 5, 0.5);
    if (!loadable) w.spread(`${mix}_lerp_fused.weight`, [n_embd, 1, 1, 5], 0, 1);
    for (const part of loadable ? ['x', 'w', 'k', 'v', 'r', 'g'] : ['x'])
      w.spread(`${mix}_lerp_${part}.weight`, [n_embd, 1, 1], 0, 1);
    w.add(`${mix}_first.weight`, [n_embd_head, n_embd / n_embd_head], 'F32', (random) => random.normal());
    // The share that a step keeps is exp(-exp(x)).
    w.spread(`${mix}_decay.weight`, [n_embd], -5, -1);
    w.matrix(`${mix}_decay_w1.weight`, n_embd, rank);
    w.matrix(`${mix}_decay_w2.weight`, rank, n_embd, 0.5);
    w.matrix(`${mix}_gate.weight`, n_embd, n_embd, 2);
    w.spread(`${blk}.channel_mix_lerp_r.weight`, [n_embd, 1, 1], 0, 1);
    w.matrix(`${blk}.channel_mix_receptance.weight`, n_embd, n_embd);
  }
  const keys: Metadata = [
    ['time_mix_extra_dim', u32(rank)],
    ['time_decay_extra_dim', u32(rank)],
    ['rescale_every_n_layers', u32(loadable ? 1 : 2)],
  ];
  return fileWith('rwkv6', name, shape, keys, w);
}

export function buildRwkv7(name: string, shape: RwkvShape, type: TensorType): Uint8Array {
  const { n_embd, rank } = shape;
  const w = start(name, shape, type);
  for (let i = 0; i < shape.n_layer; i++) {
    const blk = `blk.${i}`;
    const mix = `${blk}.time_mix`;
    common(w, blk, shape);
    // The share that a step keeps is exp(-0.61 sigmoid(x)).
    w.spread(`${mix}_w0.weight`, [n_embd], -5, 0);
    for (const part of ['a', 'v']) w.vector(`${mix}_${part}0.weight`, n_embd, 0.5);
    for (const part of ['w', 'a', 'v', 'g']) {
      w.matrix(`${mix}_${part}1.weight`, n_embd, rank);
      w.matrix(`${mix}_${part}2.weight`, rank, n_embd, part === 'g' ? 2 : 0.5);
    }
    w.spread(`${mix}_lerp_fused.weight`, [n_embd, 1, 1, 6], 0, 1);
    w.norm(`${mix}_k_k.weight`, n_embd);
    w.norm(`${mix}_k_a.weight`, n_embd);
    w.vector(`${mix}_r_k.weight`, n_embd, 0.1);
  }
  const keys: Metadata = [
    ['attention.decay_lora_rank', u32(rank)],
    ['attention.iclr_lora_rank', u32(rank)],
    ['attention.value_residual_mix_lora_rank', u32(rank)],
    ['attention.gate_lora_rank', u32(rank)],
  ];
  return fileWith('rwkv7', name, shape, keys, w);
}

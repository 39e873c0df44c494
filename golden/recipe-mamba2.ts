/**
 * Recipes of random `mamba2` models: heads with one decay each, inputs of the state shared by groups of heads, a norm
 * a group (spec: libllama.md 1, architectures.md 2). Steps and decays are those of `recipe-mamba.ts`, so memory lasts.
 */
import type { TensorType } from '../model/types.ts';
import { keysOf, NO_HEADS_KEY, RMS_KEY, SIZE, untied } from './recipe-blocks.ts';
import { convolution, steps } from './recipe-mamba.ts';
import {
  BYTE_VOCAB,
  byteVocabulary,
  fileOf,
  type Metadata,
  noVocabulary,
  text,
  u32,
  Weights,
} from './recipe-parts.ts';

/** What a mixer needs of a shape. llama.cpp wants d_inner to be a multiple of n_group * n_embd. */
export interface Mamba2Mixer {
  readonly n_embd: number;
  readonly d_conv: number;
  readonly d_inner: number;
  readonly d_state: number;
  readonly n_ssm_head: number;
  readonly n_group: number;
}

export interface Mamba2Shape extends Mamba2Mixer {
  readonly n_layer: number;
  readonly n_vocab: number;
  /** A byte vocabulary as llama.cpp wants it; else tokens are only numbers. */
  readonly loadable: boolean;
}

/** The shape of the loadable recipes; others differ from it in what is theirs. */
export const MAMBA2_LOADABLE: Mamba2Shape = {
  n_vocab: BYTE_VOCAB,
  n_embd: SIZE.n_embd,
  n_layer: 2,
  d_conv: 4,
  d_inner: 2 * SIZE.n_embd,
  d_state: 16,
  n_ssm_head: 8,
  n_group: 2,
  loadable: true,
};

export function mamba2Keys(shape: Mamba2Mixer): Metadata {
  return [
    ['ssm.conv_kernel', u32(shape.d_conv)],
    ['ssm.inner_size', u32(shape.d_inner)],
    ['ssm.state_size', u32(shape.d_state)],
    // With mamba2 this is the number of heads.
    ['ssm.time_step_rank', u32(shape.n_ssm_head)],
    ['ssm.group_count', u32(shape.n_group)],
  ];
}

/** The tensors of the mixer of one layer, from ssm_in to ssm_out; without ssm_norm, which is not in every model. */
export function mamba2Mixer(w: Weights, blk: string, shape: Mamba2Mixer): void {
  const { n_embd, d_inner, n_ssm_head } = shape;
  const n_channels = d_inner + 2 * shape.n_group * shape.d_state;
  w.matrix(`${blk}.ssm_in.weight`, n_embd, d_inner + n_channels + n_ssm_head, 2);
  convolution(w, blk, shape.d_conv, n_channels);
  steps(w, blk, n_ssm_head);
  w.add(`${blk}.ssm_a`, [1, n_ssm_head], 'F32', (_, h) => -(0.25 + (1.75 * h) / (n_ssm_head - 1)));
  w.add(`${blk}.ssm_d`, [1, n_ssm_head], 'F32', (random) => 1 + random.normal() / 10);
  w.matrix(`${blk}.ssm_out.weight`, d_inner, n_embd);
}

/** The bytes of a model file; the seed names the weights. */
export function buildMamba2(seed: string, shape: Mamba2Shape, type: TensorType): Uint8Array {
  const { n_embd, n_layer, n_vocab, n_group } = shape;
  const w = new Weights(seed, type);
  untied(w, n_embd, n_vocab);
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    mamba2Mixer(w, blk, shape);
    const size = [shape.d_inner / n_group, n_group];
    w.add(`${blk}.ssm_norm.weight`, size, 'F32', (random) => 1 + random.normal() / 10);
  }
  const keys: Metadata = [
    ['context_length', u32(SIZE.n_ctx_train)],
    ['embedding_length', u32(n_embd)],
    ['block_count', u32(n_layer)],
    ['feed_forward_length', u32(0)],
    ...NO_HEADS_KEY,
    ...RMS_KEY,
    ...mamba2Keys(shape),
  ];
  return fileOf(
    [
      ['general.architecture', text('mamba2')],
      ['general.name', text(seed)],
      ...keysOf('mamba2', keys),
      ...(shape.loadable ? byteVocabulary() : noVocabulary('mamba2', n_vocab)),
    ],
    w,
  );
}

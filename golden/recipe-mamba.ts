/**
 * Recipes of random `mamba` models: the shapes of spec: libllama.md 1, at any size, tied output.
 *
 * Decay and step size are chosen so that memory lasts: steps softplus(dt) start between 0.001 and 0.1, and the decay
 * rates -ssm_a lie between 1/4 and 2, so a token is still felt after hundreds of others.
 */
import type { TensorType } from '../model/types.ts';
import { byteVocabulary, f32, fileOf, noVocabulary, text, u32, Weights } from './recipe-parts.ts';

export interface MambaShape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly d_conv: number;
  readonly d_state: number;
  readonly dt_rank: number;
  readonly n_ctx_train: number;
  /** A byte vocabulary as llama.cpp wants it; else tokens are only numbers. */
  readonly loadable: boolean;
}

/** softplus of these is 0.001 and 0.1. */
const DT_BIAS_MIN = -6.907;
const DT_BIAS_MAX = -2.252;

/** The bytes of a model file; the seed names the weights. */
export function buildMamba(seed: string, shape: MambaShape, type: TensorType): Uint8Array {
  const { n_embd, n_vocab, d_conv, d_state, dt_rank } = shape;
  const d_inner = 2 * n_embd;
  const w = new Weights(seed, type);
  w.embeddings(n_embd, n_vocab);
  w.norm('output_norm.weight', n_embd);
  for (let i = 0; i < shape.n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    mambaMixer(w, blk, shape);
  }
  return fileOf(
    [
      ['general.architecture', text('mamba')],
      ['general.name', text(seed)],
      ['mamba.context_length', u32(shape.n_ctx_train)],
      ['mamba.embedding_length', u32(n_embd)],
      ['mamba.block_count', u32(shape.n_layer)],
      ['mamba.feed_forward_length', u32(0)],
      ['mamba.attention.head_count', u32(0)],
      ['mamba.attention.layer_norm_rms_epsilon', f32(1e-5)],
      ['mamba.ssm.conv_kernel', u32(d_conv)],
      ['mamba.ssm.inner_size', u32(d_inner)],
      ['mamba.ssm.state_size', u32(d_state)],
      ['mamba.ssm.time_step_rank', u32(dt_rank)],
      ...(shape.loadable ? byteVocabulary() : noVocabulary('mamba', n_vocab)),
    ],
    w,
  );
}

/** What a mixer needs of a shape. */
export type MixerShape = Pick<MambaShape, 'n_embd' | 'd_conv' | 'd_state' | 'dt_rank'>;

/** The tensors of the mixer of one layer, from ssm_in to ssm_out. */
export function mambaMixer(w: Weights, blk: string, shape: MixerShape): void {
  const { n_embd, d_conv, d_state, dt_rank } = shape;
  const d_inner = 2 * n_embd;
  w.matrix(`${blk}.ssm_in.weight`, n_embd, 2 * d_inner, 2);
  convolution(w, blk, d_conv, d_inner);
  // B and C large against the small steps, so that the state weighs as much as the direct path D.
  w.matrix(`${blk}.ssm_x.weight`, d_inner, dt_rank + 2 * d_state, 3);
  w.matrix(`${blk}.ssm_dt.weight`, dt_rank, d_inner, 0.5);
  steps(w, blk, d_inner);
  w.add(
    `${blk}.ssm_a`,
    [d_state, d_inner],
    'F32',
    (_, k) => -(0.25 + (1.75 * (k % d_state)) / (d_state - 1)),
  );
  w.add(`${blk}.ssm_d`, [d_inner], 'F32', (random) => 1 + random.normal() / 10);
  w.matrix(`${blk}.ssm_out.weight`, d_inner, n_embd);
}

/** The short convolution over time of `n_channels`. */
export function convolution(w: Weights, blk: string, d_conv: number, n_channels: number): void {
  const scale = 1 / Math.sqrt(d_conv);
  w.add(`${blk}.ssm_conv1d.weight`, [d_conv, n_channels], 'F32', (random) => random.normal() * scale);
  w.bias(`${blk}.ssm_conv1d.bias`, n_channels);
}

/** Biases that make steps between 0.001 and 0.1. */
export function steps(w: Weights, blk: string, n: number): void {
  w.spread(`${blk}.ssm_dt.bias`, [n], DT_BIAS_MIN, DT_BIAS_MAX);
}

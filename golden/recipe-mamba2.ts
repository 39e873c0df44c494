/**
 * Recipes of random `mamba2` models: heads with one decay each, inputs of the state shared by groups of heads, a norm
 * a group (spec: libllama.md 1, architectures.md 2). Steps and decays are those of `recipe-mamba.ts`, so memory lasts.
 */
import type { TensorType } from '../model/types.ts';
import { loadableKeys, NO_HEADS_KEY, RMS_KEY, SIZE, untied } from './recipe-blocks.ts';
import { convolution, steps } from './recipe-mamba.ts';
import { fileOf, type Metadata, u32, Weights } from './recipe-parts.ts';

const D_CONV = 4;
const D_STATE = 16;
const D_INNER = 2 * SIZE.n_embd;
const N_SSM_HEAD = 8;

export function mamba2Keys(n_group: number): Metadata {
  return [
    ['ssm.conv_kernel', u32(D_CONV)],
    ['ssm.inner_size', u32(D_INNER)],
    ['ssm.state_size', u32(D_STATE)],
    // With mamba2 this is the number of heads.
    ['ssm.time_step_rank', u32(N_SSM_HEAD)],
    ['ssm.group_count', u32(n_group)],
  ];
}

/** The tensors of the mixer of one layer, from ssm_in to ssm_out; without ssm_norm, which is not in every model. */
export function mamba2Mixer(w: Weights, blk: string, n_group: number): void {
  const { n_embd } = SIZE;
  const n_channels = D_INNER + 2 * n_group * D_STATE;
  w.matrix(`${blk}.ssm_in.weight`, n_embd, D_INNER + n_channels + N_SSM_HEAD, 2);
  convolution(w, blk, D_CONV, n_channels);
  steps(w, blk, N_SSM_HEAD);
  w.add(`${blk}.ssm_a`, [1, N_SSM_HEAD], 'F32', (_, h) => -(0.25 + (1.75 * h) / (N_SSM_HEAD - 1)));
  w.add(`${blk}.ssm_d`, [1, N_SSM_HEAD], 'F32', (random) => 1 + random.normal() / 10);
  w.matrix(`${blk}.ssm_out.weight`, D_INNER, n_embd);
}

export function buildMamba2(name: string, type: TensorType): Uint8Array {
  const { n_embd } = SIZE;
  const n_layer = 2;
  const n_group = 2;
  const w = new Weights(name, type);
  untied(w, n_embd);
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    mamba2Mixer(w, blk, n_group);
    w.add(
      `${blk}.ssm_norm.weight`,
      [D_INNER / n_group, n_group],
      'F32',
      (random) => 1 + random.normal() / 10,
    );
  }
  const keys: Metadata = [
    ['feed_forward_length', u32(0)],
    ...NO_HEADS_KEY,
    ...RMS_KEY,
    ...mamba2Keys(n_group),
  ];
  return fileOf(loadableKeys('mamba2', name, n_layer, keys), w);
}

/**
 * Keys and tensors of `isobatch-symmetric`, an architecture of our own (formula: ARCHITECTURE.md): a small encoder that
 * keeps nothing between batches and sees to both sides, in every second layer no farther than half a window.
 */
import type { Keys } from '../keys.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  gatedFeedForward,
  headCounts,
  headSize,
  matrix,
  norm,
  refuseExperts,
  rmsEps,
  ropeBase,
  ropeScale,
  rotatedChannels,
  type Wanted,
} from './parts.ts';

export interface SymmetricHparams extends CommonHparams {
  readonly arch: 'isobatch-symmetric';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Rotated channels of a head; equals n_embd_head. */
  readonly n_rot: number;
  readonly rope_freq_base: number;
  readonly rope_freq_scale: number;
  /** Layers 0, 2, ... see keys at most half of it away, rounded down. */
  readonly n_swa: number;
}

function hparams(keys: Keys, n_vocab: number): SymmetricHparams {
  const common = commonHparams(keys, n_vocab);
  const n_ff = keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 });
  const heads = headCounts(keys, common.n_layer);
  const n_embd_head = headSize(keys, common.n_embd, heads.n_head);
  refuseExperts(keys);
  keys.mustBe('attention.causal', false, 'it sees to both sides');
  return {
    arch: 'isobatch-symmetric',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head,
    n_ff,
    n_rot: rotatedChannels(keys, n_embd_head),
    rope_freq_base: ropeBase(keys),
    rope_freq_scale: ropeScale(keys),
    n_swa: keys.integer('attention.sliding_window', { min: 1 }),
  };
}

function tensors(h: SymmetricHparams): Wanted[] {
  const all = [matrix('token_embd', h.n_embd, h.n_vocab), norm('output_norm', h.n_embd)];
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`, h.n_embd),
      ...attention(blk, h),
      ...gatedFeedForward(blk, h.n_embd, h.n_ff),
    );
  }
  return all;
}

function explain(tensor: string): string | undefined {
  return tensor === 'output.weight' ? 'is not part of an encoder, whose rows are embeddings' : undefined;
}

export const symmetric: Architecture<SymmetricHparams> = {
  name: 'isobatch-symmetric',
  hparams,
  tensors,
  explain,
};

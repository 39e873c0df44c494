/**
 * Keys and tensors of `lfm2`: layers of a gated short convolution and layers of attention with normed heads, each with a
 * gated feed-forward net behind it. The norm before the output has the name of one of the embeddings.
 *
 * Rule: llama.cpp's file format; the formula stands in `oracle/models/lfm2.ts`.
 */
import type { Keys } from '../keys.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  gatedFeedForward,
  headSize,
  matrix,
  mixedHeads,
  norm,
  refuseAttentionVariants,
  rmsEps,
  ropeBase,
  ropeScale,
  rotatedChannels,
  small,
  type Wanted,
} from './parts.ts';

export interface Lfm2Hparams extends CommonHparams {
  readonly arch: 'lfm2';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  /** Heads of keys and values of each layer; 0 is a layer with a convolution instead. */
  readonly n_head_kv: readonly number[];
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Taps of the convolution: a state holds one column less. */
  readonly d_conv: number;
  /** Rotated channels of a head; equals n_embd_head. */
  readonly n_rot: number;
  readonly rope_freq_base: number;
  /** 1 / factor of linear scaling, 1 if none. */
  readonly rope_freq_scale: number;
}

function hparams(keys: Keys, n_vocab: number): Lfm2Hparams {
  const common = commonHparams(keys, n_vocab);
  const heads = mixedHeads(keys, common.n_layer);
  const n_embd_head = headSize(keys, common.n_embd, heads.n_head);
  refuseAttentionVariants(keys);
  return {
    arch: 'lfm2',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head,
    n_ff: keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 }),
    d_conv: keys.integer('shortconv.l_cache', { min: 2 }),
    n_rot: rotatedChannels(keys, n_embd_head),
    rope_freq_base: ropeBase(keys),
    rope_freq_scale: ropeScale(keys),
  };
}

function tensors(h: Lfm2Hparams): Wanted[] {
  const { n_embd: e, n_embd_head: d } = h;
  const all: Wanted[] = [
    matrix('token_embd', e, h.n_vocab),
    norm('token_embd_norm', e),
    { ...matrix('output', e, h.n_vocab), optional: true },
  ];
  h.n_head_kv.forEach((n_head_kv, i) => {
    const blk = `blk.${i}`;
    all.push(norm(`${blk}.attn_norm`, e));
    if (n_head_kv > 0) {
      all.push(
        ...attention(blk, { ...h, n_head_kv }),
        norm(`${blk}.attn_q_norm`, d),
        norm(`${blk}.attn_k_norm`, d),
      );
    } else {
      all.push(
        matrix(`${blk}.shortconv.in_proj`, e, 3 * e),
        small(`${blk}.shortconv.conv.weight`, h.d_conv, e),
        matrix(`${blk}.shortconv.out_proj`, e, e),
      );
    }
    all.push(...gatedFeedForward(blk, e, h.n_ff));
  });
  return all;
}

function explain(tensor: string): string | undefined {
  if (tensor === 'output_norm.weight') return 'is called token_embd_norm.weight in lfm2';
  return undefined;
}

export const lfm2: Architecture<Lfm2Hparams> = { name: 'lfm2', hparams, tensors, explain };

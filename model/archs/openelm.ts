/**
 * Keys and tensors of `openelm`: every layer has its own number of heads and its own feed-forward width; queries, keys
 * and values come from one matrix, and heads of q and k are normed before they are rotated.
 *
 * Rule: spec: architectures.md 0.1 and 11.
 */
import type { Keys } from '../keys.ts';
import {
  type Architecture,
  type CommonHparams,
  commonHparams,
  gatedFeedForward,
  headSize,
  matrix,
  norm,
  refuseAttentionVariants,
  refuseExperts,
  rmsEps,
  ropeBase,
  ropeScale,
  rotatedChannels,
  type Wanted,
} from './parts.ts';

/** What layers have of their own. */
export interface OpenelmLayer {
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_ff: number;
}

export interface OpenelmHparams extends CommonHparams {
  readonly arch: 'openelm';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly layers: readonly OpenelmLayer[];
  /** Size of a head of q, k and v, in all layers. */
  readonly n_embd_head: number;
  /** Rotated channels of a head; equals n_embd_head. */
  readonly n_rot: number;
  readonly rope_freq_base: number;
  /** 1 / factor of linear scaling, 1 if none. */
  readonly rope_freq_scale: number;
}

function hparams(keys: Keys, n_vocab: number): OpenelmHparams {
  const common = commonHparams(keys, n_vocab);
  const layers = layersOf(keys, common.n_layer);
  const n_embd_head = headSize(keys, common.n_embd, layers[0]!.n_head);
  const n_rot = rotatedChannels(keys, n_embd_head);
  refuseAttentionVariants(keys);
  refuseExperts(keys);
  return {
    arch: 'openelm',
    ...common,
    norm_rms_eps: rmsEps(keys),
    layers,
    n_embd_head,
    n_rot,
    rope_freq_base: ropeBase(keys),
    rope_freq_scale: ropeScale(keys),
  };
}

/** Throws `model`, also if K and V of a layer cannot be shared evenly. */
function layersOf(keys: Keys, n_layer: number): OpenelmLayer[] {
  const one = { min: 1 };
  const n_ff = keys.integersOfLayers('feed_forward_length', n_layer, one);
  const n_head = keys.integersOfLayers('attention.head_count', n_layer, one);
  const n_head_kv = keys.integersOfLayers('attention.head_count_kv', n_layer, one, n_head);
  return n_head.map((heads, i) => {
    if (heads % n_head_kv[i]! !== 0) {
      keys.fail(
        'key openelm.attention.head_count',
        `is ${heads} in layer ${i}, which is not a multiple of head_count_kv ${n_head_kv[i]}`,
      );
    }
    return { n_head: heads, n_head_kv: n_head_kv[i]!, n_ff: n_ff[i]! };
  });
}

function tensors(h: OpenelmHparams): Wanted[] {
  const { n_embd: e, n_embd_head: d } = h;
  // The output is always tied to the embeddings.
  const all = [matrix('token_embd', e, h.n_vocab), norm('output_norm', e)];
  h.layers.forEach(({ n_head, n_head_kv, n_ff }, i) => {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`, e),
      // Rows of all heads of q, then of k, then of v.
      matrix(`${blk}.attn_qkv`, e, (n_head + 2 * n_head_kv) * d),
      norm(`${blk}.attn_q_norm`, d),
      norm(`${blk}.attn_k_norm`, d),
      matrix(`${blk}.attn_output`, n_head * d, e),
      ...gatedFeedForward(blk, e, n_ff),
    );
  });
  return all;
}

function explain(tensor: string): string | undefined {
  if (tensor === 'output.weight') return 'is not part of openelm, whose output is tied to its embeddings';
  if (/attn_[qkv]\.weight$/.test(tensor)) return 'is part of attn_qkv in openelm';
  return undefined;
}

export const openelm: Architecture<OpenelmHparams> = { name: 'openelm', hparams, tensors, explain };

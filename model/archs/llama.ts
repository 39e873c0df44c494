/**
 * Keys and tensors of `llama`: grouped-query attention with rotated pairs, and a gated feed-forward net, or one of
 * experts in every layer.
 *
 * Rule: spec: architectures.md 0.1 and 3. Refused, because nothing here computes them: biases, factors of rope
 * frequencies, YaRN, values of another head size than keys, partial rotation.
 */
import type { Keys } from '../keys.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  ends,
  expertCounts,
  expertFeedForward,
  gatedFeedForward,
  headCounts,
  headSize,
  norm,
  refuseAttentionVariants,
  rmsEps,
  ropeBase,
  ropeScale,
  rotatedChannels,
  type Wanted,
} from './parts.ts';

export interface LlamaHparams extends CommonHparams {
  readonly arch: 'llama';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  /** Width of the feed-forward net, or of each expert. */
  readonly n_ff: number;
  /** Experts of a layer; 0 if it has one net for all tokens. */
  readonly n_expert: number;
  /** Experts that a token goes to. */
  readonly n_expert_used: number;
  /** Rotated channels of a head; equals n_embd_head. */
  readonly n_rot: number;
  readonly rope_freq_base: number;
  /** 1 / factor of linear scaling, 1 if none. */
  readonly rope_freq_scale: number;
}

function hparams(keys: Keys, n_vocab: number): LlamaHparams {
  const common = commonHparams(keys, n_vocab);
  const n_ff = keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 });
  const heads = headCounts(keys, common.n_layer);
  const n_embd_head = headSize(keys, common.n_embd, heads.n_head);
  const n_rot = rotatedChannels(keys, n_embd_head);
  refuseAttentionVariants(keys);
  keys.ignore('tensor_data_layout'); // names the order of q and k rows that every file of this architecture has
  return {
    arch: 'llama',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head,
    n_ff,
    ...expertCounts(keys),
    n_rot,
    rope_freq_base: ropeBase(keys),
    rope_freq_scale: ropeScale(keys),
  };
}

function tensors(h: LlamaHparams): Wanted[] {
  const { n_embd: e } = h;
  const all = ends(h);
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`, e),
      ...attention(blk, h),
      ...(h.n_expert > 0 ? expertFeedForward(blk, e, h.n_ff, h.n_expert) : gatedFeedForward(blk, e, h.n_ff)),
    );
  }
  return all;
}

function explain(tensor: string): string | undefined {
  if (tensor.endsWith('.bias')) return 'is a bias; models with biases are not supported';
  if (/(^|\.)rope_(freqs|factors_\w+)\.weight$/.test(tensor)) {
    return 'changes the rope frequencies, which is not supported';
  }
  if (/ffn_(gate_inp|(gate|up|down)_exps)\.weight$/.test(tensor))
    return 'belongs to experts, but expert_count is 0';
  if (/ffn_(gate|up|down)\.\d+\.weight$/.test(tensor)) {
    return 'is one expert; only files with the experts of a layer in one tensor are supported';
  }
  return undefined;
}

export const llama: Architecture<LlamaHparams> = { name: 'llama', hparams, tensors, explain };

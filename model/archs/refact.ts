/**
 * Keys and tensors of `refact`: as a llama whose q and k are not turned, but whose scores fall with the distance of their
 * keys (ALiBi). Rule: llama.cpp's model definition; slopes: spec: batching.md 6.5, with a largest bias of 8.
 */
import type { Keys } from '../keys.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  ends,
  gatedFeedForward,
  headCounts,
  headSize,
  norm,
  refuseAttentionVariants,
  refuseExperts,
  rmsEps,
  type Wanted,
} from './parts.ts';

export interface RefactHparams extends CommonHparams {
  readonly arch: 'refact';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** What the steepest slope is the eighth part of, if there are eight heads (spec: batching.md 6.5). */
  readonly max_alibi_bias: number;
}

function hparams(keys: Keys, n_vocab: number): RefactHparams {
  const common = commonHparams(keys, n_vocab);
  const n_ff = keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 });
  const heads = headCounts(keys, common.n_layer);
  const n_embd_head = headSize(keys, common.n_embd, heads.n_head);
  refuseExperts(keys);
  refuseAttentionVariants(keys);
  keys.mustBe('attention.max_alibi_bias', 8, 'refact has one bias, whatever its files say');
  keys.ignore('tensor_data_layout'); // as in llama
  keys.ignore('rope.dimension_count'); // nothing is turned
  return {
    arch: 'refact',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head,
    n_ff,
    max_alibi_bias: 8,
  };
}

function tensors(h: RefactHparams): Wanted[] {
  const all = ends(h);
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
  if (tensor.endsWith('.bias')) return 'is a bias; models with biases are not supported';
  if (/(^|\.)rope_\w+\.weight$/.test(tensor)) return 'belongs to a model that turns q and k; refact does not';
  return undefined;
}

export const refact: Architecture<RefactHparams> = { name: 'refact', hparams, tensors, explain };

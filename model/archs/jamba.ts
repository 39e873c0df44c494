/**
 * Keys and tensors of `jamba`: layers of Mamba-1 and layers of attention, each with a gated feed-forward net behind it, or
 * with experts where the file has a router. Attention rotates nothing: positions come from the recurrence. Steps, B and C
 * of a mixer have norms of their own.
 *
 * Rule: spec: architectures.md 0.1 and 8.
 */
import type { Keys } from '../keys.ts';
import { explainMixer, type MixerHparams, mixerHparams, mixerTensors } from './mamba.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  ends,
  expertCounts,
  expertFeedForward,
  gatedFeedForward,
  headSize,
  mixedHeads,
  norm,
  refuseAttentionVariants,
  rmsEps,
  type Wanted,
} from './parts.ts';

export interface JambaHparams extends CommonHparams, MixerHparams {
  readonly arch: 'jamba';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  /** Heads of keys and values of each layer; 0 is a layer with a recurrent state instead. */
  readonly n_head_kv: readonly number[];
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  /** Width of a feed-forward net, and of each expert. */
  readonly n_ff: number;
  /** Experts of a layer that has them; 0 if none has. */
  readonly n_expert: number;
  /** Experts that a token goes to. */
  readonly n_expert_used: number;
  /** By layer: whether it has experts. */
  readonly has_experts: readonly boolean[];
}

function hparams(keys: Keys, n_vocab: number, has: (tensor: string) => boolean): JambaHparams {
  const common = commonHparams(keys, n_vocab);
  const heads = mixedHeads(keys, common.n_layer);
  refuseAttentionVariants(keys);
  const experts = expertCounts(keys);
  const routed = Array.from({ length: common.n_layer }, (_, i) => has(`blk.${i}.ffn_gate_inp.weight`));
  return {
    arch: 'jamba',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head: headSize(keys, common.n_embd, heads.n_head),
    n_ff: keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 }),
    ...mixerHparams(keys, common.n_embd),
    ...experts,
    has_experts: routed.map((router) => router && experts.n_expert > 0),
  };
}

function tensors(h: JambaHparams): Wanted[] {
  const { n_embd: e } = h;
  const all = ends(h);
  h.n_head_kv.forEach((n_head_kv, i) => {
    const blk = `blk.${i}`;
    all.push(norm(`${blk}.attn_norm`, e));
    if (n_head_kv > 0) all.push(...attention(blk, { ...h, n_head_kv }));
    else {
      all.push(
        ...mixerTensors(blk, h),
        norm(`${blk}.ssm_dt_norm`, h.dt_rank),
        norm(`${blk}.ssm_b_norm`, h.d_state),
        norm(`${blk}.ssm_c_norm`, h.d_state),
      );
    }
    const net = h.has_experts[i]
      ? expertFeedForward(blk, e, h.n_ff, h.n_expert)
      : gatedFeedForward(blk, e, h.n_ff);
    all.push(...net);
  });
  return all;
}

function explain(tensor: string): string | undefined {
  if (/ffn_(gate_inp|(gate|up|down)_exps)\.weight$/.test(tensor))
    return 'belongs to experts, but expert_count is 0, or the layer has no router';
  return explainMixer(tensor);
}

export const jamba: Architecture<JambaHparams> = { name: 'jamba', hparams, tensors, explain };

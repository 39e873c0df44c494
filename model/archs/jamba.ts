/**
 * Keys and tensors of `jamba`: layers of Mamba-1 and layers of attention, each with a gated feed-forward net behind it.
 * Attention rotates nothing: positions come from the recurrence. Steps, B and C of a mixer have norms of their own.
 *
 * Rule: spec: architectures.md 0.1 and 8. Refused, because nothing here computes them: experts.
 */
import type { Keys } from '../keys.ts';
import { explainMixer, type MixerHparams, mixerHparams, mixerTensors } from './mamba.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  ends,
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
  readonly n_ff: number;
}

function hparams(keys: Keys, n_vocab: number): JambaHparams {
  const common = commonHparams(keys, n_vocab);
  const heads = mixedHeads(keys, common.n_layer);
  refuseAttentionVariants(keys);
  return {
    arch: 'jamba',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head: headSize(keys, common.n_embd, heads.n_head),
    n_ff: keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 }),
    ...mixerHparams(keys, common.n_embd),
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
    all.push(...gatedFeedForward(blk, e, h.n_ff));
  });
  return all;
}

function explain(tensor: string): string | undefined {
  if (/ffn_(gate_inp|(gate|up|down)_exps)/.test(tensor)) return 'belongs to experts, which are not supported';
  return explainMixer(tensor);
}

export const jamba: Architecture<JambaHparams> = { name: 'jamba', hparams, tensors, explain };

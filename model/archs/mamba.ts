/**
 * Keys and tensors of `mamba` (Mamba-1): a causal convolution and a selective scan over a recurrent state. Hybrids have
 * the same mixer in some of their layers.
 *
 * Rule: spec: architectures.md 0.1 and 1.
 */
import type { Keys } from '../keys.ts';
import {
  type Architecture,
  type CommonHparams,
  commonHparams,
  ends,
  matrix,
  norm,
  refuseHeads,
  rmsEps,
  small,
  type Wanted,
} from './parts.ts';

/** What a mixer is made of, beside the width of the model. */
export interface MixerHparams {
  readonly d_conv: number;
  /** Twice n_embd. */
  readonly d_inner: number;
  readonly d_state: number;
  readonly dt_rank: number;
}

export interface MambaHparams extends CommonHparams, MixerHparams {
  readonly arch: 'mamba';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly dt_b_c_rms: boolean;
}

function hparams(keys: Keys, n_vocab: number): MambaHparams {
  const common = commonHparams(keys, n_vocab);
  keys.mustBe('feed_forward_length', 0, 'mamba has no feed-forward net');
  refuseHeads(keys);
  return {
    arch: 'mamba',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...mixerHparams(keys, common.n_embd),
    dt_b_c_rms: keys.bool('ssm.dt_b_c_rms', false),
  };
}

/** Throws `model`. */
export function mixerHparams(keys: Keys, n_embd: number): MixerHparams {
  const d_conv = keys.integer('ssm.conv_kernel', { min: 2 });
  const d_inner = keys.integer('ssm.inner_size', { min: 1 });
  const twice = 2 * n_embd;
  if (d_inner !== twice) {
    keys.fail(`key ${keys.arch}.ssm.inner_size`, `is ${d_inner}; wanted twice embedding_length, ${twice}`, {
      wanted: twice,
      found: d_inner,
    });
  }
  const d_state = keys.integer('ssm.state_size', { min: 1 });
  return { d_conv, d_inner, d_state, dt_rank: keys.integer('ssm.time_step_rank', { min: 1 }) };
}

function tensors(h: MambaHparams): Wanted[] {
  const all = ends(h);
  for (let i = 0; i < h.n_layer; i++) {
    all.push(norm(`blk.${i}.attn_norm`, h.n_embd), ...mixerTensors(`blk.${i}`, h));
  }
  return all;
}

/** The tensors of the mixer of one layer, from ssm_in to ssm_out. */
export function mixerTensors(blk: string, h: MixerHparams & Pick<CommonHparams, 'n_embd'>): Wanted[] {
  const { n_embd: e, d_inner: d, d_state: n, dt_rank: r } = h;
  return [
    matrix(`${blk}.ssm_in`, e, 2 * d),
    small(`${blk}.ssm_conv1d.weight`, h.d_conv, d),
    small(`${blk}.ssm_conv1d.bias`, d),
    matrix(`${blk}.ssm_x`, d, r + 2 * n),
    matrix(`${blk}.ssm_dt`, r, d),
    small(`${blk}.ssm_dt.bias`, d),
    // These two have no suffix.
    small(`${blk}.ssm_a`, n, d),
    small(`${blk}.ssm_d`, d),
    matrix(`${blk}.ssm_out`, d, e),
  ];
}

/** Why a tensor is not one of a mixer, if that is known. */
export function explainMixer(tensor: string): string | undefined {
  if (/ssm_(a|d)\.weight$/.test(tensor)) return 'is misnamed: ssm_a and ssm_d have no ".weight"';
  return undefined;
}

function explain(tensor: string): string | undefined {
  if (/ssm_(dt|b|c)_norm\.weight$/.test(tensor))
    return 'belongs to jamba; mamba has no weighted norms of dt, B and C';
  return explainMixer(tensor);
}

export const mamba: Architecture<MambaHparams> = { name: 'mamba', hparams, tensors, explain };

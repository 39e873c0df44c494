/**
 * Keys and tensors of `mamba2` (Mamba-2): one projection makes gate, convolved inputs and steps; heads of channels with
 * one decay each, and inputs of the state that a group of heads shares. Hybrids have the same mixer.
 *
 * Rule: spec: architectures.md 0.1 and 2. Demanded is what the formula needs (whole heads, whole groups); llama.cpp
 * asserts more (d_inner a multiple of n_group * n_embd).
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
export interface Mixer2Hparams {
  readonly d_conv: number;
  /** Channels of all heads. */
  readonly d_inner: number;
  readonly d_state: number;
  /** Heads of d_inner / n_ssm_head channels. */
  readonly n_ssm_head: number;
  /** Groups of n_ssm_head / n_group heads, one behind the other: they share B, C and a norm. */
  readonly n_group: number;
}

export interface Mamba2Hparams extends CommonHparams, Mixer2Hparams {
  readonly arch: 'mamba2';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
}

function hparams(keys: Keys, n_vocab: number): Mamba2Hparams {
  const common = commonHparams(keys, n_vocab);
  keys.mustBe('feed_forward_length', 0, 'mamba2 has no feed-forward net');
  refuseHeads(keys);
  return { arch: 'mamba2', ...common, norm_rms_eps: rmsEps(keys), ...mixer2Hparams(keys) };
}

/** Throws `model`, also if heads or groups are not whole. */
export function mixer2Hparams(keys: Keys): Mixer2Hparams {
  const h = {
    d_conv: keys.integer('ssm.conv_kernel', { min: 2 }),
    d_inner: keys.integer('ssm.inner_size', { min: 1 }),
    d_state: keys.integer('ssm.state_size', { min: 1 }),
    n_ssm_head: keys.integer('ssm.time_step_rank', { min: 1 }),
    n_group: keys.integer('ssm.group_count', { min: 1 }),
  };
  mustDivide(keys, 'inner_size', h.d_inner, 'time_step_rank', h.n_ssm_head);
  mustDivide(keys, 'time_step_rank', h.n_ssm_head, 'group_count', h.n_group);
  return h;
}

function mustDivide(keys: Keys, whole: string, n: number, parts: string, of: number): void {
  if (n % of !== 0)
    keys.fail(`key ${keys.arch}.ssm.${parts}`, `is ${of}, which does not divide ${whole} ${n}`, {
      [whole]: n,
    });
}

function tensors(h: Mamba2Hparams): Wanted[] {
  const all = ends(h);
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`, h.n_embd),
      ...mixer2Tensors(blk, h),
      small(`${blk}.ssm_norm.weight`, h.d_inner / h.n_group, h.n_group),
    );
  }
  return all;
}

/** The tensors of the mixer of one layer, from ssm_in to ssm_out, without the norm behind the gate. */
export function mixer2Tensors(blk: string, h: Mixer2Hparams & Pick<CommonHparams, 'n_embd'>): Wanted[] {
  const { n_embd: e, d_inner: d, n_ssm_head } = h;
  // x of every head, then B and C of every group.
  const channels = d + 2 * h.n_group * h.d_state;
  return [
    matrix(`${blk}.ssm_in`, e, d + channels + n_ssm_head),
    small(`${blk}.ssm_conv1d.weight`, h.d_conv, channels),
    small(`${blk}.ssm_conv1d.bias`, channels),
    small(`${blk}.ssm_dt.bias`, n_ssm_head),
    // These two have no suffix.
    small(`${blk}.ssm_a`, 1, n_ssm_head),
    small(`${blk}.ssm_d`, 1, n_ssm_head),
    matrix(`${blk}.ssm_out`, d, e),
  ];
}

/** Why a tensor is not one of a mixer, if that is known. */
export function explainMixer2(tensor: string): string | undefined {
  if (/ssm_(a|d)\.weight$/.test(tensor)) return 'is misnamed: ssm_a and ssm_d have no ".weight"';
  if (/ssm_(x|dt)\.weight$/.test(tensor)) return 'belongs to mamba; mamba2 has steps, B and C in ssm_in';
  return undefined;
}

export const mamba2: Architecture<Mamba2Hparams> = {
  name: 'mamba2',
  hparams,
  tensors,
  explain: explainMixer2,
};

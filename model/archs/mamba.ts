/**
 * Keys and tensors of `mamba` (Mamba-1): a causal convolution and a selective scan over a recurrent state.
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

export interface MambaHparams extends CommonHparams {
  readonly arch: 'mamba';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly d_conv: number;
  readonly d_inner: number;
  readonly d_state: number;
  readonly dt_rank: number;
  readonly dt_b_c_rms: boolean;
}

function hparams(keys: Keys, n_vocab: number): MambaHparams {
  const common = commonHparams(keys, n_vocab);
  keys.mustBe('feed_forward_length', 0, 'mamba has no feed-forward net');
  refuseHeads(keys);
  const d_conv = keys.integer('ssm.conv_kernel', { min: 2 });
  const d_inner = keys.integer('ssm.inner_size', { min: 1 });
  const twice = 2 * common.n_embd;
  if (d_inner !== twice) {
    keys.fail('key mamba.ssm.inner_size', `is ${d_inner}; wanted twice embedding_length, ${twice}`, {
      wanted: twice,
      found: d_inner,
    });
  }
  return {
    arch: 'mamba',
    ...common,
    norm_rms_eps: rmsEps(keys),
    d_conv,
    d_inner,
    d_state: keys.integer('ssm.state_size', { min: 1 }),
    dt_rank: keys.integer('ssm.time_step_rank', { min: 1 }),
    dt_b_c_rms: keys.bool('ssm.dt_b_c_rms', false),
  };
}

function tensors(h: MambaHparams): Wanted[] {
  const { n_embd: e, d_inner: d, d_state: n, dt_rank: r } = h;
  const all = ends(h);
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`, e),
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
    );
  }
  return all;
}

function explain(tensor: string): string | undefined {
  if (/ssm_(a|d)\.weight$/.test(tensor)) return 'is misnamed: ssm_a and ssm_d have no ".weight"';
  if (/ssm_(dt|b|c)_norm\.weight$/.test(tensor))
    return 'belongs to jamba; mamba has no weighted norms of dt, B and C';
  return undefined;
}

export const mamba: Architecture<MambaHparams> = { name: 'mamba', hparams, tensors, explain };

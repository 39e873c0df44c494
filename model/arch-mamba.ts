/**
 * Keys and tensors of `mamba` (Mamba-1): a causal convolution and a selective scan over a recurrent state.
 *
 * Rule: spec: architectures.md 0.1 and 1.
 */

import { type Keys, MAX_LAYERS } from './keys.ts';
import type { Architecture, Wanted } from './load.ts';
import type { MambaHparams } from './types.ts';

function hparams(keys: Keys, n_vocab: number): MambaHparams {
  const n_ctx_train = keys.integer('context_length', { min: 1 });
  const n_embd = keys.integer('embedding_length', { min: 1 });
  const n_layer = keys.integer('block_count', { min: 1, max: MAX_LAYERS });
  keys.mustBe('feed_forward_length', 0, 'mamba has no feed-forward net');
  keys.mustBe('attention.head_count', 0, 'mamba has no attention');
  keys.mustBe('attention.head_count_kv', 0, 'mamba has no attention');
  const d_conv = keys.integer('ssm.conv_kernel', { min: 2 });
  const d_inner = keys.integer('ssm.inner_size', { min: 1 });
  if (d_inner !== 2 * n_embd) {
    keys.fail('key mamba.ssm.inner_size', `is ${d_inner}; wanted twice embedding_length, ${2 * n_embd}`, {
      wanted: 2 * n_embd,
      found: d_inner,
    });
  }
  return {
    arch: 'mamba',
    n_vocab,
    n_embd,
    n_layer,
    n_ctx_train,
    norm_rms_eps: keys.float('attention.layer_norm_rms_epsilon', { min: 0, above: true }),
    d_conv,
    d_inner,
    d_state: keys.integer('ssm.state_size', { min: 1 }),
    dt_rank: keys.integer('ssm.time_step_rank', { min: 1 }),
    dt_b_c_rms: keys.bool('ssm.dt_b_c_rms', false),
  };
}

function tensors(h: MambaHparams): Wanted[] {
  const { n_embd: e, d_inner: d, d_state: n, dt_rank: r } = h;
  // Names are complete: ssm_a and ssm_d have no suffix.
  const small = (name: string, ...ne: number[]): Wanted => ({ name, ne, types: ['F32'] });
  const matrix = (name: string, ...ne: number[]): Wanted => ({ name, ne, types: ['F32', 'F16'] });
  const all = [
    matrix('token_embd.weight', e, h.n_vocab),
    small('output_norm.weight', e),
    { ...matrix('output.weight', e, h.n_vocab), optional: true }, // tied to token_embd if absent
  ];
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      small(`${blk}.attn_norm.weight`, e),
      matrix(`${blk}.ssm_in.weight`, e, 2 * d),
      small(`${blk}.ssm_conv1d.weight`, h.d_conv, d),
      small(`${blk}.ssm_conv1d.bias`, d),
      matrix(`${blk}.ssm_x.weight`, d, r + 2 * n),
      matrix(`${blk}.ssm_dt.weight`, r, d),
      small(`${blk}.ssm_dt.bias`, d),
      small(`${blk}.ssm_a`, n, d),
      small(`${blk}.ssm_d`, d),
      matrix(`${blk}.ssm_out.weight`, d, e),
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

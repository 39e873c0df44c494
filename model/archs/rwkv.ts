/**
 * What the files of `rwkv6` and `rwkv7` have in common: heads with a matrix of state each, a time mix and a channel mix
 * that look at the token before, layer norms with biases, and an output of its own.
 *
 * Rule: spec: architectures.md 9 and 10.
 */
import type { Keys } from '../keys.ts';
import { type CommonHparams, commonHparams, matrix, norm, refuseHeads, small, type Wanted } from './parts.ts';

export interface RwkvHparams extends CommonHparams {
  /** What layer norms add to the variance. */
  readonly norm_eps: number;
  /** Channels of a head; n_head * n_embd_head = n_embd. */
  readonly n_embd_head: number;
  readonly n_head: number;
  readonly n_ff: number;
}

/** Keys that both have. Throws `model`. */
export function rwkvHparams(keys: Keys, n_vocab: number): RwkvHparams {
  const common = commonHparams(keys, n_vocab);
  refuseHeads(keys);
  keys.mustBe('token_shift_count', 2, 'one token shift before the time mix and one before the channel mix');
  keys.ignore('attention.layer_norm_rms_epsilon'); // for versions whose norms leave the mean where it is
  const n_embd_head = keys.integer('wkv.head_size', { min: 1 });
  if (common.n_embd % n_embd_head !== 0) {
    keys.fail(
      `key ${keys.arch}.wkv.head_size`,
      `is ${n_embd_head}, which does not divide embedding_length ${common.n_embd}`,
    );
  }
  return {
    ...common,
    norm_eps: keys.float('attention.layer_norm_epsilon', { min: 0, above: true }),
    n_embd_head,
    n_head: common.n_embd / n_embd_head,
    n_ff: keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 }),
  };
}

/** Weight and bias of a layer norm over n channels. */
export function layerNorm(name: string, n: number): Wanted[] {
  return [norm(name, n), small(`${name}.bias`, n)];
}

/** A vector that stands in the file with the suffix of weights; `ne` as there. */
export function vector(name: string, ...ne: number[]): Wanted {
  return small(`${name}.weight`, ...ne);
}

/** Embeddings with a norm of their own, the last norm, and the output, which is never tied. */
export function rwkvEnds({ n_embd, n_vocab }: CommonHparams): Wanted[] {
  return [
    matrix('token_embd', n_embd, n_vocab),
    ...layerNorm('token_embd_norm', n_embd),
    ...layerNorm('output_norm', n_embd),
    matrix('output', n_embd, n_vocab),
  ];
}

/** What both have in each layer. */
export function rwkvLayer(blk: string, { n_embd: e, n_ff: f }: RwkvHparams): Wanted[] {
  return [
    ...layerNorm(`${blk}.attn_norm`, e),
    ...layerNorm(`${blk}.attn_norm_2`, e),
    matrix(`${blk}.time_mix_receptance`, e, e),
    matrix(`${blk}.time_mix_key`, e, e),
    matrix(`${blk}.time_mix_value`, e, e),
    ...layerNorm(`${blk}.time_mix_ln`, e),
    matrix(`${blk}.time_mix_output`, e, e),
    vector(`${blk}.channel_mix_lerp_k`, e),
    matrix(`${blk}.channel_mix_key`, e, f),
    matrix(`${blk}.channel_mix_value`, f, e),
  ];
}

/** Why tensors that other files of RWKV have are not supported. */
export function explainRwkv(tensor: string): string | undefined {
  if (/time_mix_(receptance|key|value)\.bias$/.test(tensor))
    return 'belongs to RWKV on the base of Qwen, which is not supported';
  return undefined;
}

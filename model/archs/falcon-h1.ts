/**
 * Keys and tensors of `falcon-h1`: in every layer attention and a Mamba-2 mixer side by side, then a gated feed-forward
 * net. The mixer has no norm of its own, and the norm before the net has no ".weight" in its name.
 *
 * Rule: llama.cpp's file format; spec: libllama.md 1, architectures.md 2. Refused, because nothing here computes them:
 * biases of matrices, factors of rope frequencies, a norm behind the gate of the mixer.
 */
import type { Keys } from '../keys.ts';
import { explainMixer2, type Mixer2Hparams, mixer2Hparams, mixer2Tensors } from './mamba2.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  ends,
  headCounts,
  headSize,
  matrix,
  norm,
  refuseAttentionVariants,
  rmsEps,
  ropeBase,
  ropeScale,
  rotatedChannels,
  small,
  type Wanted,
} from './parts.ts';

export interface FalconH1Hparams extends CommonHparams, Mixer2Hparams {
  readonly arch: 'falcon-h1';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Rotated channels of a head; equals n_embd_head. */
  readonly n_rot: number;
  readonly rope_freq_base: number;
  /** 1 / factor of linear scaling, 1 if none. */
  readonly rope_freq_scale: number;
}

function hparams(keys: Keys, n_vocab: number): FalconH1Hparams {
  const common = commonHparams(keys, n_vocab);
  const heads = headCounts(keys, common.n_layer);
  const n_embd_head = headSize(keys, common.n_embd, heads.n_head);
  refuseAttentionVariants(keys);
  return {
    arch: 'falcon-h1',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head,
    n_ff: keys.integerPerLayer('feed_forward_length', common.n_layer, { min: 1 }),
    n_rot: rotatedChannels(keys, n_embd_head),
    rope_freq_base: ropeBase(keys),
    rope_freq_scale: ropeScale(keys),
    ...mixer2Hparams(keys),
  };
}

function tensors(h: FalconH1Hparams): Wanted[] {
  const { n_embd: e, n_ff } = h;
  const all = ends(h);
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`, e),
      ...mixer2Tensors(blk, h),
      ...attention(blk, h),
      // This one has no suffix.
      small(`${blk}.ffn_norm`, e),
      matrix(`${blk}.ffn_gate`, e, n_ff),
      matrix(`${blk}.ffn_up`, e, n_ff),
      matrix(`${blk}.ffn_down`, n_ff, e),
    );
  }
  return all;
}

function explain(tensor: string): string | undefined {
  if (/ffn_norm\.weight$/.test(tensor)) return 'is misnamed: ffn_norm of falcon-h1 has no ".weight"';
  if (/ssm_norm\.weight$/.test(tensor))
    return 'is a norm behind the gate, which is not supported in falcon-h1';
  if (/(attn_\w+|ffn_\w+)\.bias$/.test(tensor)) return 'is a bias; models with biases are not supported';
  return explainMixer2(tensor);
}

export const falconH1: Architecture<FalconH1Hparams> = { name: 'falcon-h1', hparams, tensors, explain };

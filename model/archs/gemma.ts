/**
 * What the keys and tensors of `gemma2` and `gemma3` have in common: layers with a window among full ones, norms on both
 * sides of each part, a gate of GELU (spec: architectures.md 4 and 5).
 */
import type { Keys } from '../keys.ts';
import {
  type CommonHparams,
  commonHparams,
  ends,
  gatedFeedForward,
  headCounts,
  headSize,
  matrix,
  norm,
  refuseAttentionVariants,
  rmsEps,
  ropeBase,
  ropeScale,
  rotatedChannels,
  type Wanted,
} from './parts.ts';

export interface GemmaHparams extends CommonHparams {
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Rotated channels of a head; equals n_embd_head. */
  readonly n_rot: number;
  /** Of layers that see everything. */
  readonly rope_freq_base: number;
  readonly rope_freq_scale: number;
  /** Of layers with a window. */
  readonly rope_freq_base_swa: number;
  readonly rope_freq_scale_swa: number;
  /** Keys that a query sees in a layer with a window, its own among them; 0 if no layer has one. */
  readonly n_swa: number;
  /** By layer: it sees only a window. */
  readonly windowed: readonly boolean[];
  /** Scores are q k divided by the root of this: of the head size, or in the largest models of n_embd / n_head. */
  readonly score_divisor: number;
  /** Softcap of the scores, 0 for none. */
  readonly attn_softcap: number;
  /** Softcap of the logits, 0 for none. */
  readonly final_softcap: number;
}

/** What tells the two apart. */
export interface GemmaKind {
  /** Of so many layers the last has no window. */
  readonly swa_period: number;
  /** If there is no window: the default, undefined for a model that has none then. */
  readonly n_swa?: number;
  /** Layers of the models whose scores are divided otherwise. */
  readonly largest: number;
}

type Shared = Omit<GemmaHparams, 'attn_softcap' | 'final_softcap' | `rope_freq_${string}_swa`>;

/** Throws `model`. */
export function gemmaHparams(keys: Keys, n_vocab: number, kind: GemmaKind): Shared {
  const common = commonHparams(keys, n_vocab);
  const { n_embd, n_layer } = common;
  const n_ff = keys.integerPerLayer('feed_forward_length', n_layer, { min: 1 });
  const heads = headCounts(keys, n_layer);
  const n_embd_head = headSize(keys, n_embd, heads.n_head);
  refuseAttentionVariants(keys);
  const { n_swa: usual = 0 } = kind;
  const n_swa = keys.integer('attention.sliding_window', { min: Math.min(usual, 1), default: usual });
  const period = keys.integer('attention.sliding_window_pattern', { min: 1, default: kind.swa_period });
  return {
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head,
    n_ff,
    n_rot: rotatedChannels(keys, n_embd_head),
    rope_freq_base: ropeBase(keys),
    rope_freq_scale: ropeScale(keys),
    n_swa,
    windowed: Array.from({ length: n_layer }, (_, il) => n_swa > 0 && il % period < period - 1),
    score_divisor: n_layer === kind.largest ? n_embd / heads.n_head : n_embd_head,
  };
}

/** Base of the rope frequencies of layers with a window. Throws `model`. */
export function ropeBaseSwa(keys: Keys, fallback: number): number {
  return keys.float('rope.freq_base_swa', { min: 0, above: true, default: fallback });
}

/** `normedHeads`: q and k have norms of their own. */
export function gemmaTensors(h: GemmaHparams, normedHeads: boolean): Wanted[] {
  const { n_embd: e, n_embd_head: d } = h;
  const [n_q, n_kv] = [h.n_head * d, h.n_head_kv * d];
  const all = ends(h);
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`, e),
      matrix(`${blk}.attn_q`, e, n_q),
      matrix(`${blk}.attn_k`, e, n_kv),
      matrix(`${blk}.attn_v`, e, n_kv),
      ...(normedHeads ? [norm(`${blk}.attn_q_norm`, d), norm(`${blk}.attn_k_norm`, d)] : []),
      matrix(`${blk}.attn_output`, n_q, e),
      norm(`${blk}.post_attention_norm`, e),
      ...gatedFeedForward(blk, e, h.n_ff),
      norm(`${blk}.post_ffw_norm`, e),
    );
  }
  return all;
}

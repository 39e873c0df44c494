/**
 * Keys and tensors of `llama4`: layers that turn q and k and see only a chunk of positions, every fourth that turns
 * nothing and sees everything, and experts in every `interleave_moe_layer_step`-th layer beside one for all tokens.
 *
 * Rule: the public model definition and llama.cpp's (batching.md 6.2 for chunks). llama.cpp reads no chunk length but 0
 * (no chunks, then only the last layer turns nothing) and takes 8192; here it is settable, as are length and scale of
 * the temperature, by the keys that other models have for them.
 */
import type { Keys } from '../keys.ts';
import {
  type Architecture,
  attention,
  type CommonHparams,
  commonHparams,
  ends,
  expertCounts,
  expertFeedForward,
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

export interface Llama4Hparams extends CommonHparams {
  readonly arch: 'llama4';
  /** See `rmsEps`. */
  readonly norm_rms_eps: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  /** Width of the net of a layer without experts. */
  readonly n_ff: number;
  /** Experts of a layer that has some; 0 if none has. */
  readonly n_expert: number;
  /** Experts that a token goes to. */
  readonly n_expert_used: number;
  /** Width of each expert, and of the one for all tokens. */
  readonly n_ff_exp: number;
  /** By layer: it has experts. */
  readonly routed: readonly boolean[];
  /** Rotated channels of a head; equals n_embd_head. */
  readonly n_rot: number;
  readonly rope_freq_base: number;
  readonly rope_freq_scale: number;
  /** Of layers with chunks. */
  readonly rope_freq_base_swa: number;
  /** Positions of a chunk; 0 if no layer has one. */
  readonly n_chunk: number;
  /** By layer: a query sees only its chunk. */
  readonly chunked: readonly boolean[];
  /** By layer: q and k are turned. */
  readonly turned: readonly boolean[];
  /** Heads of q and k that were turned are normed, without weights. */
  readonly norm_heads: boolean;
  /**
   * In layers that turn nothing q is multiplied by 1 + scale ln(floor((pos + 1) / length) + 1); null if there are no
   * chunks.
   */
  readonly temperature: { readonly length: number; readonly scale: number } | null;
}

const NO_ROPE_STEP = 4;
/** The model with so many experts has no norms of heads. */
const UNNORMED_EXPERTS = 128;

function hparams(keys: Keys, n_vocab: number): Llama4Hparams {
  const common = commonHparams(keys, n_vocab);
  const { n_embd, n_layer } = common;
  const n_ff = keys.integerPerLayer('feed_forward_length', n_layer, { min: 1 });
  const heads = headCounts(keys, n_layer);
  const n_embd_head = headSize(keys, n_embd, heads.n_head);
  const experts = expertCounts(keys);
  const some = experts.n_expert > 0;
  const n_ff_exp = keys.integer('expert_feed_forward_length', {
    min: some ? 1 : 0,
    ...(some ? {} : { default: 0 }),
  });
  const step = keys.integer('interleave_moe_layer_step', some ? { min: 0 } : { min: 0, default: 0 });
  keys.mustBe('expert_weights_scale', 1, 'scaled experts are not supported');
  refuseAttentionVariants(keys);
  keys.ignore('tensor_data_layout'); // as in llama
  keys.ignore('expert_gating_func'); // llama4 has one, whatever its files say
  const n_chunk = keys.integer('attention.sliding_window', { default: 8192 });
  const period = keys.integer('attention.sliding_window_pattern', { min: 1, default: NO_ROPE_STEP });
  const length = keys.integer('attention.temperature_length', { min: 1, default: 8192 });
  const scale = keys.float('attention.temperature_scale', { min: 0, default: Math.fround(0.1) });
  const rope_freq_base = ropeBase(keys);
  const layers = Array.from({ length: n_layer }, (_, il) => il);
  const unturned = n_chunk > 0 ? NO_ROPE_STEP : n_layer;
  return {
    arch: 'llama4',
    ...common,
    norm_rms_eps: rmsEps(keys),
    ...heads,
    n_embd_head,
    n_ff,
    ...experts,
    n_ff_exp,
    routed: layers.map((il) => some && step > 0 && (il + 1) % step === 0),
    n_rot: rotatedChannels(keys, n_embd_head),
    rope_freq_base,
    rope_freq_scale: ropeScale(keys),
    rope_freq_base_swa: keys.float('rope.freq_base_swa', { min: 0, above: true, default: rope_freq_base }),
    n_chunk,
    chunked: layers.map((il) => n_chunk > 0 && il % period < period - 1),
    turned: layers.map((il) => (il + 1) % unturned !== 0),
    norm_heads: experts.n_expert !== UNNORMED_EXPERTS,
    temperature: n_chunk > 0 ? { length, scale } : null,
  };
}

function tensors(h: Llama4Hparams): Wanted[] {
  const { n_embd: e, n_ff_exp } = h;
  const all = ends(h);
  h.routed.forEach((routed, i) => {
    const blk = `blk.${i}`;
    all.push(norm(`${blk}.attn_norm`, e), ...attention(blk, h));
    if (!routed) all.push(...gatedFeedForward(blk, e, h.n_ff));
    else
      all.push(
        ...expertFeedForward(blk, e, n_ff_exp, h.n_expert),
        matrix(`${blk}.ffn_gate_shexp`, e, n_ff_exp),
        matrix(`${blk}.ffn_up_shexp`, e, n_ff_exp),
        matrix(`${blk}.ffn_down_shexp`, n_ff_exp, e),
      );
  });
  return all;
}

function explain(tensor: string): string | undefined {
  if (tensor.endsWith('.bias')) return 'is a bias; models with biases are not supported';
  if (tensor.endsWith('rope_freqs.weight')) return 'changes the rope frequencies, which is not supported';
  if (/ffn_(gate_inp|(gate|up|down)_(ex|shex)ps?)\.weight$/.test(tensor))
    return 'belongs to experts, which this layer has not';
  return undefined;
}

export const llama4: Architecture<Llama4Hparams> = { name: 'llama4', hparams, tensors, explain };

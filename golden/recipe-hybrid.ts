/**
 * Recipes of random models that have both keys and values and a recurrent state: `jamba` (mamba layers around an
 * attention layer without rotation), `falcon-h1` (both in every layer) and `lfm2` (short convolutions around an
 * attention layer). Shapes: spec: libllama.md 1, architectures.md 8.
 */
import type { TensorType } from '../model/types.ts';
import {
  attention,
  expertKeys,
  gatedFfn,
  headNorms,
  keysOf,
  normedExperts,
  normedFfn,
  RMS_KEY,
  SIZE,
  untied,
} from './recipe-blocks.ts';
import { type MixerShape, mambaMixer } from './recipe-mamba.ts';
import { MAMBA2_LOADABLE, type Mamba2Shape, mamba2Keys, mamba2Mixer } from './recipe-mamba2.ts';
import {
  BYTE_VOCAB,
  byteVocabulary,
  f32,
  fileOf,
  i32s,
  type Metadata,
  noVocabulary,
  text,
  u32,
  Weights,
} from './recipe-parts.ts';

/** Key and value heads of the layers: the first and the last are recurrent. */
const HEADS_KV = [0, SIZE.n_head_kv, 0];

export interface JambaShape extends MixerShape {
  readonly n_vocab: number;
  /** Of the embeddings: small, so that a few narrow layers weigh against them. */
  readonly gain: number;
  readonly n_head: number;
  /** Heads of keys and values of each layer; 0 is a layer with a recurrent state. */
  readonly n_head_kv: readonly number[];
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** A byte vocabulary as llama.cpp wants it; else tokens are only numbers. */
  readonly loadable: boolean;
  /** Experts of width n_ff behind every second layer, and how many of them a token goes to. */
  readonly experts?: { readonly n_expert: number; readonly n_expert_used: number };
}

export const JAMBA_LOADABLE: JambaShape = {
  ...SIZE,
  n_vocab: BYTE_VOCAB,
  gain: 1,
  n_head_kv: HEADS_KV,
  d_conv: 4,
  d_state: 16,
  dt_rank: 4,
  loadable: true,
};

/** The bytes of a model file; the seed names the weights. */
export function buildJamba(seed: string, shape: JambaShape, type: TensorType): Uint8Array {
  const { n_embd, n_vocab, n_ff, dt_rank, d_state, experts } = shape;
  const w = new Weights(seed, type);
  untied(w, n_embd, n_vocab, shape.gain);
  shape.n_head_kv.forEach((n_head_kv, i) => {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    if (n_head_kv > 0) attention(w, blk, { ...shape, n_head_kv });
    else {
      mambaMixer(w, blk, shape);
      w.norm(`${blk}.ssm_dt_norm.weight`, dt_rank);
      // B and C large against the small steps, as in mamba.
      w.norm(`${blk}.ssm_b_norm.weight`, d_state, 3);
      w.norm(`${blk}.ssm_c_norm.weight`, d_state, 3);
    }
    if (experts && i % 2 === 1) normedExperts(w, blk, n_embd, n_ff, experts.n_expert);
    else normedFfn(w, blk, n_embd, n_ff);
  });
  const keys: Metadata = [
    ['context_length', u32(SIZE.n_ctx_train)],
    ['embedding_length', u32(n_embd)],
    ['block_count', u32(shape.n_head_kv.length)],
    ['feed_forward_length', u32(n_ff)],
    ...(experts ? expertKeys(experts) : []),
    ['attention.head_count', u32(shape.n_head)],
    ['attention.head_count_kv', i32s(shape.n_head_kv)],
    ...RMS_KEY,
    ['ssm.conv_kernel', u32(shape.d_conv)],
    ['ssm.inner_size', u32(2 * n_embd)],
    ['ssm.state_size', u32(d_state)],
    ['ssm.time_step_rank', u32(dt_rank)],
  ];
  return fileOf(
    [
      ['general.architecture', text('jamba')],
      ['general.name', text(seed)],
      ...keysOf('jamba', keys),
      ...(shape.loadable ? byteVocabulary() : noVocabulary('jamba', n_vocab)),
    ],
    w,
  );
}

/** A mixer and attention in every layer. */
export interface FalconShape extends Mamba2Shape {
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  readonly n_ff: number;
}

export const FALCON_LOADABLE: FalconShape = { ...SIZE, ...MAMBA2_LOADABLE, n_group: 1 };

/** The bytes of a model file; the seed names the weights. */
export function buildFalconH1(seed: string, shape: FalconShape, type: TensorType): Uint8Array {
  const { n_embd, n_layer, n_vocab, n_embd_head } = shape;
  const w = new Weights(seed, type);
  untied(w, n_embd, n_vocab);
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    mamba2Mixer(w, blk, shape);
    attention(w, blk, shape);
    // llama.cpp asks for this one without ".weight".
    w.norm(`${blk}.ffn_norm`, n_embd);
    gatedFfn(w, blk, n_embd, shape.n_ff);
  }
  const keys: Metadata = [
    ['context_length', u32(SIZE.n_ctx_train)],
    ['embedding_length', u32(n_embd)],
    ['block_count', u32(n_layer)],
    ['feed_forward_length', u32(shape.n_ff)],
    ['attention.head_count', u32(shape.n_head)],
    ['attention.head_count_kv', u32(shape.n_head_kv)],
    ['attention.key_length', u32(n_embd_head)],
    ['attention.value_length', u32(n_embd_head)],
    ...RMS_KEY,
    ['rope.dimension_count', u32(n_embd_head)],
    ...mamba2Keys(shape),
  ];
  return fileOf(
    [
      ['general.architecture', text('falcon-h1')],
      ['general.name', text(seed)],
      ...keysOf('falcon-h1', keys),
      ...(shape.loadable ? byteVocabulary() : noVocabulary('falcon-h1', n_vocab)),
    ],
    w,
  );
}

export interface Lfm2Shape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_head: number;
  /** Heads of keys and values of each layer; 0 is a layer with a convolution. */
  readonly n_head_kv: readonly number[];
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Taps of the convolution. */
  readonly d_conv: number;
  /** A byte vocabulary as llama.cpp wants it; else tokens are only numbers. */
  readonly loadable: boolean;
}

export const LFM2_LOADABLE: Lfm2Shape = {
  ...SIZE,
  n_vocab: BYTE_VOCAB,
  n_head_kv: HEADS_KV,
  d_conv: 3,
  loadable: true,
};

/** The bytes of a model file; the seed names the weights. */
export function buildLfm2(seed: string, shape: Lfm2Shape, type: TensorType): Uint8Array {
  const { n_embd, n_vocab, n_ff, n_embd_head } = shape;
  const w = new Weights(seed, type);
  // Small, since the output is tied: else the model would say little more than its last token.
  w.embeddings(n_embd, n_vocab, 0.3);
  // The norm before the output, by the name that llama.cpp gives it.
  w.norm('token_embd_norm.weight', n_embd);
  shape.n_head_kv.forEach((n_head_kv, i) => {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    if (n_head_kv > 0) {
      attention(w, blk, { ...shape, n_head_kv });
      headNorms(w, blk, n_embd_head);
    } else shortConvolution(w, blk, shape);
    normedFfn(w, blk, n_embd, n_ff);
  });
  const keys: Metadata = [
    ['context_length', u32(SIZE.n_ctx_train)],
    ['embedding_length', u32(n_embd)],
    ['block_count', u32(shape.n_head_kv.length)],
    ['feed_forward_length', u32(n_ff)],
    ['attention.head_count', u32(shape.n_head)],
    ['attention.head_count_kv', i32s(shape.n_head_kv)],
    ...RMS_KEY,
    ['rope.dimension_count', u32(n_embd_head)],
    ['rope.freq_base', f32(10000)],
    ['shortconv.l_cache', u32(shape.d_conv)],
  ];
  const vocabulary = shape.loadable
    ? [...keysOf('lfm2', [['vocab_size', u32(n_vocab)]]), ...byteVocabulary()]
    : noVocabulary('lfm2', n_vocab);
  return fileOf(
    [
      ['general.architecture', text('lfm2')],
      ['general.name', text(seed)],
      ...keysOf('lfm2', keys),
      ...vocabulary,
    ],
    w,
  );
}

function shortConvolution(w: Weights, blk: string, { n_embd, d_conv }: Lfm2Shape): void {
  const scale = 1 / Math.sqrt(d_conv);
  w.matrix(`${blk}.shortconv.in_proj.weight`, n_embd, 3 * n_embd);
  w.add(`${blk}.shortconv.conv.weight`, [d_conv, n_embd], 'F32', (random) => random.normal() * scale);
  w.matrix(`${blk}.shortconv.out_proj.weight`, n_embd, n_embd);
}

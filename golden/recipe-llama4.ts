/**
 * Recipes of random `llama4` models. The one that llama.cpp loads has four layers, of which the last one turns nothing and
 * sees all keys, the others chunks of 8192; every second layer has 16 experts, one used, and one for all tokens (spec:
 * libllama.md 1). The others have chunks and temperatures that short sequences reach, which llama.cpp does not read.
 */
import type { TensorType } from '../model/types.ts';
import {
  attention,
  expertKeys,
  FFN_KEY,
  firstKeys,
  gatedFfn,
  HEAD_KEYS,
  keysOf,
  loadableKeys,
  RMS_KEY,
  ROPE_KEYS,
  SIZE,
  untied,
} from './recipe-blocks.ts';
import { BYTE_VOCAB, f32, fileOf, type Metadata, noVocabulary, u32, Weights } from './recipe-parts.ts';

export interface Llama4Shape {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Experts of each layer whose number, from 1, is a multiple of `step`; none in any layer if this is not there. */
  readonly experts?: {
    readonly n_expert: number;
    readonly n_expert_used: number;
    readonly n_ff_exp: number;
    readonly step: number;
  };
  /** Positions of a chunk and of a step of the temperature; absent where llama.cpp's own are meant. */
  readonly short?: { readonly chunk: number; readonly temperature: number };
}

export const LLAMA4_LOADABLE: Llama4Shape = {
  ...SIZE,
  n_vocab: BYTE_VOCAB,
  n_layer: 4,
  experts: { n_expert: 16, n_expert_used: 1, n_ff_exp: 32, step: 2 },
};

export function buildLlama4(name: string, shape: Llama4Shape, type: TensorType): Uint8Array {
  const { n_vocab, n_embd, n_layer, n_ff, experts, short } = shape;
  const w = new Weights(name, type);
  untied(w, n_embd, n_vocab);
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    attention(w, blk, shape);
    w.norm(`${blk}.ffn_norm.weight`, n_embd);
    if (experts && (i + 1) % experts.step === 0) routed(w, blk, n_embd, experts);
    else gatedFfn(w, blk, n_embd, n_ff);
  }
  if (short === undefined)
    return fileOf(
      loadableKeys('llama4', name, n_layer, [
        ...FFN_KEY,
        ...HEAD_KEYS,
        ...RMS_KEY,
        ...ROPE_KEYS,
        ...keysOfExperts(experts!),
      ]),
      w,
    );
  return fileOf(
    [
      ...firstKeys('llama4', name, n_layer, n_embd),
      ...keysOf('llama4', [
        ['feed_forward_length', u32(n_ff)],
        ['attention.head_count', u32(shape.n_head)],
        ['attention.head_count_kv', u32(shape.n_head_kv)],
        ...RMS_KEY,
        ['rope.dimension_count', u32(shape.n_embd_head)],
        ['attention.sliding_window', u32(short.chunk)],
        ['attention.temperature_length', u32(short.temperature)],
        ['attention.temperature_scale', f32(0.5)],
        ...(experts ? keysOfExperts(experts) : []),
      ]),
      ...noVocabulary('llama4', n_vocab),
    ],
    w,
  );
}

function keysOfExperts(experts: NonNullable<Llama4Shape['experts']>): Metadata {
  return [
    ...expertKeys(experts),
    ['expert_feed_forward_length', u32(experts.n_ff_exp)],
    ['interleave_moe_layer_step', u32(experts.step)],
  ];
}

function routed(
  w: Weights,
  blk: string,
  n_embd: number,
  { n_expert, n_ff_exp: n_ff }: NonNullable<Llama4Shape['experts']>,
): void {
  w.matrix(`${blk}.ffn_gate_inp.weight`, n_embd, n_expert, 2);
  w.matrices(`${blk}.ffn_gate_exps.weight`, n_embd, n_ff, n_expert);
  w.matrices(`${blk}.ffn_up_exps.weight`, n_embd, n_ff, n_expert);
  w.matrices(`${blk}.ffn_down_exps.weight`, n_ff, n_embd, n_expert);
  w.matrix(`${blk}.ffn_gate_shexp.weight`, n_embd, n_ff);
  w.matrix(`${blk}.ffn_up_shexp.weight`, n_embd, n_ff);
  w.matrix(`${blk}.ffn_down_shexp.weight`, n_ff, n_embd);
}

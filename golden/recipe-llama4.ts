/**
 * Recipe of a random `llama4` model: four layers, of which llama.cpp gives the last one no rotation and all keys, the
 * others chunks of 8192; every second layer has 16 experts, one used, and a shared one (spec: libllama.md 1).
 */
import type { TensorType } from '../model/types.ts';
import {
  attention,
  FFN_KEY,
  gatedFfn,
  HEAD_KEYS,
  loadableKeys,
  RMS_KEY,
  ROPE_KEYS,
  SIZE,
  untied,
} from './recipe-blocks.ts';
import { fileOf, type Metadata, u32, Weights } from './recipe-parts.ts';

const N_LAYER = 4;
const N_EXPERT = 16;
const N_FF_EXPERT = 32;
/** Experts stand in each layer whose number, from 1, is a multiple of this. */
const MOE_STEP = 2;

export function buildLlama4(name: string, type: TensorType): Uint8Array {
  const { n_embd, n_ff } = SIZE;
  const w = new Weights(name, type);
  untied(w, n_embd);
  for (let i = 0; i < N_LAYER; i++) {
    const blk = `blk.${i}`;
    w.norm(`${blk}.attn_norm.weight`, n_embd);
    attention(w, blk, SIZE);
    w.norm(`${blk}.ffn_norm.weight`, n_embd);
    if ((i + 1) % MOE_STEP === 0) experts(w, blk);
    else gatedFfn(w, blk, n_embd, n_ff);
  }
  const keys: Metadata = [
    ...FFN_KEY,
    ...HEAD_KEYS,
    ...RMS_KEY,
    ...ROPE_KEYS,
    ['expert_count', u32(N_EXPERT)],
    ['expert_used_count', u32(1)],
    ['expert_feed_forward_length', u32(N_FF_EXPERT)],
    ['interleave_moe_layer_step', u32(MOE_STEP)],
  ];
  return fileOf(loadableKeys('llama4', name, N_LAYER, keys), w);
}

function experts(w: Weights, blk: string): void {
  const { n_embd } = SIZE;
  w.matrix(`${blk}.ffn_gate_inp.weight`, n_embd, N_EXPERT, 2);
  w.matrices(`${blk}.ffn_gate_exps.weight`, n_embd, N_FF_EXPERT, N_EXPERT);
  w.matrices(`${blk}.ffn_up_exps.weight`, n_embd, N_FF_EXPERT, N_EXPERT);
  w.matrices(`${blk}.ffn_down_exps.weight`, N_FF_EXPERT, n_embd, N_EXPERT);
  w.matrix(`${blk}.ffn_gate_shexp.weight`, n_embd, N_FF_EXPERT);
  w.matrix(`${blk}.ffn_up_shexp.weight`, n_embd, N_FF_EXPERT);
  w.matrix(`${blk}.ffn_down_shexp.weight`, N_FF_EXPERT, n_embd);
}

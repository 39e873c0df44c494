/**
 * Keys and tensors of `rwkv7`: the state of a head decays channel by channel and is corrected where a key comes again;
 * decays, learning rates, gates and the mixing of values come from products of low rank.
 *
 * Rule: spec: architectures.md 0.1 and 10.
 */
import type { Keys } from '../keys.ts';
import { type Architecture, matrix, type Wanted } from './parts.ts';
import { explainRwkv, type RwkvHparams, rwkvEnds, rwkvHparams, rwkvLayer, vector } from './rwkv.ts';

export interface Rwkv7Hparams extends RwkvHparams {
  readonly arch: 'rwkv7';
  /** Inner widths of the products of low rank, by what they make. */
  readonly rank_decay: number;
  readonly rank_iclr: number;
  readonly rank_value: number;
  readonly rank_gate: number;
}

function hparams(keys: Keys, n_vocab: number): Rwkv7Hparams {
  const rank = (of: string) => keys.integer(`attention.${of}_lora_rank`, { min: 1 });
  return {
    arch: 'rwkv7',
    ...rwkvHparams(keys, n_vocab),
    rank_decay: rank('decay'),
    rank_iclr: rank('iclr'),
    rank_value: rank('value_residual_mix'),
    rank_gate: rank('gate'),
  };
}

function tensors(h: Rwkv7Hparams): Wanted[] {
  const e = h.n_embd;
  const all = rwkvEnds(h);
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    const mix = `${blk}.time_mix`;
    /** NAME0 + NAME2 (NAME1 x); the gate has no NAME0. */
    const lowRank = (name: string, rank: number): Wanted[] => [
      ...(name === 'g' ? [] : [vector(`${mix}_${name}0`, e)]),
      matrix(`${mix}_${name}1`, e, rank),
      matrix(`${mix}_${name}2`, rank, e),
    ];
    all.push(
      ...rwkvLayer(blk, h),
      ...lowRank('w', h.rank_decay),
      ...lowRank('a', h.rank_iclr),
      // Those of the first layer are used by nobody; files give them the rank of the learning rates.
      ...lowRank('v', i === 0 ? h.rank_iclr : h.rank_value),
      ...lowRank('g', h.rank_gate),
      vector(`${mix}_lerp_fused`, e, 1, 1, 6),
      vector(`${mix}_k_k`, e),
      vector(`${mix}_k_a`, e),
      vector(`${mix}_r_k`, e),
    );
  }
  return all;
}

export const rwkv7: Architecture<Rwkv7Hparams> = { name: 'rwkv7', hparams, tensors, explain: explainRwkv };

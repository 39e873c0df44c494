/**
 * Keys and tensors of `rwkv6`: inputs of the time mix are mixed with those of the token before by weights that depend on
 * the input; the state of a head decays channel by channel.
 *
 * Rule: spec: architectures.md 0.1 and 9.
 */
import type { Keys } from '../keys.ts';
import { type Architecture, matrix, small, type Wanted } from './parts.ts';
import { explainRwkv, type RwkvHparams, rwkvEnds, rwkvHparams, rwkvLayer, vector } from './rwkv.ts';

export interface Rwkv6Hparams extends RwkvHparams {
  readonly arch: 'rwkv6';
  /** Inner widths of the products of low rank: of each of the five mixes, and of the decay. */
  readonly rank_mix: number;
  readonly rank_decay: number;
  /** The residual stream is halved after every so many layers; 0 never. */
  readonly rescale_every: number;
}

/** What the time mix mixes, in the order of the fused tensors. */
const PARTS = ['w', 'k', 'v', 'r', 'g'] as const;

function hparams(keys: Keys, n_vocab: number): Rwkv6Hparams {
  return {
    arch: 'rwkv6',
    ...rwkvHparams(keys, n_vocab),
    rank_mix: keys.integer('time_mix_extra_dim', { min: 1 }),
    rank_decay: keys.integer('time_decay_extra_dim', { min: 1 }),
    rescale_every: keys.integer('rescale_every_n_layers', { default: 0 }),
  };
}

function tensors(h: Rwkv6Hparams): Wanted[] {
  const e = h.n_embd;
  const all = rwkvEnds(h);
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    const mix = `${blk}.time_mix`;
    const fused = `${mix}_lerp_fused.weight`;
    all.push(
      ...rwkvLayer(blk, h),
      matrix(`${mix}_w1`, e, PARTS.length * h.rank_mix),
      { ...matrix(`${mix}_w2`, h.rank_mix, e), ne: [h.rank_mix, e, PARTS.length] },
      vector(`${mix}_lerp_x`, e),
      { ...small(fused, e, 1, 1, PARTS.length), optional: true },
      ...PARTS.map((part) => ({ ...vector(`${mix}_lerp_${part}`, e), unless: fused })),
      vector(`${mix}_first`, h.n_embd_head, h.n_head),
      vector(`${mix}_decay`, e),
      matrix(`${mix}_decay_w1`, e, h.rank_decay),
      matrix(`${mix}_decay_w2`, h.rank_decay, e),
      matrix(`${mix}_gate`, e, e),
      vector(`${blk}.channel_mix_lerp_r`, e),
      matrix(`${blk}.channel_mix_receptance`, e, e),
    );
  }
  return all;
}

function explain(tensor: string): string | undefined {
  if (/time_mix_lerp_[wkvrg]\.weight$/.test(tensor))
    return 'stands beside time_mix_lerp_fused, which holds it too';
  return explainRwkv(tensor);
}

export const rwkv6: Architecture<Rwkv6Hparams> = { name: 'rwkv6', hparams, tensors, explain };

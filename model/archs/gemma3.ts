/**
 * Keys and tensors of `gemma3`. Rule: spec: architectures.md 0.1 and 5. Layers with a window rotate by another base, and
 * never by a scale.
 */
import type { Keys } from '../keys.ts';
import { type GemmaHparams, gemmaHparams, gemmaTensors, ropeBaseSwa } from './gemma.ts';
import type { Architecture } from './parts.ts';

export interface Gemma3Hparams extends GemmaHparams {
  readonly arch: 'gemma3';
}

function hparams(keys: Keys, n_vocab: number): Gemma3Hparams {
  return {
    arch: 'gemma3',
    ...gemmaHparams(keys, n_vocab, { swa_period: 6, largest: 62 }),
    rope_freq_base_swa: ropeBaseSwa(keys, 10_000),
    rope_freq_scale_swa: 1,
    attn_softcap: 0,
    final_softcap: keys.float('final_logit_softcapping', { min: 0, default: 0 }),
  };
}

export const gemma3: Architecture<Gemma3Hparams> = {
  name: 'gemma3',
  hparams,
  tensors: (h) => gemmaTensors(h, true),
  explain: () => undefined,
};

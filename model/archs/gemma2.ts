/** Keys and tensors of `gemma2`. Rule: spec: architectures.md 0.1 and 4. */
import type { Keys } from '../keys.ts';
import { type GemmaHparams, gemmaHparams, gemmaTensors, ropeBaseSwa } from './gemma.ts';
import type { Architecture } from './parts.ts';

export interface Gemma2Hparams extends GemmaHparams {
  readonly arch: 'gemma2';
}

function hparams(keys: Keys, n_vocab: number): Gemma2Hparams {
  const shared = gemmaHparams(keys, n_vocab, { swa_period: 2, n_swa: 4096, largest: 46 });
  return {
    arch: 'gemma2',
    ...shared,
    rope_freq_base_swa: ropeBaseSwa(keys, shared.rope_freq_base),
    rope_freq_scale_swa: shared.rope_freq_scale,
    attn_softcap: keys.float('attn_logit_softcapping', { min: 0, above: true, default: 50 }),
    final_softcap: keys.float('final_logit_softcapping', { min: 0, above: true, default: 30 }),
  };
}

function explain(tensor: string): string | undefined {
  if (tensor === 'output.weight') return 'is not read: the output of gemma2 is token_embd.weight';
  if (/attn_[qk]_norm/.test(tensor)) return 'belongs to gemma3; gemma2 has no norms of heads';
  return undefined;
}

export const gemma2: Architecture<Gemma2Hparams> = {
  name: 'gemma2',
  hparams,
  tensors: (h) => gemmaTensors(h, false).filter(({ name }) => name !== 'output.weight'),
  explain,
};

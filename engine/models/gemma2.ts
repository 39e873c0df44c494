/** gemma2 (spec: architectures.md 4): see `gemma.ts`. */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { Network } from '../layout.ts';
import { gemma } from './gemma.ts';

export function gemma2(model: Model, hparams: HparamsOf<'gemma2'>): Network {
  return gemma(model, hparams, false);
}

/** gemma3 (spec: architectures.md 5): see `gemma.ts`. */
import type { HparamsOf, Model } from '../../model/types.ts';
import type { Network } from '../layout.ts';
import { gemma } from './gemma.ts';

export function gemma3(model: Model, hparams: HparamsOf<'gemma3'>): Network {
  return gemma(model, hparams, true);
}

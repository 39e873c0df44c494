/** gemma2 over lists of entries (spec: architectures.md 4): see `gemma.ts`. q and k turn as they are. */
import type { HparamsOf } from '../../model/types.ts';
import { gemmaRows } from './gemma.ts';
import { linear, type Pass } from './parts.ts';

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: HparamsOf<'gemma2'>): R[] {
  return gemmaRows(pass, hparams, linear);
}

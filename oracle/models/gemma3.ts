/** gemma3 over lists of entries (spec: architectures.md 5): see `gemma.ts`. Each head of q and k is normed before it turns. */
import type { HparamsOf } from '../../model/types.ts';
import { gemmaRows } from './gemma.ts';
import { headNorm, linear, type Pass } from './parts.ts';

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: HparamsOf<'gemma3'>): R[] {
  const { n_embd_head, norm_rms_eps } = hparams;
  return gemmaRows(pass, hparams, (of, name, n_head) => {
    const w = linear(of, name);
    const normed = headNorm(of, `${name}_norm`, { n_head, n_embd_head }, norm_rms_eps);
    return (x) => normed(w(x));
  });
}

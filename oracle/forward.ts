/** The answer of a model for entries of lists: picks the architecture. */
import type { Model } from '../model/types.ts';
import type { Entry } from './entries.ts';
import * as llama from './llama.ts';
import * as mamba from './mamba.ts';

export interface ForwardOptions {
  /** F16: K and V are rounded once, when they are stored. Recurrent states are never rounded. */
  readonly type_kv?: 'F32' | 'F16';
}

/**
 * Logits (Float64Array of n_vocab) of each entry, from nothing but the entries that it saw.
 *
 * Throws `model` (a missing or unknown tensor), `batch.token`, `memory.overflow` (F16), `internal` (see the
 * architectures).
 */
export function logits(
  model: Model,
  entries: readonly Entry[],
  options: ForwardOptions = {},
): Float64Array[] {
  switch (model.hparams.arch) {
    case 'llama':
      return llama.logits(model, entries, options);
    case 'mamba':
      return mamba.logits(model, entries);
  }
}

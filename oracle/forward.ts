/** The answer of a model for entries of lists: picks the architecture, and the numbers that it is computed with. */
import type { RoundingProfile } from '../contract/subject.ts';
import type { Model } from '../model/types.ts';
import type { Entry } from './entries.ts';
import { passOf } from './models/parts.ts';
import { rows } from './models/registry.ts';
import { type Operators, plain } from './operators.ts';
import type { Rounding } from './rounding.ts';
import type { Routes } from './routes.ts';
import { type Carried, carried } from './variance.ts';

export { architectures } from './models/registry.ts';

export interface ForwardOptions {
  /** F16: K and V are rounded once, when they are stored. Recurrent states are never rounded. */
  readonly type_kv?: 'F32' | 'F16';
  /** The row after the last norm (n_embd) instead of logits. */
  readonly embeddings?: boolean;
  /** Experts that tokens go to, whatever the numbers say; where none are given, the router chooses. */
  readonly routes?: Routes;
  /** Gets the experts of every place that is evaluated. */
  readonly noted?: Routes;
  /** Router logits that are less than so many standard deviations apart may be exchanged by rounding. */
  readonly reach?: number;
}

/**
 * Logits (Float64Array of n_vocab, or the embedding of n_embd) of each entry, from nothing but the entries that it saw.
 *
 * Throws `model` (a missing or unknown tensor), `batch.token`, `memory.overflow` (F16), `internal` (see the
 * architectures).
 */
export function logits(
  model: Model,
  entries: readonly Entry[],
  options: ForwardOptions = {},
): Float64Array[] {
  return forward(model, entries, plain(options), options);
}

/** The same with every operation rounded in one way that `rounding` allows. F16 is noise here and never overflows. */
export function roundedLogits(
  model: Model,
  entries: readonly Entry[],
  rounding: Rounding,
  options: ForwardOptions = {},
): Float64Array[] {
  return forward(model, entries, plain(options, rounding), options);
}

/** The exact logits of each entry, and the variance of what a subject with this profile makes of them. */
export function carriedLogits(
  model: Model,
  entries: readonly Entry[],
  profile: RoundingProfile,
  options: ForwardOptions = {},
): Carried[] {
  return forward(model, entries, carried(profile, options), options);
}

function forward<R>(
  model: Model,
  entries: readonly Entry[],
  ops: Operators<R>,
  { embeddings = false }: ForwardOptions,
): R[] {
  const pass = passOf(model, entries, ops, embeddings);
  const answers = rows(model.hparams.arch, pass, model.hparams);
  pass.weights.allRead();
  return answers;
}

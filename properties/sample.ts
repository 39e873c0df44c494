/**
 * How much of the histories of a large model is sampled. A token of a model costs about one multiplication a
 * parameter, so lists, sequences and cases become few and short as parameters become many; below `MOST_PARAMS` nothing
 * changes. Reports say what was sampled.
 */
import type { ModelInfo } from '../contract/subject.ts';
import { N_PATHS, PATH_LENGTH } from './token-tree.ts';

/** Largest model, in parameters, that is copied in memory, has an oracle, and gets the whole sample. */
export const MOST_PARAMS = 2 ** 23;

/** Parameters times tokens of one pass over all lists: a second or two of one thread, and it is made sixteen times. */
const PASS = 2 ** 35;
/** Logits of such a pass: they are kept. */
const MOST_LOGITS = 2 ** 24;
/** Parameters times cases of one property. */
const CASES = 2 ** 34;

export interface Sample {
  /** Token lists from which all sequences are taken, and tokens of each. */
  readonly paths: number;
  readonly length: number;
  /** Sequences of a history, at most. */
  readonly sequences: number;
  /** Cases of a property, if nobody asks for more. */
  readonly cases: number;
}

type Size = Pick<ModelInfo, 'n_params' | 'n_vocab'>;

export function isLarge({ n_params }: Pick<ModelInfo, 'n_params'>): boolean {
  return n_params > MOST_PARAMS;
}

/** Undefined for a model that is not large: everything is sampled. */
export function sampleOf(model: Size): Sample | undefined {
  if (!isLarge(model)) return undefined;
  const { n_params, n_vocab } = model;
  const tokens = Math.min(PASS / n_params, MOST_LOGITS / n_vocab);
  const length = within(Math.sqrt(2 * tokens), 8, PATH_LENGTH);
  return {
    paths: within(tokens / length, 4, N_PATHS),
    length,
    sequences: within(2 ** 32 / n_params, 3, 8),
    cases: within(CASES / n_params, 4, 1000),
  };
}

function within(x: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, Math.floor(x)));
}

/** The outcome of a case that has nothing to say about this subject or model. */
import type { Outcome } from './types.ts';

/** `tokens`: what the subject evaluated before that was known. */
export function skipped(reason: string, tokens = 0): Outcome {
  return { status: 'skipped', reason, compared: 0, equal: 0, rounding: 0, divergent: 0, tokens };
}

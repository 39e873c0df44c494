/**
 * Which rounding profile judges a context. Flash attention is another program with other roundings, so a subject states
 * a profile of its own for contexts that have it (contract: `rounding_flash`).
 */
import type { RoundingProfile, SubjectInfo } from '../contract/subject.ts';
import type { Numerics } from './choices.ts';

/** What of a context decides what its answers are and how they are rounded. */
export type RoundedBy = Numerics;

/** Undefined where the subject does not say how such a context rounds. */
export function profileOf(subject: SubjectInfo, { flash_attn }: RoundedBy): RoundingProfile | undefined {
  return flash_attn === true ? subject.rounding_flash : subject.rounding;
}

/** Why no bound can be derived for a context, or null. */
export function unprofiled(subject: SubjectInfo, params: RoundedBy): string | null {
  if (profileOf(subject, params) !== undefined) return null;
  const where = params.flash_attn === true ? ' with flash attention' : '';
  return `the subject does not state how it rounds${where}, so no bound can be derived`;
}

/**
 * The rules of a subject in another process. Whether it shows any is asked once and apart from everything else: a
 * program of an older protocol says no, and one that dies while it looks has lost its white box and nothing more.
 */
import { IsobatchError } from '../../contract/errors.ts';
import type { ShownRules } from '../../contract/white.ts';
import type { RemoteSubject } from './remote.ts';

export const NO_RULES = 'the subject does not show its rules';

/** The rules, or the reason why there are none. */
export async function shownRules(
  subject: Pick<RemoteSubject, 'rules' | 'split'>,
): Promise<ShownRules | { readonly none: string }> {
  try {
    const info = await subject.rules();
    return { ...info, split: async (batch, options) => subject.split(batch, options) };
  } catch (error) {
    if (!(error instanceof IsobatchError)) throw error;
    if (error.kind === 'protocol') return { none: NO_RULES };
    return { none: error.message };
  }
}

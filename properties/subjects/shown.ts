/**
 * What a subject in another process shows of its inside: its rules, its recurrent cells. Whether it shows any is asked
 * once and apart from everything else: a program of an older protocol says no, and one that dies while it looks
 * has lost its white box and nothing more.
 */
import type { MemoryKind } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';
import type { Subject } from '../../contract/subject.ts';
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

export const NO_CELLS = 'the subject does not show its cells';

/** Kinds of memory whose recurrent cells a subject shows, or the reason why there are none. */
export async function shownKinds(
  subject: Pick<Subject, 'cells'>,
): Promise<readonly MemoryKind[] | { readonly none: string }> {
  try {
    return (await subject.cells?.()) ?? { none: NO_CELLS };
  } catch (error) {
    if (!(error instanceof IsobatchError)) throw error;
    if (error.kind === 'protocol') return { none: NO_CELLS };
    return { none: error.message };
  }
}

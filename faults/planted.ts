/**
 * What is said of a planted fault beside the patch itself: which real bug it stands for, and when it can show. The
 * claims are no opinions: `witness.test.ts` runs scripts that must not show the fault and scripts that must.
 */
import type { Fault } from './apply.ts';

export interface PlantedFault extends Fault {
  /**
   * The first call that can give another answer than the healthy engine does. `second call`: whatever the first decode
   * of a new context is, its answers are right.
   */
  readonly shows: 'first call' | 'second call';
  /**
   * Without this it never shows. `shared tokens`: tokens of several sequences, or a copied sequence; `reused slot`:
   * a removal, keep or clear that leaves slots or cells to somebody else.
   */
  readonly needs?: 'shared tokens' | 'reused slot';
  /** Only models like this one can show it; it is witnessed there. */
  readonly model?: 'recipe:gemma2-fuzz';
  /** One sequence in one ubatch shows it too: by the positions that are left, or because a window is wrong. */
  readonly alone?: true;
  /** Only rules can see it, not answers: a white-box property must find it. */
  readonly rulesOnly?: true;
  /** Only these kernels have it; where they do not run it cannot be found. */
  readonly isa?: string;
  /** It is wrong for everybody in the same way: only this property can find it, or one that looks at rules. */
  readonly finds?: 'reference';
}

/** A fault that is so gross that a campaign which misses it is broken. */
export interface Canary extends Fault {
  /** A hang must not cost the whole default watchdog. */
  readonly watchdog_s?: number;
}

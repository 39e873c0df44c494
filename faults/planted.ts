/**
 * What is said of a planted fault beside the patch itself: which real bug it stands for, and when it can show. The
 * claims are no opinions: `witness.test.ts` runs scripts that must not show the fault and scripts that must.
 */
import type { Fault } from './apply.ts';

export interface PlantedFault extends Fault {
  /**
   * The first call that can give another answer than the healthy engine does. `second call`: whatever the first decode
   * of a new context is, its answers are right. `one ubatch`: one sequence shows it as soon as several of its tokens
   * are in a ubatch; token by token it is hidden.
   */
  readonly shows: 'one ubatch' | 'first call' | 'second call';
  /**
   * Without this it never shows. `shared tokens`: tokens of several sequences, or a copied sequence; `reused slot`:
   * a removal, keep or clear that leaves slots or cells to somebody else.
   */
  readonly needs?: 'shared tokens' | 'reused slot';
  /** One sequence in one ubatch shows it too: by the positions that are left, or because a window is wrong. */
  readonly alone?: true;
  /** Only rules can see it, not answers: a white-box property must find it. */
  readonly rulesOnly?: true;
  /** Only these kernels have it; where they do not run it cannot be found. */
  readonly isa?: string;
  /** This property must find it: it is wrong for everybody in the same way, or only in models without histories. */
  readonly finds?: 'reference' | 'kernels' | 'encoder';
  /** The model that has what it breaks, if the fuzz recipes of llama and mamba have not: it is witnessed there. */
  readonly model?: string;
}

/** A fault that is so gross that a campaign which misses it is broken. */
export interface Canary extends Fault {
  /** A hang must not cost the whole default watchdog. */
  readonly watchdog_s?: number;
}

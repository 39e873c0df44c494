/** What an exhaustive run gives. `enumerated` must equal `formula`, and `legal + refused` too. */
import type { Broken } from '../white/frame.ts';

export interface ScopeFailure {
  /** The input, in words and numbers. */
  readonly where: string;
  readonly rule: string;
  readonly what: string;
  readonly got: string;
  readonly want: string;
}

export interface ScopeResult {
  /** Inputs that were looked at. */
  readonly enumerated: number;
  /** How many there are, by a closed formula. */
  readonly formula: number;
  /** Inputs that the rules accept ... */
  readonly legal: number;
  /** ... and that they refuse, with the same kind on both sides. */
  readonly refused: number;
  /** Answers that were compared. */
  readonly compared: number;
  /** Number of failures; the first of them, and the first of each kind. */
  readonly failed: number;
  readonly failures: readonly ScopeFailure[];
}

const MOST_FAILURES = 20;
/** Failures that differ in kind are told beyond that, up to so many kinds. */
export const MOST_SIGNATURES = 100;

/** What broke, whatever the numbers: by this the failures of the small scope are grouped. */
export function kindOf(rule: string, what: string): string {
  return `${rule}/${what.replaceAll(/\d+/g, 'N')}`;
}

/** Tells which failures are told in full: the first ones, and the first of each kind. */
export class ToldFailures {
  #told = 0;
  readonly #kinds = new Set<string>();

  tell(kind: string): boolean {
    const fresh = !this.#kinds.has(kind) && this.#kinds.size < MOST_SIGNATURES;
    this.#kinds.add(kind);
    if (!fresh && this.#told >= MOST_FAILURES) return false;
    this.#told++;
    return true;
  }
}

export class ScopeTally {
  enumerated = 0;
  legal = 0;
  refused = 0;
  compared = 0;
  failed = 0;
  readonly failures: ScopeFailure[] = [];
  readonly #told = new ToldFailures();

  fail(where: string, wrong: Broken): void {
    this.failed++;
    const { what, got, want } = wrong.difference;
    if (!this.#told.tell(kindOf(wrong.rule, what))) return;
    this.failures.push({ where, rule: wrong.rule, what, got: String(got), want: String(want) });
  }

  result(formula: number): ScopeResult {
    const { enumerated, legal, refused, compared, failed, failures } = this;
    return { enumerated, formula, legal, refused, compared, failed, failures };
  }
}

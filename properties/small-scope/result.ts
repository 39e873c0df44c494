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
  /** Number of failures, and the first of them. */
  readonly failed: number;
  readonly failures: readonly ScopeFailure[];
}

const MOST_FAILURES = 20;

export class ScopeTally {
  enumerated = 0;
  legal = 0;
  refused = 0;
  compared = 0;
  failed = 0;
  readonly failures: ScopeFailure[] = [];

  fail(where: string, wrong: Broken): void {
    this.failed++;
    if (this.failures.length >= MOST_FAILURES) return;
    const { what, got, want } = wrong.difference;
    this.failures.push({ where, rule: wrong.rule, what, got: String(got), want: String(want) });
  }

  result(formula: number): ScopeResult {
    const { enumerated, legal, refused, compared, failed, failures } = this;
    return { enumerated, formula, legal, refused, compared, failed, failures };
  }
}

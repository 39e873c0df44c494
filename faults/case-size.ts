/** How large a case is, in tokens and calls, whatever property it belongs to. */
import type { Case } from '../properties/types.ts';

interface Step {
  readonly sets?: readonly unknown[];
  readonly n_seq_tokens?: number;
}

interface White {
  readonly steps?: readonly Step[];
  readonly batch?: { readonly token: readonly number[] };
}

/** Tokens of all calls together; for white-box cases calls are the steps of their history. */
export function caseSize(c: Case): { tokens: number; calls: number } {
  if (c.script !== undefined) {
    const { calls } = c.script;
    return {
      tokens: sum(calls.map((x) => (x.op === 'decode' ? x.batch.token.length : 0))),
      calls: calls.length,
    };
  }
  const { steps, batch } = (c.white ?? {}) as White;
  if (steps === undefined) return { tokens: batch?.token.length ?? 0, calls: 1 };
  const tokens = sum(steps.map(({ sets = [], n_seq_tokens = 1 }) => sets.length * n_seq_tokens));
  return { tokens, calls: steps.length };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

/** `share`: a token in several sequences, or a copied sequence, is the same as separate evaluations. */
import { HISTORY_CLASSES } from './coverage.ts';
import { endToEnd } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { trace } from './trace.ts';
import { separate } from './transform.ts';

export const share = endToEnd({
  name: 'share',
  statement: 'a token in several sequences, or seqCp, is the same as separate copies',
  classes: {
    ...HISTORY_CLASSES,
    sequences: ['2', '3-4', '5-8'],
    policies: ['simple', 'equal', 'equal-batch', 'sequence', 'whole'],
    operations: ['seqCp', 'seqRm'],
  },
  skip(subject) {
    return subject.shared_tokens ? null : 'the subject does not take tokens that belong to several sequences';
  },
  draw(r, facts) {
    const d = newDraft(r, facts, r.between(2, 8));
    fill(d, { copy: 0.5, refill: 0.35 });
    return { script: scriptOf(d) };
  },
  demand({ script }, t, facts) {
    const shares = t.calls.some(
      ({ call, tokens }) => call.op === 'seqCp' || tokens.some(({ ids }) => ids.length > 1),
    );
    if (!shares) return null;
    const copies = new Map<number, number[]>();
    trace(script, facts, (lists, c) => {
      const call = script.calls[c]!;
      if (call.op === 'seqCp' && call.refused === undefined) copies.set(c, lists.tokens(call.to));
    });
    const twin = separate(script, t, copies);
    return twin.pairs.length === 0 ? null : twin;
  },
});

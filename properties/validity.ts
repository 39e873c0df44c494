/**
 * `validity`: legal input is never refused; a batch that one mutation made illegal is refused with the error that
 * names it. The kinds come from the oracle's rules; the legal calls around them are compared with the sequence alone.
 */
import { BATCH_REFUSALS, HISTORY_CLASSES, REFILL_CLASSES } from './coverage.ts';
import { aloneRows, endToEnd } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { illegalBatch } from './generate/illegal.ts';
import { inject } from './generate/inject.ts';

export const validity = endToEnd({
  name: 'validity',
  statement:
    'legal input is never refused and never aborts; illegal input is refused with an error that names it',
  classes: {
    ...HISTORY_CLASSES,
    ...REFILL_CLASSES,
    refusals: BATCH_REFUSALS,
  },
  draw(r, facts) {
    const d = newDraft(r, facts);
    fill(d, { calls: r.between(1, 8), refill: 0.4, copy: 0.4 });
    const plain = scriptOf(d);
    const { params } = plain;
    if (r.chance(0.2)) return { script: plain };
    const script = inject(r, facts, plain, 0.6, (at, next) => illegalBatch(at, next, params));
    return { script };
  },
  demand(_drawn, t) {
    const alone = aloneRows(t);
    return alone.length === 0 ? null : { alone };
  },
});

/** `solo`: a sequence in any batch says what it says alone. */
import { HISTORY_CLASSES, REFILL_CLASSES } from './coverage.ts';
import { aloneRows, endToEnd } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';

export const solo = endToEnd({
  name: 'solo',
  statement: 'a sequence in any batch says what it says alone',
  classes: { ...HISTORY_CLASSES, ...REFILL_CLASSES },
  draw(r, facts) {
    const d = newDraft(r, facts);
    fill(d);
    return { script: scriptOf(d) };
  },
  demand(_drawn, t) {
    const alone = aloneRows(t);
    return alone.length === 0 ? null : { alone };
  },
});

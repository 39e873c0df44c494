/** `incremental`: one batch, token by token, or in any chunks: the same. */
import { HISTORY_CLASSES } from './coverage.ts';
import { endToEnd } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { merged, singly } from './transform.ts';

export const incremental = endToEnd({
  name: 'incremental',
  statement: 'one batch, token by token, or in any chunks: the same',
  classes: { ...HISTORY_CLASSES, chunks: ['1', '2', '3-4', '5-8', '9-16'] },
  draw(r, facts) {
    const d = newDraft(r, facts);
    fill(d, { calls: r.between(1, 12), refill: 0.04, copy: 0.06 });
    return { script: scriptOf(d), plan: { base: r.chance(0.3) ? 'singly' : 'merged' } };
  },
  demand({ script, plan }, t) {
    const twin = (plan as { base: string }).base === 'singly' ? singly(script, t) : merged(script, t);
    return twin.pairs.length === 0 ? null : { ...twin, plan };
  },
});

/** `reuse`: a cleared or emptied context is the same as a new one. */
import { HISTORY_CLASSES } from './coverage.ts';
import { endToEnd } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { onlyCalls } from './transform.ts';

export const reuse = endToEnd({
  name: 'reuse',
  statement: 'a cleared or reused context is the same as a new one',
  classes: { ...HISTORY_CLASSES, operations: ['clear', 'seqRm'], 'reused slots': ['no', 'yes'] },
  draw(r, facts) {
    const d = newDraft(r, facts);
    fill(d, { tokens: 44, calls: r.between(1, 3) });
    const way = r.below(3);
    if (way === 0) d.clear();
    else if (way === 1) d.remove(-1, r.chance(0.5) ? 0 : -1, -1);
    else for (const seq of r.shuffle(d.live())) d.remove(seq, 0, -1);
    fill(d, { tokens: 48, calls: r.between(1, 3), refill: 0.1 });
    return { script: scriptOf(d) };
  },
  demand({ script }, t) {
    // The last moment at which memory held nothing, though it had held something.
    let start = -1;
    t.calls.forEach(({ call, empty }, c) => {
      if (empty && call.op !== 'decode' && c > 0) start = c;
    });
    if (start < 0) return null;
    const twin = onlyCalls(script, t, (c) => c > start);
    return twin.pairs.length === 0 ? null : twin;
  },
});

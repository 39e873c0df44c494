/** `permute`: the order of sequences in a batch and the names of sequence ids do not matter. */
import { HISTORY_CLASSES } from './coverage.ts';
import { endToEnd } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { canonical } from './transform.ts';

export const permute = endToEnd({
  name: 'permute',
  statement:
    'the answer does not depend on the order of sequences in the batch, nor on the names of sequence ids; ' +
    "outputs come back in the batch's order",
  classes: HISTORY_CLASSES,
  draw(r, facts) {
    const d = newDraft(r, facts);
    fill(d, { calls: r.between(1, 3) });
    return { script: scriptOf(d), plan: { backwards: r.chance(0.3) } };
  },
  demand({ script, plan }, t) {
    const { backwards } = plan as { backwards: boolean };
    const twin = canonical(script, t, backwards);
    return twin.pairs.length === 0 ? null : { ...twin, plan };
  },
});

/**
 * `placement`: the answer does not depend on where cells and slots lie. Filler sequences come and go before and
 * between the calls of a history, so that its cells and slots lie scattered; the base is the same history without them,
 * with short names, in a context that it just fits.
 */
import { HISTORY_CLASSES } from './coverage.ts';
import { endToEnd } from './end-to-end.ts';
import type { Draft } from './generate/draft.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { withoutSequences } from './transform.ts';

interface Plan {
  readonly fillers: readonly number[];
}

/** Fillers take cells and slots, and some of them give some back. */
function scatter(d: Draft, fillers: readonly number[], budget: number): void {
  const { r, lists } = d;
  if (budget > 0) d.decode(budget, fillers);
  for (const seq of fillers) {
    const n = lists.length(seq);
    if (n === 0 || r.chance(0.35)) continue;
    if (!d.facts.parts || r.chance(0.4)) d.remove(seq, -1, -1);
    else {
      const p0 = lists.posMin(seq) + r.below(n);
      const p1 = r.chance(0.5) ? p0 + 1 + r.below(4) : -1;
      if (!lists.cuts(seq, p0, p1)) d.remove(seq, p0, p1);
    }
  }
}

export const placement = endToEnd({
  name: 'placement',
  statement: 'the answer does not depend on where cells and slots lie, nor on fragmentation',
  classes: { ...HISTORY_CLASSES, fragmentation: ['yes'], sequences: ['2', '3-4', '5-8'] },
  draw(r, facts) {
    const sequences = r.between(1, 5);
    const whole = newDraft(r, facts, sequences + r.between(1, 3));
    // Of a large model fewer sequences may be there than were drawn; one of them is a filler.
    const n_own = Math.min(sequences, Math.max(1, whole.ids.length - 1));
    const fillers = whole.ids.slice(n_own);
    const own = whole.ids.slice(0, n_own);
    const rounds = r.between(1, 3);
    for (let i = 0; i < rounds; i++) {
      scatter(whole, fillers, r.between(4, Math.ceil(36 / rounds)));
      whole.ids = own;
      fill(whole, { tokens: Math.ceil(66 / rounds), calls: r.between(1, 2), refill: 0.2 });
    }
    return { script: scriptOf(whole), plan: { fillers } satisfies Plan };
  },
  demand({ script, plan }, t) {
    const out = new Set((plan as Plan).fillers);
    const twin = withoutSequences(script, t, out);
    return twin.pairs.length === 0 ? null : { ...twin, plan };
  },
  rename(plan, names) {
    return { fillers: (plan as Plan).fillers.map((id) => names.get(id) ?? id) } satisfies Plan;
  },
});

/** `ubatch`: the answer does not depend on n_ubatch, n_batch, the split policy, nor on the named kernels. */
import { HISTORY_CLASSES, REFILL_CLASSES } from './coverage.ts';
import { endToEnd, samePairs } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { drawParams } from './generate/params.ts';
import { changed } from './shrink-params.ts';
import { fitted } from './transform.ts';

export const ubatch = endToEnd({
  name: 'ubatch',
  statement: 'the answer does not depend on n_ubatch, n_batch or the (legal) split policy',
  classes: { ...HISTORY_CLASSES, ...REFILL_CLASSES },
  draw(r, facts) {
    const d = newDraft(r, facts);
    fill(d);
    const script = scriptOf(d);
    const params = drawParams(r, facts, d.calls, d.peak, script.params);
    return { script, base: { params, calls: d.calls } };
  },
  demand({ script, base }, t) {
    const pairs = samePairs(t);
    if (pairs.length === 0 || base === undefined) return null;
    // K and V in another type, and embeddings, are other numbers: only the shape of the work may differ.
    const { n_seq_max, type_kv, flash_attn, embeddings, n_rs_seq } = script.params;
    const same = { n_seq_max, type_kv, flash_attn, embeddings, n_rs_seq };
    const params = fitted(changed(base.params, same), script.calls, t.peak);
    return { base: { params, calls: script.calls }, pairs };
  },
});

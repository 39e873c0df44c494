/** Batches for an encoder: each holds whole sequences, from position 0 on, in any order, and no shared tokens. */
import type { ContextParams, Pooling } from '../../contract/subject.ts';
import type { Facts } from '../facts.ts';
import type { Random } from '../random.ts';
import { idsOf, longestSet } from '../trace.ts';
import type { Call, Script } from '../types.ts';
import { newDraft } from './history.ts';
import { drawParams } from './params.ts';

/** `pooling`: what becomes of the rows of a sequence. */
export function drawEncoding(r: Random, facts: Facts, pooling: Pooling = 'none'): Script {
  const d = newDraft(r, { ...facts, shared: false });
  // Half of the time one batch is encoded again: what is left of the first must not be seen.
  for (let n = r.between(1, 4); n > 0; n--) {
    const last = d.calls.at(-1);
    if (last !== undefined && r.chance(0.3)) d.calls.push(last);
    else if (d.decode(r.between(1, 72)) === 0) break;
    d.lists.clear();
  }
  const { n_keep_tail: _, ...drawn } = drawParams(r, facts, d.calls, d.peak, d.lists);
  const params: { -readonly [K in keyof ContextParams]: ContextParams[K] } = {
    ...drawn,
    embeddings: true,
    pooling,
  };
  // A token sees what comes after it: a sequence is never cut, and the batch is one ubatch unless the subject cuts by whole
  // sequences.
  params.n_batch = drawn.n_batch + (r.chance(0.5) ? 0 : r.below(8));
  const longest = Math.max(...d.calls.map(longestOf));
  const cut = drawn.split === 'whole' && r.chance(0.7);
  params.n_ubatch = cut ? r.between(longest, Math.max(longest, params.n_batch)) : params.n_batch;
  return { params, calls: d.calls };
}

/** Tokens of the longest sequence of a batch. */
function longestOf(call: Call): number {
  if (call.op !== 'decode') return 1;
  const { batch } = call;
  return longestSet(batch.token.map((_, i) => idsOf(batch, i)));
}

/** Whether a script is one that is drawn, whatever its pooling. */
export function isEncoding({ params, calls }: Script): boolean {
  if (params.embeddings !== true) return false;
  return calls.every((call) => {
    if (call.op !== 'decode' || call.refused !== undefined) return false;
    const { batch } = call;
    const uncut = params.split === 'whole' ? longestOf(call) : batch.token.length;
    return uncut <= params.n_ubatch && batch.token.every((_, i) => idsOf(batch, i).length === 1);
  });
}

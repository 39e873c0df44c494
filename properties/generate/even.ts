/** Batches that are one ubatch whatever the split policy: as many tokens of each of some neighbouring sequences. */
import type { Batch, SplitOptions } from '../../contract/batch.ts';
import type { ContextParams } from '../../contract/subject.ts';
import type { WhiteBox } from '../../contract/white.ts';
import type { Facts } from '../facts.ts';
import type { Random } from '../random.ts';
import { idsOf } from '../trace.ts';
import { Draft } from './draft.ts';

export class EvenDraft extends Draft {
  /** Decodes one such batch; false if the sequences that were drawn have no room. */
  even(): boolean {
    const { r, lists, ids } = this;
    // The sequential form takes neighbours only, in ascending order.
    const first = r.pick(ids);
    const most = ids.includes(first + 1) ? r.between(1, 8) : 1;
    const run: number[] = [];
    while (run.length < most && ids.includes(first + run.length)) run.push(first + run.length);
    const n = Math.min(r.pick([1, 1, 2, r.between(1, 6)]), ...run.map((id) => this.room(id)));
    if (n < 1) return false;
    // Each on its way through the token tree.
    for (const id of run) this.start({ ids: [id], left: n, after: [] }, []);
    const token: number[] = [];
    const pos: number[] = [];
    const seq_id: number[][] = [];
    const rows: [number, number][] = run.flatMap((id) =>
      Array.from({ length: n }, (_, k) => [id, k] as [number, number]),
    );
    // Set after set, or by turns.
    if (r.chance(0.5)) rows.sort((a, b) => a[1] - b[1] || a[0] - b[0]);
    for (const [id] of rows) {
      const entry = lists.append(this.nextToken([id]), [id]);
      token.push(entry.token);
      pos.push(entry.pos);
      seq_id.push([id]);
    }
    this.peak = Math.max(this.peak, lists.used);
    const batch: Batch = { token, ...(r.chance(0.5) ? { pos } : {}), seq_id };
    this.calls.push({
      op: 'decode',
      batch: r.chance(0.5) ? batch : { ...batch, logits: token.map(() => true) },
    });
    return true;
  }
}

/** A draft over all sequences of a context, so that neighbours are there. */
export function newEvenDraft(r: Random, facts: Facts): EvenDraft {
  const n = r.between(1, 8);
  const ids = Array.from({ length: n }, (_, id) => id);
  // Cells are told as they lie where no states are kept.
  return new EvenDraft(r, facts, r.shuffle(ids), n + (r.chance(0.7) ? 0 : r.below(3)), 0);
}

/** Splits that a subject may use for states where it chooses by itself. */
const EQUAL = ['equal', 'equal-batch', 'equal-sequential'] as const;

/** Whether a batch is one ubatch: by the policy of the context if that can be chosen, else by every equal split. */
export function isAtOnce(
  batch: Batch,
  { n_ubatch, split, n_keep_tail }: ContextParams,
  chosen: boolean,
  oracle: Pick<WhiteBox, 'split'>,
): boolean {
  const { token } = batch;
  const seq_id = token.map((_, i) => idsOf(batch, i));
  const length = new Map<number, number>();
  // Only the order of positions counts.
  const pos = seq_id.map((ids) => {
    const at = length.get(ids[0]!) ?? 0;
    for (const id of ids) length.set(id, at + 1);
    return at;
  });
  const complete = { token, pos, seq_id, logits: token.map(() => true) };
  const coupled = seq_id.some((ids) => ids.length > 1);
  const one = (options: Omit<SplitOptions, 'n_ubatch'>): boolean =>
    oracle.split(complete, { ...options, n_ubatch }).length === 1;
  if (chosen) return one({ policy: split, n_keep_tail });
  const legal = EQUAL.filter((policy) => !(coupled && policy === 'equal-sequential'));
  return token.length <= n_ubatch && legal.every((policy) => one({ policy, quirks: 'upstream' }));
}

/**
 * Which batches are taken, and what is filled in (DESIGN "Legal input"; batching.md 1.2). Checks go over the whole
 * batch one after the other, in the order of the table in PROTOCOL.md, so the kind of a refusal does not depend on
 * which token is looked at first.
 */
import type { Batch, CompleteBatch, Pos, SeqId } from '../../../contract/batch.ts';
import { type ErrorKind, IsobatchError } from '../../../contract/errors.ts';
import type { ContextParams } from '../../../contract/subject.ts';
import type { Memory } from './memory.ts';

function refuse(kind: ErrorKind, message: string, detail: Record<string, unknown> = {}): never {
  throw new IsobatchError(kind, message, detail);
}

/** Throws `batch.*` or `memory.full`. */
export function accept(batch: Batch, memory: Memory, params: ContextParams, n_vocab: number): CompleteBatch {
  const { token } = batch;
  checkSizes(batch, params.n_batch);
  checkTokens(token, n_vocab);
  const sets = batch.seq_id ?? token.map(() => [0]);
  checkIds(sets, params.n_seq_max);
  const pos = checkPositions(batch.pos, sets, memory);
  checkShared(sets, memory);
  checkPolicy(sets, params);
  return {
    token,
    pos,
    seq_id: sets.map((ids) => [...ids].sort((a, b) => a - b)),
    logits: batch.logits ?? token.map((_, i) => i === token.length - 1),
  };
}

function checkSizes(batch: Batch, n_batch: number): void {
  const n = batch.token.length;
  if (n === 0) refuse('batch.empty', 'the batch is empty');
  if (n > n_batch) refuse('batch.size', `${n} tokens are more than n_batch ${n_batch}`, { n, n_batch });
  for (const [field, list] of Object.entries({ pos: batch.pos, seq_id: batch.seq_id, logits: batch.logits }))
    if (list !== undefined && list.length !== n)
      refuse('batch.size', `${n} tokens, but ${list.length} elements of ${field}`, { field, n });
}

function checkTokens(token: readonly number[], n_vocab: number): void {
  token.forEach((t, i) => {
    if (!Number.isInteger(t) || t < 0 || t >= n_vocab)
      refuse('batch.token', `token ${i} is ${t}, outside the vocabulary of ${n_vocab}`, {
        index: i,
        token: t,
      });
  });
}

function checkIds(sets: readonly (readonly SeqId[])[], n_seq_max: number): void {
  sets.forEach((ids, i) => {
    if (!Array.isArray(ids) || ids.length === 0)
      refuse('batch.seq_id', `token ${i} has no sequence`, { index: i });
    ids.forEach((seq, k) => {
      if (!Number.isInteger(seq) || seq < 0 || seq >= n_seq_max)
        refuse('batch.seq_id', `token ${i} is of sequence ${seq}; ids are 0 to ${n_seq_max - 1}`, {
          index: i,
          seq,
          n_seq_max,
        });
      if (ids.indexOf(seq) !== k)
        refuse('batch.seq_id', `token ${i} names sequence ${seq} twice`, { index: i, seq });
    });
  });
}

/** Missing positions go on from the first-listed sequence; then all must be the next ones of all their sequences. */
function checkPositions(
  given: readonly Pos[] | undefined,
  sets: readonly (readonly SeqId[])[],
  memory: Memory,
): readonly Pos[] {
  const last = new Map<SeqId, Pos>();
  const lastOf = (seq: SeqId): Pos => last.get(seq) ?? memory.posMax(seq);
  return sets.map((ids, i) => {
    const pos = given?.[i] ?? lastOf(ids[0]!) + 1;
    for (const seq of ids) {
      const want = lastOf(seq) + 1;
      if (pos !== want)
        refuse('batch.position', `token ${i} of sequence ${seq} is at position ${pos}; ${want} comes next`, {
          index: i,
          seq,
          pos,
          want,
        });
    }
    for (const seq of ids) last.set(seq, pos);
    return pos;
  });
}

/** The sequences of a token own the same in memory, and had the same tokens of this batch so far. */
function checkShared(sets: readonly (readonly SeqId[])[], memory: Memory): void {
  if (sets.every((ids) => ids.length === 1)) return;
  const before = new Map<SeqId, string>();
  sets.forEach((ids, i) => {
    const [first] = ids;
    for (const seq of ids)
      if (before.get(seq) !== before.get(first!) || !memory.same(seq, first!))
        refuse('batch.shared', `token ${i} is shared by ${first} and ${seq}, which own different cells`, {
          index: i,
          seq_id: ids,
        });
    const now = `${before.get(first!) ?? ''}/${i}`;
    for (const seq of ids) before.set(seq, now);
  });
}

/**
 * Tokens are evaluated one by one here, whatever the policy. But two policies also say which batches are taken, and a
 * history that was made for another engine must mean the same on this one.
 */
function checkPolicy(sets: readonly (readonly SeqId[])[], { split, n_ubatch }: ContextParams): void {
  const shared = sets.findIndex((ids) => ids.length > 1);
  if (split === 'equal-sequential' && shared >= 0)
    refuse('batch.coupled', `token ${shared} is shared, which the policy equal-sequential does not take`, {
      index: shared,
    });
  if (split !== 'whole') return;
  const counts = new Map<string, number>();
  for (const ids of sets) {
    const name = [...ids].sort((a, b) => a - b).join();
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    if (count > n_ubatch)
      refuse('batch.whole', `more than n_ubatch ${n_ubatch} tokens of the sequences {${name}}`, {
        seq_id: ids,
        n_ubatch,
      });
  }
}

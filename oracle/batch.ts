/**
 * What a legal batch is, and how missing fields are filled in. Our engine accepts exactly this; everything else is
 * refused with an error that names it (spec: DESIGN.md "Legal input"; batching.md 1.2, the newer rules).
 *
 * The checks run in a fixed order, each over the whole batch before the next one starts: size, tokens, sequence ids,
 * positions, shared tokens. So two implementations that follow the rule refuse a batch for the same reason.
 */
import type { Batch, CompleteBatch, Pos, SeqId } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';

/** What memory says before the batch. */
export interface MemoryBefore {
  /** Largest position of a sequence, -1 if it is empty. */
  posMax(seq: SeqId): Pos;
  /** What the sequence owns, in order: the very objects, so that two sequences can be compared by identity. */
  owned(seq: SeqId): readonly unknown[];
}

export interface BatchLimits {
  readonly n_vocab: number;
  readonly n_batch: number;
  readonly n_seq_max: number;
}

/**
 * Validates a batch and fills in what is missing; nothing that was given is changed, except that ids ascend.
 *
 * Throws `batch.empty`, `batch.size`, `batch.token`, `batch.seq_id`, `batch.position`, `batch.shared`.
 */
export function completeBatch(batch: Batch, memory: MemoryBefore, limits: BatchLimits): CompleteBatch {
  checkSize(batch, limits.n_batch);
  checkTokens(batch.token, limits.n_vocab);
  const n_tokens = batch.token.length;
  const listed = batch.seq_id ?? Array.from({ length: n_tokens }, () => [0]);
  checkSeqIds(listed, limits.n_seq_max);
  const pos = batch.pos ?? continuedPositions(listed, memory);
  checkPositions(pos, listed, memory);
  const seq_id = listed.map((ids) => [...ids].sort((a, b) => a - b));
  checkShared(seq_id, memory);
  return {
    token: [...batch.token],
    pos: [...pos],
    seq_id,
    logits: batch.logits ? [...batch.logits] : batch.token.map((_, i) => i === n_tokens - 1),
  };
}

function checkSize(batch: Batch, n_batch: number): void {
  const n_tokens = batch.token.length;
  if (n_tokens === 0) {
    throw new IsobatchError('batch.empty', 'the batch has no tokens');
  }
  if (n_tokens > n_batch) {
    throw new IsobatchError('batch.size', `the batch has ${n_tokens} tokens, n_batch is ${n_batch}`, {
      n_tokens,
      n_batch,
    });
  }
  for (const field of ['pos', 'seq_id', 'logits'] as const) {
    const length = batch[field]?.length;
    if (length !== undefined && length !== n_tokens) {
      throw new IsobatchError('batch.size', `${field} has ${length} entries for ${n_tokens} tokens`, {
        field,
        length,
        n_tokens,
      });
    }
  }
}

function checkTokens(token: readonly number[], n_vocab: number): void {
  for (let i = 0; i < token.length; i++) {
    if (!isIndex(token[i]!, n_vocab)) {
      throw new IsobatchError('batch.token', `token ${i} is ${token[i]}, not in 0..${n_vocab - 1}`, {
        index: i,
        token: token[i],
        n_vocab,
      });
    }
  }
}

function checkSeqIds(seq_id: readonly (readonly SeqId[])[], n_seq_max: number): void {
  for (let i = 0; i < seq_id.length; i++) {
    const ids = seq_id[i]!;
    if (ids.length === 0) {
      throw new IsobatchError('batch.seq_id', `token ${i} belongs to no sequence`, { index: i });
    }
    for (let j = 0; j < ids.length; j++) {
      const seq = ids[j]!;
      if (!isIndex(seq, n_seq_max)) {
        throw new IsobatchError(
          'batch.seq_id',
          `token ${i} names sequence ${seq}, not in 0..${n_seq_max - 1}`,
          {
            index: i,
            seq,
            n_seq_max,
          },
        );
      }
      if (ids.indexOf(seq) < j) {
        throw new IsobatchError('batch.seq_id', `token ${i} names sequence ${seq} twice`, { index: i, seq });
      }
    }
  }
}

/** pos missing: a cursor a sequence; a token stands at the cursor of its first-listed id and moves all its ids'. */
function continuedPositions(seq_id: readonly (readonly SeqId[])[], memory: MemoryBefore): Pos[] {
  const cursor = new Map<SeqId, Pos>();
  return seq_id.map((ids) => {
    const pos = cursor.get(ids[0]!) ?? memory.posMax(ids[0]!) + 1;
    for (const seq of ids) {
      cursor.set(seq, pos + 1);
    }
    return pos;
  });
}

/** In each of its sequences a token stands right behind what memory and the batch hold so far. */
function checkPositions(
  pos: readonly Pos[],
  seq_id: readonly (readonly SeqId[])[],
  memory: MemoryBefore,
): void {
  const next = new Map<SeqId, Pos>();
  for (let i = 0; i < pos.length; i++) {
    for (const seq of seq_id[i]!) {
      const expected = next.get(seq) ?? memory.posMax(seq) + 1;
      if (pos[i] !== expected) {
        throw new IsobatchError(
          'batch.position',
          `token ${i} of sequence ${seq} has position ${pos[i]}, but ${expected} is next`,
          { index: i, seq, pos: pos[i], expected },
        );
      }
      next.set(seq, expected + 1);
    }
  }
}

/**
 * The sequences of a shared token own the same at that moment: in memory the same entries, and of this batch the same
 * tokens. (So in a batch all tokens of a larger set of a sequence come before those of a smaller one.)
 */
function checkShared(seq_id: readonly (readonly SeqId[])[], memory: MemoryBefore): void {
  if (seq_id.every((ids) => ids.length === 1)) {
    return;
  }
  const inBatch = new Map<SeqId, number[]>();
  for (let i = 0; i < seq_id.length; i++) {
    const ids = seq_id[i]!;
    const first = ids[0]!;
    for (const seq of ids) {
      if (
        !sameElements(memory.owned(first), memory.owned(seq)) ||
        !sameElements(inBatch.get(first) ?? [], inBatch.get(seq) ?? [])
      ) {
        throw new IsobatchError(
          'batch.shared',
          `token ${i} is shared by sequences ${first} and ${seq}, which do not own the same cells`,
          { index: i, seq: [first, seq] },
        );
      }
    }
    for (const seq of ids) {
      const tokens = inBatch.get(seq);
      if (tokens) {
        tokens.push(i);
      } else {
        inBatch.set(seq, [i]);
      }
    }
  }
}

function isIndex(value: number, count: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < count;
}

function sameElements(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) {
    return false;
  }
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) {
      return false;
    }
  }
  return true;
}

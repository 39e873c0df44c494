/**
 * Validation and completion of a batch (DESIGN.md "Legal input"; spec: batching.md 1). Nothing is changed by a refusal.
 *
 * Shared tokens: sequences may share a token only while they own the same cells and the same state. Each sequence gets
 * a class number; sequences have the same class exactly as long as memory and the tokens of the batch so far gave them
 * the same cells. One pass, one comparison a shared id.
 */
import type { Batch, CompleteBatch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import { FlatBatch } from './flat-batch.ts';
import { hiOf, idsOf, loOf, MAX_SEQ } from './sets.ts';

/** What validation asks memory. */
export interface OwnedMemory {
  /** Largest position that memory holds for the sequence, -1 if none. */
  posMax(seq: number): number;
  /** What the sequence owns: cells in order of position, or its state. Compared element by element. */
  owned(seq: number): ArrayLike<unknown>;
}

export interface BatchLimits {
  readonly n_vocab: number;
  readonly n_batch: number;
  readonly n_seq_max: number;
}

export class BatchReader {
  /** By sequence id: next position, and class of ownership; valid where stamp equals the current round. */
  readonly #next = new Int32Array(MAX_SEQ);
  readonly #class = new Int32Array(MAX_SEQ);
  readonly #stamp = new Int32Array(MAX_SEQ);
  #round = 0;

  /** Reads `batch` into `flat`. Throws `batch.*`; `flat` is then undefined, everything else untouched. */
  read(batch: Batch, memory: OwnedMemory, limits: BatchLimits, flat: FlatBatch): void {
    const n = checkSizes(batch, limits);
    flat.begin(n);
    this.#tokens(batch, limits, flat);
    this.#sets(batch, limits, flat);
    this.#positions(batch, memory, flat);
    if (flat.coupled) this.#shared(memory, flat);
    for (let i = 0; i < n; i++)
      flat.output[i] = batch.logits === undefined ? (i === n - 1 ? 1 : 0) : batch.logits[i] ? 1 : 0;
    flat.finish();
  }

  #tokens(batch: Batch, limits: BatchLimits, flat: FlatBatch): void {
    for (let i = 0; i < flat.n_tokens; i++) {
      const token = batch.token[i]!;
      if (!Number.isInteger(token) || token < 0 || token >= limits.n_vocab) {
        throw new IsobatchError('batch.token', `token ${i} is ${token}, not in 0..${limits.n_vocab - 1}`, {
          index: i,
          token,
        });
      }
      flat.token[i] = token;
    }
  }

  #sets(batch: Batch, limits: BatchLimits, flat: FlatBatch): void {
    for (let i = 0; i < flat.n_tokens; i++) {
      const ids = batch.seq_id?.[i];
      flat.set[i] = ids === undefined ? flat.intern(1, 0) : internChecked(ids, i, limits, flat);
    }
  }

  #positions(batch: Batch, memory: OwnedMemory, flat: FlatBatch): void {
    const round = ++this.#round;
    for (let i = 0; i < flat.n_tokens; i++) {
      const set = flat.set[i]!;
      const ids = flat.setSize[set] === 1 ? null : idsOf(flat.setLo[set]!, flat.setHi[set]!);
      const first = flat.setFirst[set]!;
      const pos = batch.pos === undefined ? this.#cursor(first, memory, round) : batch.pos[i]!;
      flat.pos[i] = pos;
      if (ids === null) this.#step(first, pos, i, memory, round);
      else for (let j = 0; j < ids.length; j++) this.#step(ids[j]!, pos, i, memory, round);
    }
  }

  #cursor(seq: number, memory: OwnedMemory, round: number): number {
    if (this.#stamp[seq] !== round) {
      this.#stamp[seq] = round;
      this.#next[seq] = memory.posMax(seq) + 1;
    }
    return this.#next[seq]!;
  }

  #step(seq: number, pos: number, index: number, memory: OwnedMemory, round: number): void {
    const want = this.#cursor(seq, memory, round);
    if (pos !== want) {
      throw new IsobatchError(
        'batch.position',
        `token ${index} puts sequence ${seq} at position ${pos}, but its next position is ${want}`,
        { index, seq, pos, want },
      );
    }
    this.#next[seq] = want + 1;
  }

  #shared(memory: OwnedMemory, flat: FlatBatch): void {
    const seqs = this.#initialClasses(memory, flat);
    for (let i = 0; i < flat.n_tokens; i++) {
      const set = flat.set[i]!;
      const first = flat.setFirst[set]!;
      const wanted = this.#class[first]!;
      if (flat.setSize[set]! > 1) {
        for (const seq of idsOf(flat.setLo[set]!, flat.setHi[set]!)) {
          if (this.#class[seq] === wanted) continue;
          throw new IsobatchError(
            'batch.shared',
            `token ${i} is shared by sequences ${first} and ${seq}, which do not own the same cells`,
            { index: i, seq: [first, seq] },
          );
        }
        for (const seq of idsOf(flat.setLo[set]!, flat.setHi[set]!)) this.#class[seq] = seqs + i;
      } else this.#class[first] = seqs + i;
    }
  }

  /** Classes by what memory holds; returns a number above all of them. */
  #initialClasses(memory: OwnedMemory, flat: FlatBatch): number {
    let lo = 0;
    let hi = 0;
    for (let s = 0; s < flat.n_sets; s++) {
      lo |= flat.setLo[s]!;
      hi |= flat.setHi[s]!;
    }
    const seqs = idsOf(lo, hi);
    for (let a = 0; a < seqs.length; a++) {
      let same = -1;
      for (let b = 0; b < a && same < 0; b++) if (ownSame(memory, seqs[a]!, seqs[b]!)) same = b;
      this.#class[seqs[a]!] = same < 0 ? a : this.#class[seqs[same]!]!;
    }
    return seqs.length;
  }
}

function ownSame(memory: OwnedMemory, a: number, b: number): boolean {
  const left = memory.owned(a);
  const right = memory.owned(b);
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

function checkSizes(batch: Batch, limits: BatchLimits): number {
  const n = batch.token.length;
  if (n === 0) throw new IsobatchError('batch.empty', 'the batch has no tokens');
  if (n > limits.n_batch) {
    throw new IsobatchError(
      'batch.size',
      `the batch has ${n} tokens, more than n_batch = ${limits.n_batch}`,
      {
        n_tokens: n,
        n_batch: limits.n_batch,
      },
    );
  }
  for (const field of ['pos', 'seq_id', 'logits'] as const) {
    const length = batch[field]?.length;
    if (length !== undefined && length !== n) {
      throw new IsobatchError('batch.size', `the batch has ${n} tokens but ${length} entries in ${field}`, {
        field,
        length,
        n_tokens: n,
      });
    }
  }
  return n;
}

function internChecked(ids: readonly number[], index: number, limits: BatchLimits, flat: FlatBatch): number {
  if (!Array.isArray(ids)) {
    throw new IsobatchError('batch.seq_id', `seq_id of token ${index} is ${String(ids)}, not a list of ids`, {
      index,
    });
  }
  if (ids.length === 0)
    throw new IsobatchError('batch.seq_id', `token ${index} belongs to no sequence`, { index });
  let lo = 0;
  let hi = 0;
  for (let j = 0; j < ids.length; j++) {
    const seq = ids[j]!;
    if (!Number.isInteger(seq) || seq < 0 || seq >= limits.n_seq_max) {
      throw new IsobatchError(
        'batch.seq_id',
        `token ${index} names sequence ${seq}, not in 0..${limits.n_seq_max - 1}`,
        { index, seq },
      );
    }
    if ((lo & loOf(seq)) !== 0 || (hi & hiOf(seq)) !== 0) {
      throw new IsobatchError('batch.seq_id', `token ${index} names sequence ${seq} twice`, { index, seq });
    }
    lo |= loOf(seq);
    hi |= hiOf(seq);
  }
  return flat.intern(lo, hi);
}

/** Fills `flat` from a batch that is complete and legal already (white-box use). */
export function flatten(batch: CompleteBatch, flat: FlatBatch): void {
  flat.begin(batch.token.length);
  for (let i = 0; i < flat.n_tokens; i++) {
    flat.token[i] = batch.token[i]!;
    flat.pos[i] = batch.pos[i]!;
    flat.output[i] = batch.logits[i] ? 1 : 0;
    flat.set[i] = flat.internIds(batch.seq_id[i]!);
  }
  flat.finish();
}

/** The engine's validation as a function, in the form of `oracle/batch.ts`. */
export function completeBatch(batch: Batch, memory: OwnedMemory, limits: BatchLimits): CompleteBatch {
  const flat = new FlatBatch();
  new BatchReader().read(batch, memory, limits, flat);
  const n = flat.n_tokens;
  return {
    token: Array.from(flat.token.subarray(0, n)),
    pos: Array.from(flat.pos.subarray(0, n)),
    seq_id: Array.from(flat.set.subarray(0, n), (s) => idsOf(flat.setLo[s]!, flat.setHi[s]!)),
    logits: Array.from(flat.output.subarray(0, n), (o) => o === 1),
  };
}

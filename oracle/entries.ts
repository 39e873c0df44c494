/**
 * A sequence is a list of entries: that is all that memory means (spec: DESIGN.md "A sequence is a list of entries").
 * A token of several sequences is one entry in several lists, and so is a copied one. Whatever is removed later, an
 * entry remembers what it saw when it was evaluated, because its keys and values were computed from that.
 */
import type { CompleteBatch, Pos, SeqId } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import { inRange, range } from './ranges.ts';

export interface Entry {
  readonly token: number;
  /** Position at which it was evaluated. */
  readonly pos_eval: Pos;
  /** Position now. */
  readonly pos: Pos;
  /** The list of its sequence at that moment, itself last; each entry as it stood then. */
  readonly saw: readonly Entry[];
  /** By how much it was moved, move by move: its key was turned as often. Absent: never. */
  readonly turns?: readonly number[];
  /** The entry as it was evaluated, if this is one that was moved. */
  readonly evaluated?: Entry;
}

/** The evaluation that an entry stands for, wherever it was moved to. */
export function evaluationOf(entry: Entry): Entry {
  return entry.evaluated ?? entry;
}

/** Lists of entries by sequence id, and the sequence operations on them. Empty ranges change nothing. */
export class Sequences {
  readonly #lists: Entry[][];

  constructor(n_seq_max: number) {
    this.#lists = Array.from({ length: n_seq_max }, () => []);
  }

  /** Appends the tokens of a batch that `completeBatch` accepted; answers their entries, in batch order. */
  decode(batch: CompleteBatch): Entry[] {
    return batch.token.map((token, i) => {
      const ids = batch.seq_id[i]!;
      const saw: Entry[] = [...this.#listOf(ids[0]!)];
      const entry: Entry = { token, pos_eval: batch.pos[i]!, pos: batch.pos[i]!, saw };
      saw.push(entry);
      for (const seq of ids) {
        this.#listOf(seq).push(entry);
      }
      return entry;
    });
  }

  /** Removes the positions [p0, p1) from a sequence; seq -1: from all. */
  seqRm(seq: SeqId, p0: Pos, p1: Pos): void {
    const r = range(p0, p1);
    const kept = (list: readonly Entry[]) => list.filter((entry) => !inRange(entry.pos, r));
    if (seq === -1) {
      this.#lists.forEach((list, s) => {
        this.#lists[s] = kept(list);
      });
    } else {
      this.#lists[seq] = kept(this.#listOf(seq));
    }
  }

  /** `to` gets the entries of `from` in the range. Throws `ops.copy` if `to` has any. */
  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void {
    const source = this.#listOf(from);
    if (from === to) {
      return;
    }
    if (this.#listOf(to).length > 0) {
      throw new IsobatchError(
        'ops.copy',
        `sequence ${to} is not empty, so ${from} cannot be copied into it`,
        {
          from,
          to,
        },
      );
    }
    const r = range(p0, p1);
    this.#lists[to] = source.filter((entry) => inRange(entry.pos, r));
  }

  /** Adds delta to the positions [p0, p1) of a sequence. Throws `ops.range` if their order would change. */
  seqAdd(seq: SeqId, p0: Pos, p1: Pos, delta: number): void {
    this.#move(seq, p0, p1, (pos) => pos + delta);
  }

  /** Divides the positions [p0, p1) of a sequence, rounding down. Throws `ops.range` if their order would change. */
  seqDiv(seq: SeqId, p0: Pos, p1: Pos, divisor: number): void {
    this.#move(seq, p0, p1, (pos) => Math.floor(pos / divisor));
  }

  /** What moves is an entry of its own from then on: other sequences keep it where it was. */
  #move(seq: SeqId, p0: Pos, p1: Pos, to: (pos: Pos) => Pos): void {
    const r = range(p0, p1);
    const list = this.#listOf(seq).map((entry) => {
      const pos = inRange(entry.pos, r) ? to(entry.pos) : entry.pos;
      if (pos === entry.pos) {
        return entry;
      }
      const turns = [...(entry.turns ?? []), pos - entry.pos];
      return { ...entry, pos, turns, evaluated: evaluationOf(entry) };
    });
    const bad = list.find((entry, i) => entry.pos < (list[i - 1]?.pos ?? 0));
    if (bad) {
      throw new IsobatchError('ops.range', `an entry of sequence ${seq} would stand at ${bad.pos}`, {
        seq,
        pos: bad.pos,
      });
    }
    this.#lists[seq] = list;
  }

  seqKeep(seq: SeqId): void {
    const kept = this.#listOf(seq);
    this.clear();
    this.#lists[seq] = kept;
  }

  /** The sequence holds these entries now, whatever it held before: what a saved state gives back. */
  restore(seq: SeqId, entries: readonly Entry[]): void {
    this.#listOf(seq);
    this.#lists[seq] = [...entries];
  }

  clear(): void {
    this.#lists.forEach((_, seq) => {
      this.#lists[seq] = [];
    });
  }

  /** -1 if the sequence is empty. */
  posMin(seq: SeqId): Pos {
    const list = this.#listOf(seq);
    return list.length === 0 ? -1 : Math.min(...list.map((entry) => entry.pos));
  }

  /** -1 if the sequence is empty. */
  posMax(seq: SeqId): Pos {
    return this.#listOf(seq).reduce((most, entry) => Math.max(most, entry.pos), -1);
  }

  list(seq: SeqId): readonly Entry[] {
    return this.#listOf(seq);
  }

  /** What `completeBatch` asks for: the same as `list`. */
  owned(seq: SeqId): readonly Entry[] {
    return this.#listOf(seq);
  }

  #listOf(seq: SeqId): Entry[] {
    const list = this.#lists[seq];
    if (!list) {
      throw new IsobatchError('ops.seq_id', `sequence ${seq} is not in 0..${this.#lists.length - 1}`, {
        seq,
        n_seq_max: this.#lists.length,
      });
    }
    return list;
  }
}

/**
 * Entries of sequences that are encoded, without a memory: each sees all that have its first-listed id, on both sides
 * (spec: batching.md 6.3).
 */
export function encodedEntries(batch: CompleteBatch): Entry[] {
  const entries = batch.token.map((token, i) => {
    const saw: Entry[] = [];
    return { token, pos_eval: batch.pos[i]!, pos: batch.pos[i]!, saw };
  });
  entries.forEach((entry, i) => {
    entry.saw.push(...entries.filter((_, j) => batch.seq_id[j]![0] === batch.seq_id[i]![0]));
  });
  return entries;
}

/**
 * All evaluations on which the given entries depend, their own included; each after everything that it saw, but for those
 * that see one another.
 */
export function evaluationOrder(entries: readonly Entry[]): Entry[] {
  const order = new Set<Entry>();
  const visited = new Set<Entry>();
  const visit = (entry: Entry): void => {
    if (visited.has(entry)) {
      return;
    }
    visited.add(entry);
    for (const seen of entry.saw) {
      if (seen !== entry) {
        visit(evaluationOf(seen));
      }
    }
    order.add(entry);
  };
  entries.map(evaluationOf).forEach(visit);
  return [...order];
}

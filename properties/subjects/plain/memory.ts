/**
 * Memory as lists: a sequence is a list of entries, and two sequences own the same when their lists hold the same
 * entries (DESIGN "Legal input", "A sequence is a list of entries"). Of a recurrent sequence only the last entry is
 * kept: it holds the state, and stands for its position alone.
 *
 * Lists are replaced, never changed, so a snapshot is a copy of the table of lists.
 */
import type { MemoryKind, Pos, SeqId } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import type { Entry } from './forward.ts';

type Lists = ReadonlyMap<SeqId, readonly Entry[]>;

const EMPTY: readonly Entry[] = [];

export class Memory {
  readonly #n_seq_max: number;
  readonly #recurrent: boolean;
  #lists = new Map<SeqId, readonly Entry[]>();

  constructor(n_seq_max: number, kind: MemoryKind) {
    this.#n_seq_max = n_seq_max;
    this.#recurrent = kind === 'recurrent';
  }

  /** By position. */
  list(seq: SeqId): readonly Entry[] {
    return this.#lists.get(seq) ?? EMPTY;
  }

  posMin(seq: SeqId): Pos {
    this.#check(seq);
    return this.list(seq)[0]?.pos ?? -1;
  }

  posMax(seq: SeqId): Pos {
    this.#check(seq);
    return this.list(seq).at(-1)?.pos ?? -1;
  }

  same(a: SeqId, b: SeqId): boolean {
    const [x, y] = [this.list(a), this.list(b)];
    return x.length === y.length && x.every((entry, i) => entry === y[i]);
  }

  /** Entries that some sequence holds: what fills a KV cache. */
  used(): number {
    const all = new Set<Entry>();
    for (const list of this.#lists.values()) for (const entry of list) all.add(entry);
    return all.size;
  }

  append(entry: Entry, ids: readonly SeqId[]): void {
    const list = this.#recurrent ? [entry] : [...this.list(ids[0]!), entry];
    for (const seq of ids) this.#lists.set(seq, list);
  }

  snapshot(): Lists {
    return new Map(this.#lists);
  }

  restore(lists: Lists): void {
    this.#lists = new Map(lists);
  }

  rm(seq: SeqId, p0: Pos, p1: Pos): void {
    if (seq !== -1) this.#check(seq);
    const inside = rangeOf(p0, p1);
    this.#refusePart(seq, p0, p1, 'removed');
    for (const s of seq === -1 ? [...this.#lists.keys()] : [seq])
      this.#lists.set(
        s,
        this.list(s).filter(({ pos }) => !inside(pos)),
      );
  }

  cp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void {
    this.#check(from);
    this.#check(to);
    const inside = rangeOf(p0, p1);
    if (from === to) return;
    const found = this.list(to).length;
    if (found > 0)
      throw new IsobatchError('ops.copy', `sequence ${to} is not empty: a copy of ${from} does not fit`, {
        from,
        to,
      });
    this.#refusePart(from, p0, p1, 'copied');
    this.#lists.set(
      to,
      this.list(from).filter(({ pos }) => inside(pos)),
    );
  }

  keep(seq: SeqId): void {
    this.#check(seq);
    this.#lists = new Map([[seq, this.list(seq)]]);
  }

  clear(): void {
    this.#lists.clear();
  }

  #check(seq: SeqId): void {
    if (Number.isInteger(seq) && seq >= 0 && seq < this.#n_seq_max) return;
    throw new IsobatchError(
      'ops.seq_id',
      `there is no sequence ${seq}; ids are 0 to ${this.#n_seq_max - 1}`,
      {
        seq,
        n_seq_max: this.#n_seq_max,
      },
    );
  }

  /** A state is there as a whole or not at all. A range of all sequences must be everything, or nothing. */
  #refusePart(seq: SeqId, p0: Pos, p1: Pos, done: string): void {
    if (!this.#recurrent) return;
    const [first, end] = [Math.max(p0, 0), p1 < 0 ? Infinity : p1];
    if (first >= end) return;
    const last = seq === -1 ? Infinity : this.posMax(seq);
    const whole = first === 0 && (seq === -1 ? end === Infinity : end > last);
    if (whole || last < first) return;
    throw new IsobatchError(
      'ops.partial',
      `[${p0}, ${p1}) of sequence ${seq} cannot be ${done}: it is a part`,
      {
        seq,
        p0,
        p1,
        pos_max: last === Infinity ? null : last,
      },
    );
  }
}

/** Is a position in [p0, p1)? Throws `ops.range` if these are no positions. */
function rangeOf(p0: Pos, p1: Pos): (pos: Pos) => boolean {
  if (!Number.isInteger(p0) || !Number.isInteger(p1))
    throw new IsobatchError('ops.range', `[${p0}, ${p1}) is not a range of positions`, { p0, p1 });
  return (pos) => pos >= p0 && (p1 < 0 || pos < p1);
}

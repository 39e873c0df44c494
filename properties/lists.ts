/**
 * Memory as the user thinks of it: each sequence is a list of entries, and two sequences own the same cells when
 * their lists hold the same entries (DESIGN "a sequence is a list of entries"). The generators use it to stay legal
 * and to know what each output row has seen; it knows no cells, slots or ubatches.
 */
import type { MemoryKind } from '../contract/batch.ts';
import type { MoveCall } from './types.ts';

/** A token that was evaluated: one key and value of attention, or one step of a state. */
export interface Entry {
  readonly token: number;
  readonly pos: number;
  /** It was evaluated in a list that is what its tokens alone give. */
  readonly plain: boolean;
  /** Sequences that hold it now. */
  refs: number;
}

/** Where a move takes a position that is in its range. */
export function moveOf({ op, by }: Pick<MoveCall, 'op' | 'by'>): (pos: number) => number {
  return op === 'seqAdd' ? (pos) => pos + by : (pos) => Math.floor(pos / by);
}

/** What was kept of memory, in entries of its own: all lists, or one. */
export interface SavedLists {
  readonly whole: boolean;
  readonly lists: readonly (readonly Entry[])[];
  /** By list: whether keys of it were turned. */
  readonly turned: readonly boolean[];
}

const END = Number.MAX_SAFE_INTEGER;

export class Lists {
  readonly n_seq_max: number;
  readonly memory: MemoryKind;
  /** Entries that some sequence holds: cells of attention. */
  used = 0;
  private readonly seqs: Entry[][];
  private readonly kept = new Map<string, SavedLists>();
  /** Sequences some of whose keys were turned: their bits are no longer those of a new context. */
  private readonly turned: boolean[];

  constructor(n_seq_max: number, memory: MemoryKind) {
    this.n_seq_max = n_seq_max;
    this.memory = memory;
    this.seqs = Array.from({ length: n_seq_max }, () => []);
    this.turned = Array.from({ length: n_seq_max }, () => false);
  }

  clone(): Lists {
    const copy = new Lists(this.n_seq_max, this.memory);
    copied(this.seqs).forEach((list, s) => {
      copy.seqs[s] = list;
      copy.turned[s] = this.turned[s]!;
    });
    copy.used = this.used;
    for (const [slot, saved] of this.kept) copy.kept.set(slot, saved);
    return copy;
  }

  owned(seq: number): readonly Entry[] {
    return this.seqs[seq] ?? [];
  }

  length(seq: number): number {
    return this.seqs[seq]!.length;
  }

  /** Only a part of a state cannot be removed. */
  get refusesParts(): boolean {
    return this.memory === 'recurrent' || this.memory === 'hybrid';
  }

  /** -1 if empty. Recurrent memory holds one state, that of the last position (spec: batching.md 4.4). */
  posMin(seq: number): number {
    const list = this.seqs[seq]!;
    if (list.length === 0) return -1;
    return this.refusesParts ? list[list.length - 1]!.pos : list[0]!.pos;
  }

  posMax(seq: number): number {
    const list = this.seqs[seq] ?? [];
    return list.length === 0 ? -1 : list[list.length - 1]!.pos;
  }

  isEmpty(): boolean {
    return this.used === 0;
  }

  /** Both own the same cells (two empty sequences do). */
  same(a: number, b: number): boolean {
    const x = this.seqs[a]!;
    const y = this.seqs[b]!;
    if (x.length !== y.length) return false;
    for (let i = x.length - 1; i >= 0; i--) if (x[i] !== y[i]) return false;
    return true;
  }

  /**
   * The list is what a new context would hold after its tokens. Holes are never filled again (a sequence goes on after
   * its largest position), so it is enough that the last entry was evaluated in such a list and stands at its place.
   */
  plain(seq: number): boolean {
    const list = this.seqs[seq]!;
    const last = list[list.length - 1];
    return last === undefined || (last.plain && last.pos === list.length - 1 && !this.turned[seq]);
  }

  tokens(seq: number): number[] {
    const list = this.seqs[seq]!;
    const out = new Array<number>(list.length);
    for (let i = 0; i < list.length; i++) out[i] = list[i]!.token;
    return out;
  }

  /** Appends one token to all of `ids`, which own the same cells. */
  append(token: number, ids: readonly number[]): Entry {
    const e: Entry = { token, pos: this.posMax(ids[0]!) + 1, plain: this.plain(ids[0]!), refs: ids.length };
    for (const id of ids) this.seqs[id]!.push(e);
    this.used++;
    return e;
  }

  /** A model without memory forgets a batch with its end. */
  endBatch(): void {
    if (this.memory === 'none') this.clear();
  }

  /** True if the removal is refused because only a part of a state would go. */
  cuts(seq: number, p0: number, p1: number): boolean {
    if (!this.refusesParts) return false;
    const from = Math.max(p0, 0);
    const to = p1 < 0 ? END : p1;
    if (from >= to) return false;
    if (seq < 0) return from > 0 || to < END;
    const max = this.posMax(seq);
    return max >= 0 && from <= max && (from > 0 || to <= max);
  }

  /** Removes [p0, p1) of a sequence, seq -1: of all. Not to be called where it `cuts`. */
  rm(seq: number, p0: number, p1: number): void {
    const from = Math.max(p0, 0);
    const to = p1 < 0 ? END : p1;
    const last = seq < 0 ? this.n_seq_max - 1 : seq;
    for (let s = Math.max(seq, 0); s <= last; s++) {
      const list = this.seqs[s]!;
      if (list.length === 0) continue;
      const rest: Entry[] = [];
      for (const e of list) {
        if (e.pos < from || e.pos >= to) rest.push(e);
        else if (--e.refs === 0) this.used--;
      }
      this.seqs[s] = rest;
      if (rest.length === 0) this.turned[s] = false;
    }
  }

  /**
   * The kind with which a move is refused: a part of a state, or entries that would change their order; null if it is
   * legal. A state knows no token before its last: where those alone would stand below 0 nothing is promised.
   */
  moveRefusal({ seq, p0, p1, ...how }: MoveCall): 'ops.partial' | 'ops.range' | 'not asked' | null {
    if (how.op === 'seqDiv' && how.by < 1) return 'ops.range';
    if (this.cuts(seq, p0, p1)) return 'ops.partial';
    const to = moveOf(how);
    const ends = this.seqs[seq]!.map(({ pos }) => (isIn(pos, p0, p1) ? to(pos) : pos));
    if (!ends.some((pos, i) => pos < (ends[i - 1] ?? 0))) return null;
    return this.memory === 'recurrent' && ends.at(-1)! >= 0 ? 'not asked' : 'ops.range';
  }

  /** Entries that a move takes somewhere else although other sequences hold them: each becomes one of its own. */
  sharedMoves({ seq, p0, p1, ...how }: MoveCall): number {
    const to = moveOf(how);
    return this.seqs[seq]!.filter((e) => e.refs > 1 && isIn(e.pos, p0, p1) && to(e.pos) !== e.pos).length;
  }

  /** Not to be called where it is refused. */
  move({ seq, p0, p1, ...how }: MoveCall): void {
    const to = moveOf(how);
    this.seqs[seq] = this.seqs[seq]!.map((e) => {
      const pos = isIn(e.pos, p0, p1) ? to(e.pos) : e.pos;
      if (pos === e.pos) return e;
      if (e.refs > 1) this.used++;
      e.refs--;
      // States are made of tokens alone.
      if (this.memory !== 'recurrent') this.turned[seq] = true;
      return { ...e, pos, refs: 1 };
    });
  }

  /** `to` is empty. */
  cp(from: number, to: number, p0: number, p1: number): void {
    const lo = Math.max(p0, 0);
    const hi = p1 < 0 ? END : p1;
    const part = this.seqs[from]!.filter((e) => e.pos >= lo && e.pos < hi);
    for (const e of part) e.refs++;
    this.seqs[to] = part;
    this.turned[to] = this.turned[from]! && part.length > 0;
  }

  keep(seq: number): void {
    for (let s = 0; s < this.n_seq_max; s++) if (s !== seq) this.rm(s, 0, -1);
  }

  clear(): void {
    this.rm(-1, 0, -1);
  }

  /** Keeps all lists, or one, under a name that outlives every context. */
  save(slot: string, seq?: number): void {
    const lists = copied(seq === undefined ? this.seqs : [this.seqs[seq] ?? []]);
    const turned = seq === undefined ? [...this.turned] : [this.turned[seq] ?? false];
    this.kept.set(slot, { whole: seq === undefined, lists, turned });
  }

  saved(slot: string): SavedLists | undefined {
    return this.kept.get(slot);
  }

  /** What is loaded fills cells of its own. Nothing happens if there is no such slot, or one of the other kind. */
  load(slot: string, seq?: number): void {
    const saved = this.kept.get(slot);
    if (saved === undefined || saved.whole !== (seq === undefined)) return;
    this.rm(seq ?? -1, 0, -1);
    const lists = copied(saved.lists);
    lists.forEach((list, s) => {
      this.seqs[seq ?? s] = list;
      this.turned[seq ?? s] = saved.turned[s]!;
    });
    this.used += new Set(lists.flat()).size;
  }
}

function isIn(pos: number, p0: number, p1: number): boolean {
  return pos >= p0 && (p1 < 0 || pos < p1);
}

/** The same lists with entries of their own, shared where they were shared among these. */
function copied(lists: readonly (readonly Entry[])[]): Entry[][] {
  const twins = new Map<Entry, Entry>();
  return lists.map((list) =>
    list.map((e) => {
      const twin = twins.get(e) ?? { ...e, refs: 0 };
      twin.refs++;
      twins.set(e, twin);
      return twin;
    }),
  );
}

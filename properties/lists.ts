/**
 * Memory as the user thinks of it: each sequence is a list of entries, and two sequences own the same cells when
 * their lists hold the same entries (DESIGN "a sequence is a list of entries"). The generators use it to stay legal
 * and to know what each output row has seen; it knows no cells, slots or ubatches.
 */
import type { MemoryKind } from '../contract/batch.ts';
import type { LegalDifferences, Window } from '../contract/subject.ts';
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

/** What memory is like: its kind, and the windows that forget (none if their forgetting is nobody's business). */
export interface MemoryShape {
  readonly memory: MemoryKind;
  readonly windows?: readonly Window[];
  readonly legal?: Pick<LegalDifferences, 'rollback_once'>;
}

const END = Number.MAX_SAFE_INTEGER;

export class Lists {
  readonly n_seq_max: number;
  readonly memory: MemoryKind;
  /** Entries that some sequence holds: cells of attention. */
  used = 0;
  /** States that are kept of a sequence beside its last one (`ContextParams.n_rs_seq`). */
  readonly n_rs_seq: number;
  readonly legal: Pick<LegalDifferences, 'rollback_once'>;
  private readonly seqs: Entry[][];
  /** By sequence: the last of its tokens that can go again because the states before them are kept. */
  private readonly undoable: number[];
  private readonly kept = new Map<string, SavedLists>();
  /** Sequences some of whose keys were turned: their bits are no longer those of a new context. */
  private readonly turned: boolean[];
  /** By window and sequence: entries that it has forgotten. */
  private readonly forgotten: Set<Entry>[][];
  readonly windows: readonly Window[];
  /** Sequences that got tokens since the windows last forgot. */
  private readonly grown = new Set<number>();

  constructor(n_seq_max: number, shape: MemoryKind | MemoryShape, n_rs_seq = 0) {
    const { memory, windows = [], legal = {} } = typeof shape === 'string' ? { memory: shape } : shape;
    this.n_seq_max = n_seq_max;
    this.n_rs_seq = n_rs_seq;
    this.legal = legal;
    this.undoable = Array.from({ length: n_seq_max }, () => 0);
    this.memory = memory;
    this.windows = windows;
    this.forgotten = windows.map(() => Array.from({ length: n_seq_max }, () => new Set()));
    this.seqs = Array.from({ length: n_seq_max }, () => []);
    this.turned = Array.from({ length: n_seq_max }, () => false);
  }

  clone(): Lists {
    const copy = new Lists(this.n_seq_max, this, this.n_rs_seq);
    this.undoable.forEach((n, s) => {
      copy.undoable[s] = n;
    });
    copied(this.seqs).forEach((list, s) => {
      copy.seqs[s] = list;
      copy.turned[s] = this.turned[s]!;
    });
    copy.used = this.used;
    this.forgotten.forEach((bySeq, w) => {
      bySeq.forEach((gone, s) => {
        this.seqs[s]!.forEach((e, i) => {
          if (gone.has(e)) copy.forgotten[w]![s]!.add(copy.seqs[s]![i]!);
        });
      });
    });
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

  /**
   * -1 if empty. Recurrent memory holds one state, that of the last position (spec: batching.md 4.4); of windows the one
   * that has forgotten most tells, and one that has forgotten everything tells the position that comes next.
   */
  posMin(seq: number): number {
    const list = this.seqs[seq]!;
    if (list.length === 0) return -1;
    if (this.refusesParts) return list[list.length - 1]!.pos;
    const first = this.forgotten.map((bySeq) => {
      const gone = bySeq[seq]!;
      return list.find((e) => !gone.has(e))?.pos ?? this.posMax(seq) + 1;
    });
    return Math.max(list[0]!.pos, ...first);
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
    // Those who share a token keep the states that all of them kept.
    const kept = Math.min(...ids.map((id) => this.undoable[id]!));
    for (const id of ids) {
      this.undoable[id] = this.length(id) === 0 ? 0 : Math.min(kept + 1, this.n_rs_seq);
      this.seqs[id]!.push(e);
      this.grown.add(id);
    }
    this.used++;
    return e;
  }

  /** How many of its last tokens can be removed from a sequence whose states are kept. */
  rollback(seq: number): number {
    return this.refusesParts ? this.undoable[seq]! : 0;
  }

  /** A model without memory forgets a batch with its end. */
  endBatch(): void {
    if (this.memory === 'none') this.clear();
    this.forget();
  }

  /** After a batch a window forgets, of its sequences, what it does not show to the next token. */
  forget(): void {
    this.windows.forEach((window, w) => {
      for (const s of this.grown) {
        const next = this.posMax(s) + 1;
        for (const e of this.seqs[s]!) if (!inWindow(window, e.pos, next)) this.forgotten[w]![s]!.add(e);
      }
    });
    this.grown.clear();
  }

  /**
   * Whether a sequence that would hold these of its entries, at these positions, would go on with a token that sees what
   * is forgotten.
   */
  private misses(seq: number, rest: readonly Entry[], at = rest.map(({ pos }) => pos)): boolean {
    if (rest.length === 0) return false;
    const next = at[at.length - 1]! + 1;
    return this.windows.some((window, w) =>
      rest.some((e, i) => this.forgotten[w]![seq]!.has(e) && inWindow(window, at[i]!, next)),
    );
  }

  /** True if the removal is refused: only a part of a state would go, or the next token would see what is forgotten. */
  cuts(seq: number, p0: number, p1: number): boolean {
    if (!this.refusesParts) {
      if (this.windows.length === 0) return false;
      const all = Array.from({ length: this.n_seq_max }, (_, s) => s);
      const lo = Math.max(p0, 0);
      const hi = p1 < 0 ? END : p1;
      return all.some(
        (s) =>
          (seq < 0 || s === seq) &&
          this.misses(
            s,
            this.seqs[s]!.filter((e) => e.pos < lo || e.pos >= hi),
          ),
      );
    }
    return this.isPart(seq, p0, p1) && !this.rollsBack(seq, p0, p1);
  }

  /** Whether the range is a part of a state. */
  private isPart(seq: number, p0: number, p1: number): boolean {
    const from = Math.max(p0, 0);
    const to = p1 < 0 ? END : p1;
    if (from >= to) return false;
    if (seq < 0) return from > 0 || to < END;
    const max = this.posMax(seq);
    return max >= 0 && from <= max && (from > 0 || to <= max);
  }

  /** Whether the range is the last tokens of a sequence, and the state before them is kept. */
  private rollsBack(seq: number, p0: number, p1: number): boolean {
    if (seq < 0 || p0 <= 0 || (p1 >= 0 && p1 <= this.posMax(seq))) return false;
    return this.seqs[seq]!.filter((e) => e.pos >= p0).length <= this.undoable[seq]!;
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
      const removed = list.length - rest.length;
      if (rest.length === 0) this.undoable[s] = 0;
      else if (removed > 0)
        this.undoable[s] = this.legal.rollback_once ? 0 : Math.max(0, this.undoable[s]! - removed);
      this.seqs[s] = rest;
      if (rest.length === 0) this.turned[s] = false;
    }
  }

  /**
   * The kind with which a move is refused: a part of a state, entries that would change their order (in a window: that
   * would meet, as it has room for one a position), or one that would bring what is forgotten before the next token; null
   * if it is legal. A state knows no token before its last: where those alone would stand below 0 nothing is promised.
   */
  moveRefusal({ seq, p0, p1, ...how }: MoveCall): 'ops.partial' | 'ops.range' | 'not asked' | null {
    if (how.op === 'seqDiv' && how.by < 1) return 'ops.range';
    if (this.refusesParts && this.isPart(seq, p0, p1)) return 'ops.partial';
    const to = moveOf(how);
    const ends = this.seqs[seq]!.map(({ pos }) => (isIn(pos, p0, p1) ? to(pos) : pos));
    const least = this.windows.length > 0 ? 1 : 0;
    if (ends.some((pos, i) => pos < (i === 0 ? 0 : ends[i - 1]! + least)))
      return this.memory === 'recurrent' && ends.at(-1)! >= 0 ? 'not asked' : 'ops.range';
    return this.misses(seq, this.seqs[seq]!, ends) ? 'ops.partial' : null;
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
      const own = { ...e, pos, refs: 1 };
      for (const bySeq of this.forgotten) if (bySeq[seq]!.delete(e)) bySeq[seq]!.add(own);
      return own;
    });
  }

  /** True if the copy is refused, as a removal of all but this part would be. */
  cutsCopy(from: number, p0: number, p1: number): boolean {
    if (this.refusesParts) return this.isPart(from, p0, p1);
    return this.misses(from, this.part(from, p0, p1));
  }

  private part(seq: number, p0: number, p1: number): Entry[] {
    const lo = Math.max(p0, 0);
    const hi = p1 < 0 ? END : p1;
    return this.seqs[seq]!.filter((e) => e.pos >= lo && e.pos < hi);
  }

  /** `to` is empty. */
  cp(from: number, to: number, p0: number, p1: number): void {
    const part = this.part(from, p0, p1);
    for (const e of part) e.refs++;
    this.seqs[to] = part;
    this.turned[to] = this.turned[from]! && part.length > 0;
    this.undoable[to] = part.length > 0 ? this.undoable[from]! : 0;
    for (const bySeq of this.forgotten) bySeq[to] = new Set(part.filter((e) => bySeq[from]!.has(e)));
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

/** Whether a query at position p1 sees position p0, which is not above it (spec: batching.md 6.2). */
function inWindow({ kind, size }: Window, p0: number, p1: number): boolean {
  return kind === 'sliding' ? p1 - p0 < size : Math.floor(p0 / size) === Math.floor(p1 / size);
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

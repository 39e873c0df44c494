/**
 * What the slots of recurrent memory must amount to, with symbols instead of states: every step of every sequence gets
 * a new symbol, and the symbols travel through `src0` as rows of numbers would. A sequence whose symbol is not the one
 * that its own list gave it has got another one's state (spec: batching.md 4.2, INV-RS-1..8, 11, 13).
 */
import type { SlotMemory, SlotPlacement, SlotView } from '../../contract/white.ts';
import { type Broken, broken } from './frame.ts';

/** The zero state. */
const ZERO = 0;

export type SlotStep =
  | {
      readonly op: 'ubatch';
      readonly sets: readonly (readonly number[])[];
      readonly n_seq_tokens: number;
      /** Last position of each set; counted anew when a history is made smaller. */
      readonly last_pos: readonly number[];
    }
  | { readonly op: 'rm'; readonly seq: number; readonly p0: number; readonly p1: number }
  | { readonly op: 'cp'; readonly from: number; readonly to: number }
  | { readonly op: 'keep'; readonly seq: number }
  | { readonly op: 'clear' };

export class SlotBooks {
  readonly n_slots: number;
  /** By sequence: the symbol of its state (ZERO: it has none), and its last position. */
  readonly symbol: Int32Array;
  readonly pos: Int32Array;
  /** By row of the state tensor: the symbol of what lies there. */
  private readonly row: Int32Array;
  private readonly moved: Int32Array;
  private symbols = 0;

  constructor(n_slots: number) {
    this.n_slots = n_slots;
    this.symbol = new Int32Array(n_slots);
    this.pos = new Int32Array(n_slots).fill(-1);
    // What lies in a row before anybody wrote to it is nobody's state.
    this.row = new Int32Array(n_slots).fill(-1);
    this.moved = new Int32Array(n_slots);
  }

  /** The sequences of a set own the same state, and the sets are disjoint. */
  legalSets(sets: readonly (readonly number[])[]): boolean {
    let busy = 0;
    for (const ids of sets) {
      for (const id of ids) {
        if (id >= this.n_slots || ((busy >>> id) & 1) === 1 || this.symbol[id] !== this.symbol[ids[0]!])
          return false;
        busy |= 1 << id;
      }
    }
    return sets.length > 0;
  }

  lastPositions(sets: readonly (readonly number[])[], n_seq_tokens: number): number[] {
    return sets.map((ids) => this.pos[ids[0]!]! + n_seq_tokens);
  }

  cuts(seq: number, p0: number, p1: number): boolean {
    const from = Math.max(p0, 0);
    const to = p1 < 0 ? Number.MAX_SAFE_INTEGER : p1;
    if (from >= to) return false;
    if (seq < 0) return from > 0 || to < Number.MAX_SAFE_INTEGER;
    const max = this.pos[seq]!;
    return max >= 0 && from <= max && (from > 0 || to <= max);
  }

  /** Applies anything but an ubatch. */
  apply(step: Exclude<SlotStep, { op: 'ubatch' }>): void {
    if (step.op === 'cp') {
      this.symbol[step.to] = this.symbol[step.from]!;
      this.pos[step.to] = this.pos[step.from]!;
      return;
    }
    for (let seq = 0; seq < this.n_slots; seq++) {
      if (step.op === 'keep' ? seq !== step.seq : step.op === 'clear' || this.removes(step, seq)) {
        this.symbol[seq] = ZERO;
        this.pos[seq] = -1;
      }
    }
  }

  private removes(step: Extract<SlotStep, { op: 'rm' }>, seq: number): boolean {
    if (this.cuts(step.seq, step.p0, step.p1) || (step.seq >= 0 && step.seq !== seq)) return false;
    const from = Math.max(step.p0, 0);
    const to = step.p1 < 0 ? Number.MAX_SAFE_INTEGER : step.p1;
    return from <= this.pos[seq]! && this.pos[seq]! < to;
  }

  /** Only the lists: for generators. */
  advance(sets: readonly (readonly number[])[], last_pos: readonly number[]): void {
    sets.forEach((ids, s) => {
      this.symbols++;
      for (const id of ids) {
        this.symbol[id] = this.symbols;
        this.pos[id] = last_pos[s]!;
      }
    });
  }

  /** Carries the symbols through a placement and looks at everything that the invariants say. */
  place(step: Extract<SlotStep, { op: 'ubatch' }>, placement: SlotPlacement, view: SlotView): Broken | null {
    const { head, n, src0 } = placement;
    const { sets } = step;
    if (!(head >= 0 && n >= sets.length && head + n <= this.n_slots) || src0.length !== n) {
      return broken(
        'INV-RS-7',
        'the window',
        { head, n, src0 },
        `at least ${sets.length} of ${this.n_slots} slots`,
      );
    }
    for (let i = 0; i < n; i++) {
      const src = src0[i]!;
      if (src >= this.n_slots) return broken('INV-RS-7', `src0[${i}]`, src, `below ${this.n_slots}`);
      // All rows are read before one is written.
      this.moved[i] = src < 0 ? ZERO : this.row[src]!;
    }
    for (let s = 0; s < sets.length; s++) {
      const want = this.symbol[sets[s]![0]!]!;
      if (this.moved[s] !== want) {
        return broken(
          want === ZERO ? 'INV-RS-11' : 'INV-RS-13',
          `the state that set {${sets[s]}} starts from, slot ${head + s}`,
          this.name(this.moved[s]!),
          this.name(want),
        );
      }
    }
    this.advance(sets, step.last_pos);
    for (let i = 0; i < n; i++) {
      this.row[head + i] = i < sets.length ? this.symbol[sets[i]![0]!]! : this.moved[i]!;
    }
    return this.placedRight(step, placement, view) ?? this.sound(view);
  }

  private name(symbol: number): string {
    return symbol === ZERO ? 'the zero state' : symbol < 0 ? 'a row that nobody wrote' : `state ${symbol}`;
  }

  /** INV-RS-5: the cells from head on are exactly the sets, in order. */
  private placedRight(
    { sets, last_pos }: Extract<SlotStep, { op: 'ubatch' }>,
    { head }: SlotPlacement,
    { cells }: SlotView,
  ): Broken | null {
    for (let s = 0; s < sets.length; s++) {
      const cell = cells[head + s]!;
      const same = cell.seq.length === sets[s]!.length && sets[s]!.every((id) => cell.seq.includes(id));
      if (!same || cell.pos !== last_pos[s]) {
        return broken('INV-RS-5', `slot ${head + s}`, cell, { seq: sets[s], pos: last_pos[s] });
      }
    }
    return null;
  }

  /** INV-RS-1..4 and 6: books without contradiction, and every sequence reaches its own state. */
  sound({ cells, tail, used, head }: SlotView): Broken | null {
    let busy = 0;
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i]!;
      if (cell.seq.length > 0) busy++;
      else if (cell.pos !== -1) return broken('INV-RS-3', `position of empty slot ${i}`, cell.pos, -1);
      for (const id of cell.seq) {
        if (tail[id] !== i) return broken('INV-RS-1', `tail of sequence ${id}`, tail[id], i);
      }
    }
    if (used !== busy) return broken('INV-RS-2', 'used', used, busy);
    if (!(head >= 0 && head < cells.length)) return broken('INV-RS-7', 'head', head, `below ${cells.length}`);
    for (let id = 0; id < this.n_slots; id++) {
      const slot = tail[id]!;
      if (slot < 0 ? this.symbol[id] !== ZERO : !cells[slot]!.seq.includes(id)) {
        return broken('INV-RS-1', `tail of sequence ${id}`, slot, this.name(this.symbol[id]!));
      }
      if (slot < 0) continue;
      const { src, pos } = cells[slot]!;
      const state = src < 0 ? ZERO : this.row[src]!;
      if (state !== this.symbol[id] || pos !== this.pos[id]) {
        return broken(
          'INV-RS-6',
          `state of sequence ${id} in slot ${slot}, row ${src}`,
          this.name(state),
          this.name(this.symbol[id]!),
        );
      }
    }
    return null;
  }
}

/** A step other than an ubatch, done on slots; true if it was refused. */
export function doSlotStep(slots: SlotMemory, step: Exclude<SlotStep, { op: 'ubatch' }>): boolean {
  switch (step.op) {
    case 'rm':
      return !slots.seqRm(step.seq, step.p0, step.p1);
    case 'cp':
      slots.seqCp(step.from, step.to);
      return false;
    case 'keep':
      slots.seqKeep(step.seq);
      return false;
    case 'clear':
      slots.clear();
      return false;
  }
}

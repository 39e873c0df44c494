/**
 * For the tests of slots: slots with data, so that a test can ask what state a sequence has, and the invariants that hold
 * between calls.
 */
import type { SeqId } from '../contract/batch.ts';
import { Slots } from './slots.ts';

/** Slots with data: each row holds what a state would be, here the history as text; '' is the zero state. */
export class LabelledSlots {
  readonly slots: Slots;
  readonly rows: string[];

  constructor(n_slots: number) {
    this.slots = new Slots(n_slots);
    this.rows = Array.from({ length: n_slots }, (_, i) => `garbage ${i}`);
  }

  /** What the graph does (batching.md 4.3): all rows are read before any is written. */
  ubatch(sets: SeqId[][], tokens: string[], last_pos: number[], n_seq_tokens = 1) {
    const placement = this.slots.findSlot(sets, n_seq_tokens, last_pos);
    const read = placement.src0.map((row) => (row < 0 ? '' : this.rows[row]!));
    read.forEach((state, i) => {
      this.rows[placement.head + i] = i < sets.length ? state + tokens[i]! : state;
    });
    return placement;
  }

  state(seq: SeqId): string | undefined {
    const { tail, cells } = this.slots.view();
    const cell = cells[tail[seq]!];
    return cell && (cell.src < 0 ? '' : this.rows[cell.src]);
  }
}

/** Which of INV-RS-1..4 do not hold; empty if all do. */
export function violations(slots: Slots): string[] {
  const { head, used, cells, tail } = slots.view();
  const live = tail.filter((i) => i >= 0).length;
  const owners = (seq: SeqId) => cells.flatMap((cell, c) => (cell.seq.includes(seq) ? [c] : []));
  const rules: [string, boolean][] = [
    [
      '1: the tail of a sequence is its only cell',
      tail.every((i, seq) => owners(seq).join() === (i < 0 ? '' : `${i}`)),
    ],
    [
      '2: used counts the cells that are not empty',
      used === cells.filter((cell) => cell.seq.length > 0).length,
    ],
    ['3: empty means no position', cells.every((cell) => cell.pos >= 0 === cell.seq.length > 0)],
    [
      '4: no more cells in use than live sequences, nor more of these than cells',
      used <= live && live <= cells.length,
    ],
    ['ids ascend', cells.every((cell) => cell.seq.every((seq, j) => j === 0 || seq > cell.seq[j - 1]!))],
    ['head is a cell', head >= 0 && head < cells.length],
  ];
  return rules.flatMap(([rule, holds]) => (holds ? [] : [rule]));
}

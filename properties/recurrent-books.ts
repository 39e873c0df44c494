/**
 * What recurrent cells must amount to between two calls (spec: batching.md 4), by the lists alone: who is alive, where
 * each sequence stands, and what its state may come from. In which cell a state lies, and whether equal histories share
 * one, is the subject's business.
 *
 * - INV-RS-1: each live sequence is in one cell, that of its tail; nobody else is in any. Who shares a cell has one
 *   history, and the cell stands at its last position.
 * - INV-RS-2, 3: the count of cells in use is right; an empty cell stands nowhere.
 * - INV-RS-5: the first cell of the window belongs to a set of the last batch; if that was one ubatch, the first cells
 *   are its sets.
 * - INV-RS-6, 11, 13, for a batch of one ubatch: a set starts from the state of one of its sequences, or from zero if
 *   they had none; everybody else keeps the own state, wherever it was moved.
 * - INV-RS-7: the window lies within the cells.
 * - INV-RS-9: between two calls each state lies in the row of its own cell.
 * - INV-RS-16: what is refused changes nothing; and what computes nothing moves no state.
 */
import type { ShownCells } from '../contract/white.ts';
import type { Lists } from './lists.ts';
import type { Call } from './types.ts';

/** Something that is wrong. */
export interface WrongCells {
  readonly rule: string;
  /** The cells still mean something: what is worse may follow, and is told instead. */
  readonly minor?: true;
  readonly what: string;
  readonly got: number | string;
  readonly want: number | string;
}

/** Sequences of a batch by the sets of their last tokens; each ascending. */
export interface Touched {
  readonly sets: readonly (readonly number[])[];
  /** Whatever the policy, the batch was one ubatch of these sets. */
  readonly at_once: boolean;
}

/** What lies in a row of the state tensors, as far as it was seen. */
type RowContent = 'zero' | 'state' | 'unknown';

function wrong(rule: string, what: string, got: unknown, want: unknown): WrongCells {
  const show = (x: unknown): number | string =>
    typeof x === 'number' || typeof x === 'string' ? x : (JSON.stringify(x) ?? 'nothing');
  return { rule, what, got: show(got), want: show(want) };
}

function named(ids: readonly number[]): string {
  return ids.length === 1 ? `sequence ${ids[0]}` : `sequences ${ids.join(', ')}`;
}

function sameIds(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

export class RecurrentBooks {
  readonly #n: number;
  readonly #rows: RowContent[];
  /** As they lay after the call before; undefined in a context that nobody has looked into. */
  #before: ShownCells | undefined;

  constructor(n_seq_max: number) {
    this.#n = n_seq_max;
    this.#rows = new Array<RowContent>(n_seq_max).fill('unknown');
  }

  /** Looks at the cells after a call; `lists` are those after it. `touched`: of a decode that was not refused. */
  after(call: Call, cells: ShownCells, lists: Lists, touched?: Touched): WrongCells | null {
    const found = this.#look(call, cells, lists, touched);
    this.#keep(call, cells, touched);
    return found;
  }

  #look(call: Call, cells: ShownCells, lists: Lists, touched?: Touched): WrongCells | null {
    const shape = this.#shape(cells);
    if (shape !== null) return shape;
    const refused = call.op !== 'clear' && call.refused !== undefined;
    return (
      this.#owners(cells) ??
      this.#sequences(cells, lists) ??
      (refused ? this.#unchanged(cells) : null) ??
      (touched === undefined ? this.#unmoved(call, cells) : this.#decoded(cells, touched)) ??
      this.#places(cells)
    );
  }

  #shape({ cells, tail }: ShownCells): WrongCells | null {
    const n = this.#n;
    if (cells.length !== n) return wrong('INV-RS-1', 'the number of cells', cells.length, n);
    return tail.length === n ? null : wrong('INV-RS-1', 'the number of tails', tail.length, n);
  }

  /** Who stands in which cell, by the books of the subject itself. */
  #owners({ cells, tail }: ShownCells): WrongCells | null {
    for (const [i, { seq, pos }] of cells.entries()) {
      if (seq.length === 0 && pos !== -1)
        return wrong('INV-RS-3', `position of the empty cell ${i}`, pos, -1);
      for (const id of seq) {
        if (!(id >= 0 && id < this.#n))
          return wrong('INV-RS-1', `an owner of cell ${i}`, id, `one of ${this.#n} sequences`);
        if (tail[id] !== i)
          return wrong('INV-RS-1', `tail of sequence ${id}, which is in cell ${i}`, tail[id], i);
      }
    }
    return null;
  }

  #sequences({ cells, tail }: ShownCells, lists: Lists): WrongCells | null {
    for (let id = 0; id < this.#n; id++) {
      const at = tail[id]!;
      const pos = lists.posMax(id);
      if (pos < 0) {
        if (at >= 0) return wrong('INV-RS-1', `tail of sequence ${id}, which holds nothing`, at, -1);
        continue;
      }
      const cell = cells[at];
      if (cell === undefined || !cell.seq.includes(id))
        return wrong('INV-RS-1', `tail of sequence ${id}`, at, 'a cell that it is in');
      if (cell.pos !== pos)
        return wrong('INV-RS-1', `position of cell ${at}, of ${named(cell.seq)}`, cell.pos, pos);
      const other = cell.seq.find((with_) => !lists.same(id, with_));
      if (other !== undefined)
        return wrong('INV-RS-1', `sequences in cell ${at}`, cell.seq, `${id} without ${other}`);
    }
    return null;
  }

  /** Rows and counts. */
  #places({ cells, used }: ShownCells): WrongCells | null {
    for (const [i, { seq, src }] of cells.entries()) {
      if (seq.length > 0 && src !== undefined && src !== i)
        return {
          ...wrong('INV-RS-9', `row of the state in cell ${i}, of ${named(seq)}`, src, i),
          minor: true,
        };
    }
    const busy = cells.filter(({ seq }) => seq.length > 0).length;
    if (used === undefined || used === busy) return null;
    return { ...wrong('INV-RS-2', 'the count of used cells', used, busy), minor: true };
  }

  #unchanged(cells: ShownCells): WrongCells | null {
    const told = ({ cells: all, tail, used }: ShownCells): string =>
      JSON.stringify([all.map(({ pos, seq }) => [pos, seq]), tail, used ?? null]);
    const before = this.#before;
    if (before === undefined || told(before) === told(cells)) return null;
    return wrong('INV-RS-16', 'cells, tails and count after a refused call', told(cells), told(before));
  }

  /** No ubatch, no state that moves: whoever was there before and still is stays in the cell. */
  #unmoved(call: Call, { tail }: ShownCells): WrongCells | null {
    const before = this.#before;
    if (before === undefined || call.op === 'stateLoad') return null;
    for (const [id, at] of tail.entries()) {
      const was = before.tail[id]!;
      if (at >= 0 && was >= 0 && at !== was)
        return wrong('INV-RS-16', `cell of sequence ${id}, without an ubatch`, at, was);
    }
    return null;
  }

  #decoded(cells: ShownCells, touched: Touched): WrongCells | null {
    return this.#window(cells, touched) ?? this.#origins(cells, touched);
  }

  #window({ cells, last }: ShownCells, { sets, at_once }: Touched): WrongCells | null {
    if (last === undefined) return null;
    const { head, n } = last;
    if (!(head >= 0 && n >= 1 && head + n <= this.#n))
      return wrong('INV-RS-7', 'the window', { head, n }, `within ${this.#n} cells`);
    const isTouched = (i: number): boolean => sets.some((ids) => sameIds(ids, cells[i]?.seq ?? []));
    const must = at_once ? sets.length : 1;
    if (must > n) return wrong('INV-RS-7', 'cells in the window', n, `at least ${must}`);
    for (let i = head; i < head + must; i++) {
      if (isTouched(i)) continue;
      const want = at_once ? `the sets ${JSON.stringify(sets)}, in cells side by side` : 'a set of the batch';
      return wrong(
        'INV-RS-5',
        `sequences in cell ${i}, number ${i - head} of the window`,
        cells[i]!.seq,
        want,
      );
    }
    return null;
  }

  /** Where the states in the window came from, if it saw the whole batch. */
  #origins({ cells, tail, last }: ShownCells, { sets, at_once }: Touched): WrongCells | null {
    const before = this.#before;
    if (!at_once || last === undefined || before === undefined) return null;
    const { head, n, src0 } = last;
    for (const [id, at] of tail.entries()) {
      const was = before.tail[id]!;
      const inside = at >= head && at < head + n;
      if (at >= 0 && was >= 0 && !inside && at !== was)
        return wrong('INV-RS-6', `cell of sequence ${id}, outside of the window`, at, was);
    }
    if (src0 === undefined) return null;
    for (const [k, from] of src0.entries()) {
      const { seq } = cells[head + k]!;
      if (seq.length === 0) continue;
      const rows = seq.flatMap((id) => (before.tail[id]! < 0 ? [] : [before.tail[id]!]));
      const isSet = sets.some((ids) => sameIds(ids, seq));
      const what = `row that the state of ${named(seq)} in cell ${head + k} came from`;
      if (rows.length > 0) {
        if (rows.includes(from)) continue;
        const owners = from < 0 ? [] : (before.cells[from]?.seq ?? []);
        const got =
          from < 0 ? 'the zero state' : `row ${from} (${owners.length > 0 ? named(owners) : 'nobody'})`;
        return wrong(isSet ? 'INV-RS-13' : 'INV-RS-6', what, got, `row ${[...new Set(rows)].join(' or ')}`);
      }
      // It had no state. A row of zeros that nobody used since is as good as the zero state.
      const content = from < 0 ? 'zero' : (this.#rows[from] ?? 'state');
      if (content === 'state')
        return wrong('INV-RS-11', what, `row ${from}, which holds a state`, 'the zero state');
    }
    return null;
  }

  #keep(call: Call, cells: ShownCells, touched?: Touched): void {
    if (call.op === 'stateLoad') this.#rows.fill('unknown');
    if (touched !== undefined) {
      const { head, n, src0 } = cells.last ?? { head: 0, n: 0 };
      const was = [...this.#rows];
      // What an earlier ubatch of the batch has left is not known.
      if (!touched.at_once || src0 === undefined) this.#rows.fill('unknown');
      else
        for (let k = 0; k < n; k++) {
          const from = src0[k]!;
          this.#rows[head + k] = from < 0 ? 'zero' : (was[from] ?? 'unknown');
        }
    }
    for (const [i, { seq }] of cells.cells.entries()) if (seq.length > 0) this.#rows[i] = 'state';
    this.#before = cells;
  }
}

/**
 * The mask, as a range (spec: batching.md 6.1). A query sees the cells of its first-listed sequence whose positions are
 * not above its own. Cells of a sequence are listed by position, so what it sees is a range of that list, found by
 * binary search: no matrix is built. Lay it beside `oracle/mask.ts`, which asks every cell.
 */

import type { Window } from '../contract/subject.ts';

export type { Window } from '../contract/subject.ts';

/** The smallest position that a query at `pos` sees. */
export function lowestSeen(window: Window | undefined, pos: number): number {
  if (window === undefined) return 0;
  const { kind, size } = window;
  return Math.max(0, kind === 'sliding' ? pos - size + 1 : pos - (pos % size));
}

/** What a mask needs of the cells. */
export interface ListedCells {
  readonly pos: Int32Array;
  readonly list: readonly Int32Array[];
  readonly count: Int32Array;
}

/** How many of the sequence's listed cells have a position below `pos`. */
export function countBelow(cells: ListedCells, seq: number, pos: number): number {
  const list = cells.list[seq]!;
  let low = 0;
  let high = cells.count[seq]!;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (cells.pos[list[middle]!]! < pos) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Begin of the range of keys that a query at `pos` sees. */
export function visibleBegin(cells: ListedCells, seq: number, pos: number, window?: Window): number {
  return window === undefined ? 0 : countBelow(cells, seq, lowestSeen(window, pos));
}

/** End of the range of keys that a query at `pos` sees: it sees itself, and nothing after. */
export function visibleEnd(cells: ListedCells, seq: number, pos: number): number {
  return countBelow(cells, seq, pos + 1);
}

/** Range [begin, end) of the sequence's list that a causal query at `pos` sees. */
export function visibleRange(
  cells: ListedCells,
  seq: number,
  pos: number,
  window?: Window,
): { begin: number; end: number } {
  return { begin: visibleBegin(cells, seq, pos, window), end: visibleEnd(cells, seq, pos) };
}

/**
 * The mask, as a range (spec: batching.md 6.1). A query sees the cells of its first-listed sequence whose positions are
 * not above its own. Cells of a sequence are listed by position, so what it sees is a range of that list, found by
 * binary search: no matrix is built. Lay it beside `oracle/mask.ts`, which asks every cell.
 */

/** What a mask needs of the cells. */
export interface ListedCells {
  readonly pos: Int32Array;
  readonly list: readonly Int32Array[];
  readonly count: Int32Array;
}

/** End of the range of keys that a query at `pos` sees: the number of listed cells with a position <= pos. */
export function visibleEnd(cells: ListedCells, seq: number, pos: number): number {
  const list = cells.list[seq]!;
  let low = 0;
  let high = cells.count[seq]!;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (cells.pos[list[middle]!]! <= pos) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Range [begin, end) of the sequence's list that a causal query at `pos` sees. */
export function visibleRange(cells: ListedCells, seq: number, pos: number): { begin: number; end: number } {
  return { begin: 0, end: visibleEnd(cells, seq, pos) };
}

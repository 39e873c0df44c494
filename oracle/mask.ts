/**
 * Which keys a query sees (spec: batching.md 6.1, 6.2), and the slope of ALiBi (6.5). The rules stand in the order of
 * the specification; "masked" means minus infinity.
 */
import type { Pos, SeqId } from '../contract/batch.ts';

/** Section 1 and 2 of a position with more than one part. */
export interface Pos2d {
  readonly y: number;
  readonly x: number;
}

/** A cell of the cache; an empty one lists no sequence. */
export interface MaskCell {
  readonly pos: Pos;
  readonly seq: readonly SeqId[];
  readonly ext?: Pos2d;
}

/** A query: the first-listed sequence of its token, and its position. */
export interface MaskQuery {
  readonly seq: SeqId;
  readonly pos: Pos;
  readonly ext?: Pos2d;
}

export type SwaKind = 'none' | 'standard' | 'chunked' | 'symmetric';

export interface MaskRules {
  readonly causal: boolean;
  readonly swa: SwaKind;
  /** Width of the window, at least 1; unused for `none`. */
  readonly n_swa: number;
}

export const CAUSAL: MaskRules = { causal: true, swa: 'none', n_swa: 0 };

/** 6.1: true if the query does not see the cell. */
export function masked(cell: MaskCell, query: MaskQuery, rules: MaskRules = CAUSAL): boolean {
  if (cell.seq.length === 0) {
    return true;
  }
  if (!cell.seq.includes(query.seq)) {
    return true;
  }
  if (rules.causal && cell.pos > query.pos) {
    return true;
  }
  if (rules.causal && cell.pos === query.pos && cell.ext && query.ext && after(cell.ext, query.ext)) {
    return true;
  }
  return swaMasked(rules.swa, rules.n_swa, cell.pos, query.pos);
}

/** 6.1 rule 4: of two places at the same position the cell's comes later, by rows. */
function after(cell: Pos2d, query: Pos2d): boolean {
  return cell.y > query.y || (cell.y === query.y && cell.x > query.x);
}

/** 6.2: true if a window of width n_swa hides key position p0 from query position p1. */
export function swaMasked(kind: SwaKind, n_swa: number, p0: Pos, p1: Pos): boolean {
  switch (kind) {
    case 'none':
      return false;
    case 'standard':
      return p1 - p0 >= n_swa;
    case 'chunked':
      return p0 < Math.floor(p1 / n_swa) * n_swa;
    case 'symmetric':
      return Math.abs(p1 - p0) > Math.floor(n_swa / 2);
  }
}

/** 6.5: by how much head h of n_head weighs distance; 1 if the model has no ALiBi (max_bias 0). */
export function slope(h: number, n_head: number, max_bias: number): number {
  if (max_bias === 0) {
    return 1;
  }
  let L = 1;
  while (2 * L <= n_head) {
    L *= 2;
  }
  const m0 = 2 ** (-max_bias / L);
  const m1 = 2 ** (-max_bias / (2 * L));
  return h < L ? m0 ** (h + 1) : m1 ** (2 * (h - L) + 1);
}

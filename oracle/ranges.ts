/** Ranges of positions [p0, p1): a negative p0 means 0, a negative p1 means the end (spec: batching.md 0). */
import type { Pos } from '../contract/batch.ts';

/** The end: positions are signed 32-bit numbers. */
export const POS_END = 2 ** 31 - 1;

/** A range with its negative ends resolved. */
export interface Range {
  readonly p0: Pos;
  readonly p1: Pos;
}

export function range(p0: Pos, p1: Pos): Range {
  return { p0: p0 < 0 ? 0 : p0, p1: p1 < 0 ? POS_END : p1 };
}

export function inRange(pos: Pos, { p0, p1 }: Range): boolean {
  return p0 <= pos && pos < p1;
}

/**
 * Sets of sequence ids as two 32-bit masks, so that up to 64 sequences cost two integer operations. The smallest id of
 * a set is its first-listed one, which speaks for the set (spec: batching.md 0).
 */

/** Sequence ids are below this. */
export const MAX_SEQ = 64;

export function loOf(seq: number): number {
  return seq < 32 ? 1 << seq : 0;
}

export function hiOf(seq: number): number {
  return seq < 32 ? 0 : 1 << (seq - 32);
}

export function has(lo: number, hi: number, seq: number): boolean {
  return ((seq < 32 ? lo >>> seq : hi >>> (seq - 32)) & 1) !== 0;
}

/** Smallest id of a set, -1 if it is empty. */
export function firstOf(lo: number, hi: number): number {
  if (lo !== 0) return 31 - Math.clz32(lo & -lo);
  if (hi !== 0) return 63 - Math.clz32(hi & -hi);
  return -1;
}

function popcount(x: number): number {
  let v = x - ((x >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return (((v + (v >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}

export function sizeOf(lo: number, hi: number): number {
  return popcount(lo) + popcount(hi);
}

/** Ids of a set, ascending. */
export function idsOf(lo: number, hi: number): number[] {
  const ids: number[] = [];
  for (let rest = lo; rest !== 0; rest &= rest - 1) ids.push(31 - Math.clz32(rest & -rest));
  for (let rest = hi; rest !== 0; rest &= rest - 1) ids.push(63 - Math.clz32(rest & -rest));
  return ids;
}

/** Whether a position lies in [p0, p1); a negative p0 means 0, a negative p1 the end. */
export function isIn(pos: number, p0: number, p1: number): boolean {
  return pos >= p0 && (p1 < 0 || pos < p1);
}

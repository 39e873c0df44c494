/**
 * How far a sum of float32 terms may be from the exact one (spec: verdicts.md 4 and 5, rule SUM). For a stated order
 * each partial sum is rounded once; for an unknown order the variance is the expectation over all orders. The worst
 * case is depth * u * sum|t|, with the number of roundings that any term goes through as the depth.
 */
import type { RoundingProfile, SumOrder } from '../contract/subject.ts';
import { U32 } from './rounding.ts';

export interface SumError {
  /** Largest error. */
  b: number;
  variance: number;
}

/** Roundings that a term goes through at most, its own product included. */
export function depthOf(n: number, order: SumOrder): number {
  switch (order.order) {
    case 'any':
    case 'sequential':
      return n;
    case 'double':
      return 0;
    case 'blocks':
      return Math.min(n, order.size) + Math.ceil(n / order.size) - 1;
    case 'lanes':
      return Math.ceil(n / order.lanes) + Math.ceil(Math.log2(Math.min(n, order.lanes) || 1));
  }
}

/** What the terms are: products that are rounded before they are added, products added with one rounding, or numbers. */
export type TermKind = 'products' | 'fused' | 'numbers';

export function productKind(profile: RoundingProfile): TermKind {
  return profile.fma ? 'fused' : 'products';
}

/** Error of the sum of the first n `terms`. The answer belongs to this function until it is called again. */
export function sumError(terms: Float64Array, n: number, order: SumOrder, kind: TermKind): SumError {
  let size = 0;
  let squares = 0;
  let total = 0;
  for (let i = 0; i < n; i++) {
    const t = terms[i]!;
    size += Math.abs(t);
    squares += t * t;
    total += t;
  }
  if (order.order === 'double') {
    result.b = U32 * Math.abs(total);
    result.variance = ((U32 * U32) / 3) * total * total;
    return result;
  }
  const rounded = kind === 'products';
  const depth = depthOf(n, order) + (rounded ? 1 : 0);
  const partials =
    order.order === 'any'
      ? meanPartialSquares(n, squares, total, kind === 'fused')
      : partialSquares(terms, n, order, kind === 'fused');
  result.b = depth * U32 * size;
  result.variance = ((U32 * U32) / 3) * (partials + (rounded ? squares : 0));
  return result;
}

const result: SumError = { b: 0, variance: 0 };
let lanes = new Float64Array(64);

/** Mean over all orders of the sum of squares of the partial sums; `first`: those of one term count too. */
function meanPartialSquares(n: number, squares: number, total: number, first: boolean): number {
  if (n === 0) return 0;
  const all = ((n + 1) / 6) * squares + ((n + 1) / 3) * total * total;
  return first ? all : Math.max(0, all - squares / n);
}

/** Sum of the squares of all partial sums that are rounded; `first`: a chain's first term is rounded too. */
function partialSquares(
  terms: Float64Array,
  n: number,
  order: Exclude<SumOrder, { order: 'any' | 'double' }>,
  first: boolean,
): number {
  if (order.order === 'lanes') return laneSquares(terms, n, order.lanes, first);
  const block = order.order === 'blocks' ? order.size : n;
  let squares = 0;
  let total = 0;
  for (let begin = 0; begin < n; begin += block) {
    const end = Math.min(begin + block, n);
    let sum = terms[begin]!;
    if (first) squares += sum * sum;
    for (let i = begin + 1; i < end; i++) {
      sum += terms[i]!;
      squares += sum * sum;
    }
    total += sum;
    if (begin > 0) squares += total * total;
  }
  return squares;
}

function laneSquares(terms: Float64Array, n: number, width: number, first: boolean): number {
  if (lanes.length < width) lanes = new Float64Array(width);
  lanes.fill(0, 0, width);
  let squares = 0;
  for (let i = 0, lane = 0; i < n; i++) {
    const sum = lanes[lane]! + terms[i]!;
    lanes[lane] = sum;
    if (first || i >= width) squares += sum * sum;
    lane = lane + 1 === width ? 0 : lane + 1;
  }
  for (let left = width; left > 1; ) {
    const half = Math.ceil(left / 2);
    // To add an empty lane is exact.
    for (let i = 0; i + half < Math.min(left, n); i++) {
      const sum = lanes[i]! + lanes[i + half]!;
      lanes[i] = sum;
      squares += sum * sum;
    }
    left = half;
  }
  return squares;
}

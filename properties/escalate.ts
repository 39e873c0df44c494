/**
 * A second look at a row that lies beyond the bound of the variance pass (spec: verdicts.md 1, steps 3 and 4). Keyed
 * runs see the correlated roundings that the variance pass cannot see and can only make bounds wider; Cauchy runs then
 * say how much roundings could do at worst, and so what a divergence is.
 */

import { IsobatchError } from '../contract/errors.ts';
import type { TypeKv } from '../contract/subject.ts';
import { type ForwardOptions, logits, roundedLogits } from '../oracle/forward.ts';
import { CAUCHY_SCALE, cauchy, keyed } from '../oracle/rounding.ts';
import { Routes } from '../oracle/routes.ts';
import type { OracleRow, OracleRows } from './oracle-rows.ts';
import type { MissedBound } from './types.ts';

export const KEYED_RUNS = 64;
export const CAUCHY_RUNS = 31;
/** So many times the estimate of the worst case by Cauchy runs may be too small (15 runs: 4.1 was seen). */
const WORST_CASE_SLACK = 4;

/** Every token goes to the experts that it goes to in this row: a run with random errors must not choose others. */
function pinned(oracle: OracleRows, { entry, routes }: OracleRow, type_kv: TypeKv): ForwardOptions {
  const options = oracle.options(type_kv);
  const noted = new Routes();
  logits(oracle.model, [entry], { ...options, routes, noted });
  return { ...options, routes: noted };
}

/** Standard deviation of each logit over keyed runs, around the exact value. */
export function keyedSigma(oracle: OracleRows, row: OracleRow, type_kv: TypeKv): Float64Array {
  const { entry, carried } = row;
  const options = pinned(oracle, row, type_kv);
  const squares = new Float64Array(carried.v.length);
  for (let run = 0; run < KEYED_RUNS; run++) {
    const y = roundedLogits(oracle.model, [entry], keyed(run, oracle.profile), options)[0]!;
    for (let j = 0; j < y.length; j++) squares[j]! += (y[j]! - carried.v[j]!) ** 2;
  }
  return squares.map((sum) => Math.sqrt(sum / KEYED_RUNS));
}

/** Estimate of the largest error of each logit that roundings can make together. */
export function worstCase(oracle: OracleRows, row: OracleRow, type_kv: TypeKv): Float64Array {
  const { entry, carried } = row;
  const options = pinned(oracle, row, type_kv);
  const runs = Array.from(
    { length: CAUCHY_RUNS },
    (_, run) => roundedLogits(oracle.model, [entry], cauchy(run, oracle.profile), options)[0]!,
  );
  return carried.v.map((v, j) => {
    const moved = runs.map((y) => Math.abs(y[j]! - v)).sort((a, b) => a - b);
    return moved[CAUCHY_RUNS >> 1]! / CAUCHY_SCALE;
  });
}

/** How a difference beyond its bound is to be understood. */
export function grade(difference: number, sigma: number, bound: number, worst: number): MissedBound {
  if (!(worst >= 0 && worst < Infinity)) {
    throw new IsobatchError('internal', `a worst case of ${worst} was estimated`, {
      worst,
      difference,
      harness: true,
    });
  }
  const share = worst > 0 ? difference / worst : Number.MAX_VALUE;
  return {
    bound,
    sigmas: sigma > 0 ? difference / sigma : Number.MAX_VALUE,
    worst_case: share,
    grade: share > WORST_CASE_SLACK ? 'no roundings explain it' : 'a conspiracy of roundings',
  };
}

/**
 * Compares rows with derived bounds. A row is judged by its variance pass; if an element lies beyond, keyed runs widen
 * the bounds of the row, and if it still does, the row diverges and is graded. Two routes of one subject are compared
 * with the bound of their difference, sqrt(2) times that of one (spec: verdicts.md 1.6).
 */

import { IsobatchError } from '../contract/errors.ts';
import { rowWidth, type TypeKv } from '../contract/subject.ts';
import { branchesOf } from './branches.ts';
import { grade, keyedSigma, worstCase } from './escalate.ts';
import type { Spread } from './noise-rows.ts';
import { type OracleRow, type OracleRows, oracleFor } from './oracle-rows.ts';
import type { RoundedBy } from './profiles.ts';
import type { Env, MissedBound } from './types.ts';
import { type BoundsTally, DEFAULT_P, emptyBounds, emptyUse, judge, UseNotes, widthOf } from './verdict.ts';

/** A row of float32 numbers of the subject, and what must come out. */
export interface RowPair {
  readonly got: Float32Array;
  /** Where the row begins. */
  readonly at: number;
  readonly want: ArrayLike<number>;
  readonly wantAt: number;
  /** 1: `want` is exact. 2: it is another answer of the same subject, which rounds as well. */
  readonly routes: 1 | 2;
}

export interface Miss {
  /** The element that is farthest beyond its bound. */
  readonly index: number;
  readonly got: number;
  readonly want: number;
  readonly missed: MissedBound;
}

export interface RowVerdict {
  readonly equal: number;
  readonly rounding: number;
  readonly divergent: number;
  readonly miss: Miss | null;
}

/**
 * After so many confirmed divergences on a model, what lies this far beyond its bound is graded without keyed runs: the
 * campaign has failed already, and no keyed run has made a bound four times as wide.
 */
const CONFIRMED = 3;
const FAR = 10;

const confirmed = new WeakMap<object, number>();

/** Judges the rows of one case, whose context rounds as `params` say. */
export class BoundedRows {
  readonly #tally: BoundsTally = emptyBounds();
  readonly #notes = new Map<string, UseNotes>();
  readonly #env: Env;
  readonly #params: RoundedBy;
  readonly #width: number;
  #failed = false;

  constructor(env: Env, params: RoundedBy) {
    this.#env = env;
    this.#params = params;
    this.#width = widthOf(env.p ?? DEFAULT_P);
  }

  /** Of the rows so far. */
  get tally(): BoundsTally {
    for (const [name, notes] of this.#notes) {
      this.#tally.use[name] ??= emptyUse();
      notes.moveTo(this.#tally.use[name]);
    }
    return this.#tally;
  }

  /** By the oracle's row, or by a spread that was measured. Throws `Undecidable` (`branches.ts`). */
  judge(pair: RowPair, row: OracleRow | Spread): RowVerdict {
    const measured = 'sigma' in row;
    if (measured ? row.ill : row.carried.ill) this.#tally.ill++;
    const sigma = measured ? row.sigma : row.carried.s.map(Math.sqrt);
    const width = rowWidth(this.#env.model, this.#params);
    if (width !== sigma.length) {
      throw new IsobatchError(
        'model',
        `the subject answers rows of ${width} numbers, the model has ${sigma.length}`,
      );
    }
    let verdict = compare(pair, sigma, this.width(pair.routes));
    if (measured) return this.#measured(verdict, pair, sigma);
    // Further rows of a case that has failed are only counted.
    if (verdict.miss !== null && !this.#failed) {
      const other = this.#rerouted(pair, row);
      if (other !== null) return other;
      if (!this.#isPlain(verdict.miss)) verdict = this.#again(pair, row, sigma);
      verdict = this.#graded(verdict, pair, row, sigma);
      this.#failed = verdict.miss !== null;
    }
    this.#note(pair, sigma);
    return verdict;
  }

  /** The verdict if the row, or both, are what follows where routers that rounding may turn choose otherwise. */
  #rerouted(pair: RowPair, row: OracleRow): RowVerdict | null {
    if (row.carried.forks === undefined) return null;
    const branches = branchesOf(this.#oracle, row, this.#type_kv);
    const fitting = (got: Float32Array, at: number): RowVerdict | null => {
      for (const { carried } of branches) {
        const sigma = carried.s.map(Math.sqrt);
        const branch = { got, at, want: carried.v, wantAt: 0, routes: 1 } as const;
        const verdict = compare(branch, sigma, this.width(1));
        if (verdict.miss !== null) continue;
        this.#note(branch, sigma);
        return verdict;
      }
      return null;
    };
    const first = fitting(pair.got, pair.at);
    // Another answer of the subject may have been routed in another way again.
    const second = pair.routes === 1 ? first : fitting(Float32Array.from(pair.want), pair.wantAt);
    if (first === null || second === null) return null;
    this.#tally.rerouted++;
    return pair.routes === 1 ? first : { ...first, equal: 0, rounding: first.equal + first.rounding };
  }

  get #oracle(): OracleRows {
    return oracleFor(this.#env, this.#params);
  }

  get #type_kv(): TypeKv {
    return this.#params.type_kv ?? 'F32';
  }

  /** Nothing is graded and nothing looked at again: copies have no worst case. */
  #measured(verdict: RowVerdict, pair: RowPair, sigma: Float64Array): RowVerdict {
    this.#note(pair, sigma, `${this.#env.modelName} (by copies)`);
    const { miss } = verdict;
    return miss === null
      ? verdict
      : { ...verdict, miss: { ...miss, missed: { ...miss.missed, by: 'copies' } } };
  }

  /** Standard deviations that a bound of one or two routes is wide. */
  width(routes: RowPair['routes']): number {
    return Math.sqrt(routes) * this.#width;
  }

  /** One of many, and far off. */
  #isPlain({ got, want, missed }: Miss): boolean {
    return Math.abs(got - want) > FAR * missed.bound && (confirmed.get(this.#env.loaded) ?? 0) >= CONFIRMED;
  }

  /** With the larger of both standard deviations, which stay in `sigma`. */
  #again(pair: RowPair, row: OracleRow, sigma: Float64Array): RowVerdict {
    this.#tally.escalated++;
    const seen = keyedSigma(this.#oracle, row, this.#type_kv);
    for (let j = 0; j < sigma.length; j++) sigma[j] = Math.max(sigma[j]!, seen[j]!);
    return compare(pair, sigma, this.width(pair.routes));
  }

  #graded(verdict: RowVerdict, pair: RowPair, row: OracleRow, sigma: Float64Array): RowVerdict {
    const { miss } = verdict;
    if (miss === null) return verdict;
    confirmed.set(this.#env.loaded, (confirmed.get(this.#env.loaded) ?? 0) + 1);
    const difference = Math.abs(miss.got - miss.want);
    const worst = worstCase(this.#oracle, row, this.#type_kv)[miss.index]! * pair.routes;
    const missed = grade(difference, sigma[miss.index]!, miss.missed.bound, worst);
    return { ...verdict, miss: { ...miss, missed } };
  }

  #note(pair: RowPair, sigma: Float64Array, name = this.#env.modelName): void {
    const { got, at, want, wantAt } = pair;
    let notes = this.#notes.get(name);
    if (notes === undefined) {
      notes = new UseNotes();
      this.#notes.set(name, notes);
    }
    const width = this.width(pair.routes);
    for (let j = 0; j < sigma.length; j++) {
      const bound = width * sigma[j]!;
      if (bound === 0) this.#tally.exact++;
      else notes.add(Math.abs(got[at + j]! - want[wantAt + j]!) / bound);
    }
  }
}

function compare({ got, at, want, wantAt }: RowPair, sigma: Float64Array, width: number): RowVerdict {
  const counts = { equal: 0, rounding: 0, divergent: 0 };
  let worst = -1;
  let most = 0;
  for (let j = 0; j < sigma.length; j++) {
    const bound = width * sigma[j]!;
    const verdict = judge(got[at + j]!, want[wantAt + j]!, bound);
    counts[verdict]++;
    if (verdict !== 'divergent') continue;
    const share = Math.abs(got[at + j]! - want[wantAt + j]!) / bound;
    // One that is not finite is farther off than any other.
    const far = Number.isNaN(share) ? Number.POSITIVE_INFINITY : share;
    if (worst >= 0 && far <= most) continue;
    worst = j;
    most = far;
  }
  if (worst < 0) return { ...counts, miss: null };
  const [have, wanted] = [got[at + worst]!, want[wantAt + worst]!];
  const missed: MissedBound = {
    bound: width * sigma[worst]!,
    sigmas: sigma[worst]! > 0 ? Math.abs(have - wanted) / sigma[worst]! : Number.MAX_VALUE,
    grade: 'not graded',
  };
  return { ...counts, miss: { index: worst, got: have, want: wanted, missed } };
}

/**
 * Rows behind routers that rounding may turn (spec: verdicts.md 8): where two logits of a router are too near to each
 * other, both choices are right, and so is every row that follows from one of them. Only asked for rows that do not fit
 * what the exact numbers choose.
 */
import type { TypeKv } from '../contract/subject.ts';
import { type Fork, Routes } from '../oracle/routes.ts';
import type { OracleRow, OracleRows } from './oracle-rows.ts';

/** Places of one list at which routers may be undecided; with more of them nothing is said of its rows. */
export const MOST_FORKS = 4;

/** A row cannot be judged: its case is discarded, and counted as skipped. */
export class Undecidable extends Error {
  constructor() {
    super(`more than ${MOST_FORKS} routings of a list are undecided by rounding`);
  }
}

/** The rows of every way to choose, that of the exact numbers first. Throws `Undecidable`. */
export function branchesOf(oracle: OracleRows, row: OracleRow, type_kv: TypeKv): OracleRow[] {
  const found: OracleRow[] = [];
  const follow = (branch: OracleRow, taken: number): void => {
    const forks = branch.carried.forks ?? [];
    if (taken + forks.length > MOST_FORKS) throw new Undecidable();
    const fork = earliest(forks);
    if (fork === undefined) {
      found.push(branch);
      return;
    }
    const { carried, entry, routes = new Routes() } = branch;
    fork.choices.forEach((experts, k) => {
      const along = routes.with(fork, experts);
      // The first choice is the one that was taken.
      const next =
        k === 0
          ? { carried: { ...carried, forks: forks.filter((other) => other !== fork) }, entry, routes: along }
          : oracle.along(entry, along, type_kv);
      follow(next, taken + 1);
    });
  };
  follow(row, 0);
  return found;
}

/** What is chosen in a layer changes the forks of later layers only. */
function earliest(forks: readonly Fork[]): Fork | undefined {
  return forks.reduce<Fork | undefined>(
    (first, fork) => (first === undefined || fork.il < first.il ? fork : first),
    undefined,
  );
}

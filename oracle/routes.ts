/**
 * Which experts a token goes to. A router takes those with the largest logits, and where two logits are so near that
 * the rounding of a correct subject may exchange them, either choice is right (spec: verdicts.md 8): a forward pass
 * notes such forks, and can be told which way to take at each.
 */
import type { Entry } from './entries.ts';

/** Where a router chooses: a token in layer il. */
export interface Place {
  readonly entry: Entry;
  readonly il: number;
}

/** A place at which roundings may decide. */
export interface Fork extends Place {
  /** What may be chosen, each ascending; the first is what the exact logits say. */
  readonly choices: readonly (readonly number[])[];
}

/** Experts by place. */
export class Routes {
  readonly #chosen = new Map<Entry, Map<number, readonly number[]>>();

  at({ entry, il }: Place): readonly number[] | undefined {
    return this.#chosen.get(entry)?.get(il);
  }

  set({ entry, il }: Place, experts: readonly number[]): void {
    let layers = this.#chosen.get(entry);
    if (layers === undefined) {
      layers = new Map();
      this.#chosen.set(entry, layers);
    }
    layers.set(il, experts);
  }

  /** The same, with one place more. */
  with(place: Place, experts: readonly number[]): Routes {
    const copy = new Routes();
    for (const [entry, layers] of this.#chosen)
      for (const [il, chosen] of layers) copy.set({ entry, il }, chosen);
    copy.set(place, experts);
    return copy;
  }
}

/** Numbers of all experts, best first: the larger logit, and of equal ones the lower number. */
function ranked(logits: Float64Array): number[] {
  return Array.from(logits, (_, i) => i).sort((i, j) => logits[j]! - logits[i]! || i - j);
}

/** Numbers of the n largest logits, ties to the lower number, ascending. */
export function largest(logits: Float64Array, n: number): number[] {
  return ascending(ranked(logits).slice(0, n));
}

function ascending(experts: readonly number[]): number[] {
  return [...experts].sort((i, j) => i - j);
}

/**
 * Every choice of n experts that roundings may lead to, the exact one first: two logits may change places if they are
 * less than `reach` standard deviations of their difference apart; `s` are their variances. Ties of numbers that are
 * exact are decided.
 */
export function possibleChoices(logits: Float64Array, s: Float64Array, n: number, reach: number): number[][] {
  const order = ranked(logits);
  const [inside, outside] = [order.slice(0, n), order.slice(n)];
  const near = (i: number, j: number) => logits[i]! - logits[j]! < reach * Math.sqrt(s[i]! + s[j]!);
  const leaving = inside.filter((i) => outside.some((j) => near(i, j)));
  const entering = outside.filter((j) => inside.some((i) => near(i, j)));
  const kept = inside.filter((i) => !leaving.includes(i));
  return subsets([...leaving, ...entering], leaving.length).map((some) => ascending([...kept, ...some]));
}

/** All subsets of `n` elements, that of the first ones first. */
function subsets(list: readonly number[], n: number): number[][] {
  if (n === 0) return [[]];
  if (list.length < n) return [];
  const [first, ...rest] = list;
  return [...subsets(rest, n - 1).map((some) => [first!, ...some]), ...subsets(rest, n)];
}

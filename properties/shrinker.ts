/**
 * Makes a failing case smaller: takes the first candidate of `Property.shrink` that fails in the same way, and starts
 * again from it, until none does or the time is up. Keeping the signature keeps the finding: a smaller case that fails
 * differently is another bug.
 *
 * Where judging a case in full is slow, candidates are only looked at (`first-look.ts`). The smallest so far is judged
 * in full now and then and in the end; if it does not fail then, the search goes back to the last one that did, and
 * takes no look at anything any more. Nobody hears of a smaller case before it was judged in full.
 *
 * Kinds of steps that have just found nothing wait until the others are through, so that the big cuts that cannot
 * succeed any more are not tried before every small one that can. In the end every kind was tried on the last case.
 */
import { createHash } from 'node:crypto';
import { type StepKind, stepKind } from './shrink.ts';
import { Cuts } from './shrink-cuts.ts';
import { tokensOf } from './shrink-model.ts';
import type { Case, Env, Failure, Outcome, Property } from './types.ts';

export interface ShrinkOptions {
  /** When to stop: milliseconds since the epoch. */
  readonly deadline: number;
  /** Keys of candidates that must not be run (again). */
  readonly skip?: Iterable<string>;
  /** Called before a candidate runs: it may take the process with it. */
  readonly announce?: (c: Case, key: string) => void;
  /** Called with each smaller case that was judged in full. */
  readonly smaller?: (failure: Failure) => void;
  /** Called when the announced candidate is taken after a look: if all ends here, it has to be tried again. */
  readonly taken?: () => void;
  /** Judges a case in full. */
  readonly run: (c: Case) => Promise<Outcome>;
  /** Judges it by a first look, or in full if that is as fast (`Outcome.looked`). */
  readonly look?: (c: Case) => Promise<Outcome>;
  /** The environment of a case whose model is not that of `env`. */
  readonly envOf?: (c: Case) => Promise<Env>;
}

export interface ShrinkResult {
  readonly failure: Failure;
  readonly tried: number;
  readonly accepted: number;
}

/** Names the content of a case, for not trying it twice. */
export function caseKey(c: Case): string {
  return createHash('sha256').update(JSON.stringify(c, sorted)).digest('hex').slice(0, 16);
}

/** The order in which fields were written does not make another case. */
function sorted(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * What a signature says of the bug: property, architecture and kind of difference. The vocabulary is left out, which
 * changes when a case moves to a plainer model.
 */
export function findingOf(signature: string): string {
  const [property, arch, ...rest] = signature.split('/');
  return `${property}/${arch}/${rest.at(-1) ?? ''}`;
}

export async function shrinkCase(
  property: Property,
  env: Env,
  failure: Failure,
  options: ShrinkOptions,
): Promise<ShrinkResult> {
  const search = new Search(property, failure, options);
  if (options.look !== undefined && property.rebuild !== undefined && !env.subject.bit_invariant) {
    const now = Date.now();
    const until = now + CUTS * (options.deadline - now);
    await new Cuts(property, env, failure.case, search, until).run();
  }
  do {
    while (await search.step(env.modelName === search.best.case.model ? env : await search.env(env)));
  } while (!(await search.isSure()));
  const { best, tried, accepted } = search;
  return { failure: best, tried, accepted };
}

/** Part of the time that cuts may take. */
const CUTS = 0.85;
/** Cases that are taken after a look before one is judged in full. */
const MOST_LOOKS = 12;
/** Cases of so few tokens are left as they are. */
const SMALL = 5;
const MOST_PAIRS = 150;
const FIRST: ReadonlySet<StepKind | undefined> = new Set(['tokens', 'sequences', 'calls'] as const);
const SECOND: ReadonlySet<StepKind | undefined> = new Set([
  'tokens',
  'sequences',
  'calls',
  'order',
  'names',
  'configuration',
] as const);

function tokensIn({ script }: Case): number {
  return script === undefined ? 0 : tokensOf(script.calls).length;
}

class Search {
  #pairs = MOST_PAIRS;
  best: Failure;
  tried = 0;
  accepted = 0;
  readonly #property: Property;
  readonly #options: ShrinkOptions;
  readonly #finding: string;
  readonly #seen: Set<string>;
  /** Cases of the cuts that fail. */
  readonly #judged = new Map<string, Failure>();
  /** Kinds of steps that found nothing lately. */
  #tired: ReadonlySet<string> = new Set();
  /** The smallest case that was judged in full, and keys of those that were taken after a look since. */
  #sure: Failure;
  #looks: string[] = [];
  #looking: boolean;
  /** Longest time that judging in full took, in milliseconds. */
  #longest = 0;

  constructor(property: Property, failure: Failure, options: ShrinkOptions) {
    this.best = failure;
    this.#sure = failure;
    this.#looking = options.look !== undefined;
    this.#property = property;
    this.#options = options;
    this.#finding = findingOf(failure.signature);
    this.#seen = new Set(options.skip);
  }

  async env(given: Env): Promise<Env> {
    return (await this.#options.envOf?.(this.best.case)) ?? given;
  }

  /** Looks for one smaller case; false if there is none, or no time to look. */
  async step(env: Env): Promise<boolean> {
    const later: Case[] = [];
    const before = new Set<string>();
    for (const candidate of this.#property.shrink(env, this.best.case)) {
      const kind = stepKind(candidate);
      if (kind !== undefined && this.#tired.has(kind)) {
        later.push(candidate);
        continue;
      }
      const found = await this.#try(candidate);
      if (found === undefined) return false;
      if (found) {
        if (kind !== undefined) {
          before.delete(kind);
          this.#tired = new Set([...this.#tired, ...before]);
        }
        return true;
      }
      if (kind !== undefined) before.add(kind);
    }
    this.#tired = new Set();
    for (const candidate of later) {
      const found = await this.#try(candidate);
      if (found !== false) return found === true;
    }
    return this.#twoAtOnce(env);
  }

  /**
   * A token or sequence less and something else besides: two sequences that only balance each other go together. Few
   * tries for the whole search, since most failures do not need them.
   */
  async #twoAtOnce(env: Env): Promise<boolean> {
    if (tokensIn(this.best.case) <= SMALL) return false;
    const { shrink } = this.#property;
    for (const first of shrink(env, this.best.case)) {
      if (!FIRST.has(stepKind(first))) continue;
      for (const second of shrink(env, first)) {
        if (!SECOND.has(stepKind(second))) continue;
        if (this.#pairs <= 0) return false;
        const { tried } = this;
        const found = await this.#try(second);
        this.#pairs -= this.tried - tried;
        if (found !== false) return found === true;
      }
    }
    return false;
  }

  /** For cuts, which keep the best case themselves: the failure of one, judged in full if it fails at a look. */
  async judge(candidate: Case): Promise<Failure | null | undefined> {
    const { deadline, announce, run, look = run, taken } = this.#options;
    if (Date.now() >= deadline) return undefined;
    const key = caseKey(candidate);
    const before = this.#judged.get(key);
    if (before !== undefined || this.#seen.has(key)) return before ?? null;
    this.tried++;
    announce?.(candidate, key);
    let { failure, looked } = await look(candidate);
    if (this.#isSame(failure) && looked === true) ({ failure, looked } = await run(candidate));
    if (!this.#isSame(failure)) {
      this.#seen.add(key);
      return null;
    }
    taken?.();
    this.accepted++;
    const named = { ...failure, signature: this.best.signature };
    this.#judged.set(key, named);
    return named;
  }

  found(failure: Failure): void {
    this.best = failure;
    this.#sure = failure;
    this.#options.smaller?.(failure);
  }

  #isSame(failure: Failure | undefined): failure is Failure {
    return failure !== undefined && findingOf(failure.signature) === this.#finding;
  }

  /** True if it fails in the same way; undefined if the time is up. */
  async #try(candidate: Case): Promise<boolean | undefined> {
    const { deadline, announce, run, look = run } = this.#options;
    // What is left unsure has to be judged in full, too.
    if (Date.now() + (this.#looks.length > 0 ? this.#longest : 0) >= deadline) return undefined;
    const key = caseKey(candidate);
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    this.tried++;
    announce?.(candidate, key);
    const { failure, looked } = await (this.#looking ? look : run)(candidate);
    if (!this.#isSame(failure)) return false;
    // One name for one finding, on whatever model it was made small.
    this.best = { ...failure, signature: this.best.signature };
    if (looked !== true) this.#take();
    else {
      this.#options.taken?.();
      if (this.#looks.push(key) >= MOST_LOOKS) await this.#confirm();
    }
    return true;
  }

  /** The best case is sure. */
  #take(): void {
    this.accepted += 1 + this.#looks.length;
    this.#looks = [];
    this.#sure = this.best;
    this.#options.smaller?.(this.best);
  }

  /** Judges in full what was taken after a look; true if it fails. Otherwise the search is where it was before. */
  async #confirm(): Promise<boolean> {
    const began = Date.now();
    this.tried++;
    this.#options.announce?.(this.best.case, this.#looks.at(-1)!);
    const { failure } = await this.#options.run(this.best.case);
    this.#longest = Math.max(this.#longest, Date.now() - began);
    if (this.#isSame(failure)) {
      this.best = { ...failure, signature: this.best.signature };
      this.#looks.pop();
      this.#take();
      return true;
    }
    // The last one is known now; the others shall be judged in full.
    for (const key of this.#looks.slice(0, -1)) this.#seen.delete(key);
    this.#looks = [];
    this.#looking = false;
    this.best = this.#sure;
    return false;
  }

  /** When nothing is left to try: whether the best case was judged in full. If it was taken wrongly, there is more to do. */
  async isSure(): Promise<boolean> {
    return this.#looks.length === 0 || (await this.#confirm()) || Date.now() >= this.#options.deadline;
  }
}

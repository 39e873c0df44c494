/**
 * The frame of an end-to-end property. A property says how a script is drawn, and what a script demands: another
 * history that must give the same rows, rows that the sequence gives alone, positions. The demands are derived from
 * the script, so a smaller script has its demands at once, and shrinking is the same for all.
 */
import type { ModelInfo, SubjectInfo } from '../contract/subject.ts';
import { overflowOf } from '../golden/recipes.ts';
import { isLegalThere } from './choices.ts';
import { runCase } from './compare.ts';
import { coverScript } from './coverage.ts';
import { type Facts, factsOf } from './facts.ts';
import { caseRandom, type Random } from './random.ts';
import { mark, smallerSteps } from './shrink.ts';
import { vocabularyOf } from './shrink-model.ts';
import { sizeOf } from './shrink-size.ts';
import { isSound, type Trace, trace } from './trace.ts';
import type { Case, Change, Env, Property, Script } from './types.ts';

/** What a script demands. */
export interface Demands {
  readonly base?: Script;
  readonly pairs?: Case['pairs'];
  readonly alone?: Case['alone'];
  readonly positions?: Case['positions'];
  readonly plan?: unknown;
}

/** What is drawn for a case. `base` and `plan` only where the demands cannot be derived without. */
export interface Drawn {
  readonly script: Script;
  readonly base?: Script;
  readonly plan?: unknown;
}

export interface EndToEnd {
  readonly name: string;
  readonly statement: string;
  readonly classes: Property['classes'];
  skip?(subject: SubjectInfo, model: ModelInfo): string | null;
  /** Its histories encode before they decode. */
  readonly encodes?: boolean;
  draw(r: Random, facts: Facts): Drawn;
  /** Null if the script demands nothing (nothing is an output, say). `before`: the case that is made smaller. */
  demand(drawn: Drawn, t: Trace, facts: Facts): Demands | null;
  /** The plan after sequences got new names; only where a plan names sequences. */
  rename?(plan: unknown, names: ReadonlyMap<number, number>): unknown;
}

/** Why no two answers of a subject can be compared, or null. */
function incomparable(subject: SubjectInfo): string | null {
  if (subject.bit_invariant) return null;
  if (subject.rounding === undefined)
    return 'the subject promises neither the same bits for every batch shape nor states how it rounds';
  return null;
}

export function endToEnd(p: EndToEnd): Property {
  /** A case of a drawn script, null if there is nothing to check. */
  const build = (env: Env, index: number, drawn: Drawn, model = env.modelName): Case | null => {
    const facts = factsOf(env);
    const demands = p.demand(drawn, trace(drawn.script, facts), facts);
    if (demands === null) return null;
    const { name: property } = p;
    return {
      version: 1,
      property,
      model,
      seed: env.seed,
      index,
      script: drawn.script,
      ...demands,
    };
  };
  const rebuild = (env: Env, c: Case, change: Change): Case | null => {
    const { script = c.script!, base = c.base, model = c.model, names } = change;
    if (!isSound(script, env.model.memory, vocabularyOf(model, env), overflowOf(model))) return null;
    const facts = factsOf(env);
    if (!isSound(script, facts, vocabularyOf(model, env))) return null;
    if (!isLegalThere(script, facts) || (base !== undefined && !isLegalThere(base, facts))) return null;
    const plan = names === undefined || p.rename === undefined ? c.plan : p.rename(c.plan, names);
    return build(env, c.index, { script, base, plan }, model);
  };
  return {
    name: p.name,
    statement: p.statement,
    white: false,
    classes: p.classes,
    skip(subject, model) {
      const reason = incomparable(subject);
      if (reason !== null) return reason;
      if (model.memory === 'none') return 'the model has no memory, so there are no histories';
      if (model.encoder === 'with decoder' && p.encodes !== true)
        return 'its decoder says nothing before something was encoded (see cross)';
      return p.skip?.(subject, model) ?? null;
    },
    generate(env, index) {
      const facts = factsOf(env);
      const r = caseRandom(env.seed, p.name, facts.family, index);
      // A draw without any output demands nothing; the same random numbers go on to the next one.
      for (let tries = 0; tries < 100; tries++) {
        const c = build(env, index, p.draw(r, facts));
        if (c !== null) return c;
      }
      throw new RangeError(`${p.name} has drawn a hundred histories that demand nothing`);
    },
    run(env, c) {
      coverScript(env.coverage, c.script!, trace(c.script!, env.model.memory));
      return runCase(env, c);
    },
    *shrink(env, c) {
      const facts = factsOf(env);
      // Shrinking must end: every step makes the case smaller.
      const size = sizeOf(c, facts);
      for (const { kind, ...change } of smallerSteps(c, facts)) {
        const smaller = rebuild(env, c, change);
        if (smaller !== null && sizeOf(smaller, facts) < size) yield mark(smaller, kind);
      }
    },
    rebuild,
  };
}

/** Output rows whose list is plain, with the tokens that they have seen. */
export function aloneRows(t: Trace): NonNullable<Case['alone']> {
  const alone: { call: number; index: number; tokens: readonly number[] }[] = [];
  t.calls.forEach(({ tokens }, call) => {
    tokens.forEach(({ output, seen }, index) => {
      if (output && seen !== null) alone.push({ call, index, tokens: seen });
    });
  });
  return alone;
}

/** Every output row of the script with the same row of a base that has the same calls. */
export function samePairs(t: Trace): NonNullable<Case['pairs']> {
  const pairs: [number, number, number, number][] = [];
  t.calls.forEach(({ tokens }, call) => {
    tokens.forEach(({ output }, index) => {
      if (output) pairs.push([call, index, call, index]);
    });
  });
  return pairs;
}

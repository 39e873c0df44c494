/**
 * The frame of an end-to-end property. A property says how a script is drawn, and what a script demands: another
 * history that must give the same rows, rows that the sequence gives alone, positions. The demands are derived from
 * the script, so a smaller script has its demands at once, and shrinking is the same for all.
 */
import type { ModelInfo, SubjectInfo } from '../contract/subject.ts';
import { architectures } from '../oracle/forward.ts';
import { runCase } from './compare.ts';
import { coverScript } from './coverage.ts';
import { type Facts, factsOf } from './facts.ts';
import { caseRandom, type Random } from './random.ts';
import { smallerScripts } from './shrink.ts';
import { isSound, type Trace, trace } from './trace.ts';
import type { Case, Env, Property, Script } from './types.ts';

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
  draw(r: Random, facts: Facts): Drawn;
  /** Null if the script demands nothing (nothing is an output, say). `before`: the case that is made smaller. */
  demand(drawn: Drawn, t: Trace, facts: Facts): Demands | null;
}

/** Why no two answers of a subject can be compared, or null. */
function incomparable(subject: SubjectInfo, model: ModelInfo): string | null {
  if (subject.bit_invariant) return null;
  if (subject.rounding === undefined)
    return 'the subject promises neither the same bits for every batch shape nor states how it rounds';
  if (architectures.includes(model.arch)) return null;
  return `the subject does not promise the same bits, and the oracle has no forward pass for ${model.arch} to derive bounds from`;
}

export function endToEnd(p: EndToEnd): Property {
  /** A case of a drawn script, null if there is nothing to check. */
  const build = (env: Env, index: number, drawn: Drawn): Case | null => {
    const facts = factsOf(env);
    const demands = p.demand(drawn, trace(drawn.script, facts.memory), facts);
    if (demands === null) return null;
    const { name: property } = p;
    return {
      version: 1,
      property,
      model: env.modelName,
      seed: env.seed,
      index,
      script: drawn.script,
      ...demands,
    };
  };
  return {
    name: p.name,
    statement: p.statement,
    white: false,
    classes: p.classes,
    skip(subject, model) {
      const reason = incomparable(subject, model);
      if (reason !== null) return reason;
      if (model.memory === 'none') return 'the model has no memory, so there are no histories';
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
      for (const script of smallerScripts(c.script!, facts)) {
        if (!isSound(script, facts.memory, facts.n_vocab)) continue;
        const smaller = build(env, c.index, { script, base: c.base, plan: c.plan });
        if (smaller !== null && size(smaller) < size(c)) yield smaller;
      }
    },
  };
}

/** Shrinking must end: every step makes this smaller. */
function size(c: Case): number {
  const { params, calls } = c.script!;
  let n = 0;
  for (const call of calls) {
    n += 40;
    if (call.op !== 'decode') continue;
    const { token, seq_id, logits, pos } = call.batch;
    n += 20 * token.length + (pos === undefined ? 1 : 0);
    if (seq_id !== undefined) for (const ids of seq_id) n += ids.length * 4 + Math.max(...ids, 0) / 64;
    if (logits !== undefined) n += 1 + logits.filter(Boolean).length;
  }
  const plain = params.split === 'equal' || params.split === 'simple' ? 0 : 2;
  const extras = ((params.n_keep_tail ?? 0) > 0 ? 2 : 0) + (params.type_kv === 'F16' ? 2 : 0);
  return n + (params.n_ctx + params.n_batch + params.n_ubatch + params.n_seq_max) / 64 + plain + extras;
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

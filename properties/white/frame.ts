/**
 * The frame of a white-box property: one rule of a subject against the same rule of the oracle, by exact equality, and
 * the invariants of the specification checked on the subject's own answer, so that a misreading shared by both shows.
 * No model is needed, and a case costs microseconds.
 */
import { IsobatchError } from '../../contract/errors.ts';
import type { RulesInfo, ShownRules, WhiteBox } from '../../contract/white.ts';
import { failureOf } from '../compare.ts';
import { caseRandom, type Random } from '../random.ts';
import { skipped } from '../skipped.ts';
import type { Case, Coverage, Difference, Env, Outcome, Property } from '../types.ts';

/** What a check has found. */
export interface Checked {
  readonly compared: number;
  readonly tokens: number;
  readonly broken: Broken | null;
}

/** The first thing that is wrong; `rule` is an invariant's name, or `oracle` where the two answers differ. */
export interface Broken {
  readonly rule: string;
  readonly difference: Difference;
}

export function broken(rule: string, what: string, got: unknown, want: unknown, index?: number): Broken {
  const show = (x: unknown): number | string =>
    typeof x === 'number' || typeof x === 'string' ? x : (JSON.stringify(x) ?? 'undefined');
  return { rule, difference: { what, index, got: show(got), want: show(want) } };
}

export type Asked = { readonly check: () => Checked } | { readonly skip: string };

/** What a subject in another process can be asked to split by. */
export type Offered = Pick<RulesInfo, 'policies' | 'keep_tail'>;

export interface WhiteProperty<Input> {
  readonly name: string;
  readonly statement: string;
  readonly classes: Property['classes'];
  /** `offered`: what a subject in another process can be asked; the rest is not drawn. */
  draw(r: Random, offered?: Offered): Input;
  check(subject: WhiteBox, oracle: WhiteBox, input: Input): Checked;
  /**
   * The same check for a subject in another process: asks it first, and gives the check of what it answered, or why it
   * cannot be asked this. What the process throws passes through.
   */
  ask?(rules: ShownRules, oracle: WhiteBox, input: Input): Promise<Asked>;
  cover(coverage: Coverage, input: Input): void;
  shrink(input: Input): Iterable<Input>;
}

export function whiteProperty<Input>(p: WhiteProperty<Input>): Property {
  const caseOf = (env: Env, index: number, white: Input): Case => ({
    version: 1,
    property: p.name,
    model: 'rules',
    seed: env.seed,
    index,
    white,
  });
  return {
    name: p.name,
    statement: p.statement,
    white: true,
    ...(p.ask === undefined ? {} : { asks: true }),
    classes: p.classes,
    skip: () => null,
    generate: (env, index) =>
      caseOf(env, index, p.draw(caseRandom(env.seed, p.name, 'rules', index), offeredBy(env))),
    run(env, c) {
      const { white, shown } = env;
      // No promise where none is needed: a case costs microseconds.
      if (white !== undefined) return judged(p, env, c, () => p.check(white, env.oracle, c.white as Input));
      if (shown === undefined || p.ask === undefined) return skipped(NO_RULES);
      return p
        .ask(shown, env.oracle, c.white as Input)
        .then((asked) => ('skip' in asked ? skipped(asked.skip) : judged(p, env, c, asked.check)));
    },
    *shrink(env, c) {
      for (const input of p.shrink(c.white as Input)) yield caseOf(env, c.index, input);
    },
  };
}

const NO_RULES = 'the subject does not show its rules';

function judged<Input>(p: WhiteProperty<Input>, env: Env, c: Case, check: () => Checked): Outcome {
  p.cover(env.coverage, c.white as Input);
  const { compared, tokens, broken: wrong } = guarded(check);
  const divergent = wrong === null ? 0 : 1;
  const counts = { compared: compared + divergent, equal: compared, rounding: 0, divergent, tokens };
  if (wrong === null) return { status: 'passed', ...counts };
  return { status: 'failed', ...counts, failure: failureOf(env, c, wrong.difference, wrong.rule) };
}

/** The policies of another process; one of them, if the campaign asks for that. */
function offeredBy({ shown, restrict }: Env): Offered | undefined {
  if (shown === undefined) return undefined;
  const { policies, keep_tail } = shown;
  const one = policies.filter((policy) => policy === restrict.split);
  return { policies: one.length > 0 ? one : policies, keep_tail };
}

/** A rule that throws where it should answer is a finding. */
function guarded(check: () => Checked): Checked {
  try {
    return check();
  } catch (error) {
    const got = error instanceof IsobatchError ? `${error.kind}: ${error.message}` : String(error);
    return { compared: 0, tokens: 0, broken: broken('threw', 'the rule', got, 'an answer') };
  }
}

/** The answer, or the kind of refusal. */
export function answerOf<T>(rule: () => T): { readonly value: T } | { readonly refused: string } {
  try {
    return { value: rule() };
  } catch (error) {
    if (error instanceof IsobatchError) return { refused: error.kind };
    throw error;
  }
}

export function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

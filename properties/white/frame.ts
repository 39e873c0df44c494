/**
 * The frame of a white-box property: one rule of a subject against the same rule of the oracle, by exact equality, and
 * the invariants of the specification checked on the subject's own answer, so that a misreading shared by both shows.
 * No model is needed, and a case costs microseconds.
 */
import { IsobatchError } from '../../contract/errors.ts';
import type { WhiteBox } from '../../contract/white.ts';
import { failureOf } from '../compare.ts';
import { caseRandom, type Random } from '../random.ts';
import type { Case, Coverage, Difference, Env, Property } from '../types.ts';

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

export interface WhiteProperty<Input> {
  readonly name: string;
  readonly statement: string;
  readonly classes: Property['classes'];
  draw(r: Random): Input;
  check(subject: WhiteBox, oracle: WhiteBox, input: Input): Checked;
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
    classes: p.classes,
    skip: () => null,
    generate: (env, index) => caseOf(env, index, p.draw(caseRandom(env.seed, p.name, 'rules', index))),
    run(env, c) {
      if (env.white === undefined) {
        return {
          status: 'skipped',
          reason: NO_RULES,
          compared: 0,
          equal: 0,
          rounding: 0,
          divergent: 0,
          tokens: 0,
        };
      }
      const input = c.white as Input;
      p.cover(env.coverage, input);
      const { compared, tokens, broken: wrong } = guarded(() => p.check(env.white!, env.oracle, input));
      const divergent = wrong === null ? 0 : 1;
      const counts = { compared: compared + divergent, equal: compared, rounding: 0, divergent, tokens };
      if (wrong === null) return { status: 'passed', ...counts };
      return { status: 'failed', ...counts, failure: failureOf(env, c, wrong.difference, wrong.rule) };
    },
    *shrink(env, c) {
      for (const input of p.shrink(c.white as Input)) yield caseOf(env, c.index, input);
    },
  };
}

const NO_RULES = 'the subject does not show its rules';

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

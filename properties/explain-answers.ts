/** What the variations of a question gave. */
import type { Question } from './explain-questions.ts';

/** A question with the values that failed and those that did not. */
export interface Answered {
  readonly question: Question;
  readonly fails: readonly (number | string)[];
  readonly passes: readonly (number | string)[];
  readonly complete: boolean;
}

/** The values of a number that fail, ascending; the case's own among them. */
export function failing({ question, fails }: Answered): number[] {
  return [...new Set([question.own, ...fails])].map(Number).sort((a, b) => a - b);
}

export interface Range {
  /** The least value that fails, if a smaller one was tried. */
  readonly least?: number;
  /** The largest value that fails, if a larger one was tried. */
  readonly most?: number;
  /** A value between two that fail does not. */
  readonly holes: boolean;
}

export function rangeOf(answer: Answered): Range {
  const fails = failing(answer);
  const passes = answer.passes.map(Number);
  const [least, most] = [fails[0]!, fails.at(-1)!];
  return {
    least: passes.some((n) => n < least) ? least : undefined,
    most: passes.some((n) => n > most) ? most : undefined,
    holes: passes.some((n) => n > least && n < most),
  };
}

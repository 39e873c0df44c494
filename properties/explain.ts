/**
 * What matters for a failure: runs variations of its (shrunk) case and tells which of them fail in the same way. One
 * variation of each question in turn, so that a budget that ends early has heard something on every important one;
 * a question counts as answered only when all its variations were run.
 */

import { type Answered, failing, rangeOf } from './explain-answers.ts';
import { type Question, type QuestionKind, questionsOf } from './explain-questions.ts';
import { sentenceOf } from './explain-sentence.ts';
import { findingOf } from './shrinker.ts';
import type { Case, Env, ExplainedFact, Explanation, Failure, Outcome, Property } from './types.ts';

export interface ExplainOptions {
  /** When to stop: milliseconds since the epoch. */
  readonly deadline: number;
  /** Runs a case on the model that it names. */
  readonly run: (c: Case) => Promise<Outcome>;
  /** Called now and then with what is known so far, marked as cut: a variation may take the process with it. */
  readonly progress?: (so_far: Explanation) => void;
}

/** Answers so far are told this often. */
const TELL_EVERY = 8;

/** `env`: of the model that the case names. Throws what `run` throws. */
export async function explainFailure(
  property: Property,
  env: Env,
  failure: Failure,
  options: ExplainOptions,
): Promise<Explanation> {
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const finding = findingOf(failure.signature);
  if (finding.includes('/died:'))
    return short('The process ends, so nothing was varied: each variation could end it too.', 0, seconds());
  const fails = async (c: Case): Promise<boolean> => {
    const { failure: found } = await options.run(c);
    return found !== undefined && findingOf(found.signature) === finding;
  };
  if (!(await fails(failure.case)))
    return short(
      'Run alone, the case does not fail: what ran before it in the same process matters.',
      1,
      seconds(),
    );
  const asked = questionsOf(property, env, failure.case).map((question) => new Asked(question));
  if (asked.length === 0)
    return short('It fails each time it is run; nothing of it was varied.', 1, seconds());
  let runs = 1;
  const explanation = (cut: boolean): Explanation => {
    const answers = asked.map((a) => a.answer());
    return {
      sentence: sentenceOf(answers.filter((a) => a.complete)),
      facts: answers.filter((a) => a.fails.length + a.passes.length > 0).map(factOf),
      runs,
      seconds: seconds(),
      cut,
    };
  };
  for (let open = asked; open.length > 0; open = open.filter((a) => !a.done)) {
    for (const a of open) {
      if (Date.now() >= options.deadline) return explanation(true);
      await a.next(fails);
      runs++;
      if (runs % TELL_EVERY === 0) options.progress?.(explanation(true));
    }
  }
  return explanation(false);
}

function short(sentence: string, runs: number, seconds: number): Explanation {
  return { sentence, facts: [], runs, seconds, cut: false };
}

class Asked {
  readonly #question: Question;
  readonly #fails: (number | string)[] = [];
  readonly #passes: (number | string)[] = [];

  constructor(question: Question) {
    this.#question = question;
  }

  get #tried(): number {
    return this.#fails.length + this.#passes.length;
  }

  get done(): boolean {
    return this.#tried === this.#question.variations.length;
  }

  async next(fails: (c: Case) => Promise<boolean>): Promise<void> {
    const variation = this.#question.variations[this.#tried]!;
    const failed = await fails(variation.case);
    (failed ? this.#fails : this.#passes).push(variation.value);
  }

  answer(): Answered {
    return { question: this.#question, fails: this.#fails, passes: this.#passes, complete: this.done };
  }
}

function factOf(answer: Answered): ExplainedFact {
  const { question, fails, passes, complete } = answer;
  const verdict = VERDICTS[question.kind](answer);
  const runs = fails.length + passes.length;
  return { what: question.what, verdict: complete ? verdict : `${verdict} (not all were tried)`, runs };
}

const VERDICTS: Readonly<Record<QuestionKind, (answer: Answered) => string>> = {
  needed: ({ fails }) => (fails.length > 0 ? 'does not matter' : 'must be there'),
  change({ fails, passes }) {
    if (passes.length === 0) return 'does not matter';
    if (fails.length === 0) return 'matters: all others that were tried hide it';
    return `matters: ${passes.length} of ${passes.length + fails.length} others hide it (${passes.join('; ')})`;
  },
  choice({ question, fails, passes }) {
    const all = [question.own, ...fails].filter((value) => value !== undefined);
    return passes.length === 0 ? `any value fails (${all.join(', ')})` : `fails only with ${all.join(', ')}`;
  },
  number(answer) {
    const { least, most, holes } = rangeOf(answer);
    if (holes) return `fails only at ${failing(answer).join(', ')}`;
    if (least !== undefined && most !== undefined)
      return least === most ? `fails only at ${least}` : `fails only from ${least} to ${most}`;
    if (least !== undefined) return `fails only from ${least} on`;
    if (most !== undefined) return `fails only up to ${most}`;
    const all = failing(answer);
    return all.length === 1 ? `${all[0]} fails` : `any value fails (${all[0]} to ${all.at(-1)})`;
  },
};

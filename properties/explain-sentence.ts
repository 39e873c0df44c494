/**
 * One sentence from the answers: at most three clauses, most telling first, and only what was run. What hides the
 * failure comes first, what does not matter last.
 */
import { type Answered, failing, rangeOf } from './explain-answers.ts';

const MOST_CLAUSES = 3;
/** Names in one clause. */
const MOST_NAMES = 4;

/** `answers`: complete ones, most telling first. */
export function sentenceOf(answers: readonly Answered[]): string {
  const idle = idleClause(answers);
  // That another sequence is needed says less than what must have happened to it.
  const must = needed(answers);
  // What shows it only under some policy or on some kernels points at a place in the code.
  const restricts = (a: Answered) => a.question.kind === 'choice' && a.passes.length > 0;
  const rest = answers.filter((a) => a.question.kind !== 'needed');
  const others = [...rest.filter(restricts), ...rest.filter((a) => !restricts(a))].map(clauseOf);
  const operation = answers.some((a) => a.question.about === 'operation' && a.fails.length === 0);
  const telling = (operation ? [must, ...others] : [...others, must]).filter(
    (clause) => clause !== undefined,
  );
  const clauses = telling.slice(0, MOST_CLAUSES - (idle === undefined ? 0 : 1));
  if (idle !== undefined)
    clauses.push(clauses.length === 0 ? `nothing that was tried hides it: ${idle}` : idle);
  if (clauses.length === 0) return 'No question was answered in time.';
  const text = clauses.join('; ');
  // Names of parameters stay as they are written.
  return /^\w+_/.test(text) ? `${text}.` : `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

/** Sequences and calls without which it does not fail. Which decodes are needed says little where there is one. */
function needed(answers: readonly Answered[]): string | undefined {
  const must = answers.filter((a) => a.question.kind === 'needed' && a.fails.length === 0);
  const of = (about: string) => must.filter((a) => a.question.about === about).map((a) => a.question.what);
  const operations = of('operation');
  // "remove sequence 0" says already that there is a sequence 0.
  const seqs = of('sequence')
    .filter((what) => !operations.some((operation) => operation.includes(`${what})`)))
    .map((what) => what.replace('sequence ', ''));
  const sequences =
    seqs.length === 0 ? [] : [`${seqs.length === 1 ? 'sequence' : 'sequences'} ${joined(seqs)}`];
  const first = [...operations, ...sequences];
  const names = first.length > 0 ? first : of('decode');
  return names.length === 0 ? undefined : `${joined(names.slice(0, MOST_NAMES))} must be there`;
}

function clauseOf(answer: Answered): string | undefined {
  const { question, fails, passes } = answer;
  if (passes.length === 0) return undefined;
  const { what, kind, own } = question;
  if (kind === 'number') return numberClause(answer);
  if (kind === 'choice') {
    const values = [...passes].map(String);
    const failed = [own!, ...fails].map(String);
    return values.length <= failed.length && values.length <= MOST_NAMES
      ? `${what} ${joined(values)} ${values.length === 1 ? 'hides' : 'hide'} it`
      : `only ${what} ${joined(failed)} ${failed.length === 1 ? 'shows' : 'show'} it`;
  }
  return `the ${what} matters`;
}

function numberClause(answer: Answered): string {
  const { what, about } = answer.question;
  const { least, most, holes } = rangeOf(answer);
  if (about === 'length') {
    const [, seq, call] = /sequence (\d+) in call (\d+)/.exec(what) ?? [];
    const needs = `sequence ${seq} must have`;
    const where = `in call ${call}`;
    if (holes) return `${needs} ${joined(failing(answer).map(String), 'or')} tokens ${where}`;
    if (least !== undefined && most !== undefined)
      return `${needs} ${least === most ? `exactly ${least}` : `${least} to ${most}`} ${tokens(most)} ${where}`;
    if (least !== undefined) return `${needs} at least ${least} ${tokens(least)} ${where}`;
    return `${needs} no more than ${most} ${tokens(most!)} ${where}`;
  }
  if (holes) return `${what} must be ${joined(failing(answer).map(String), 'or')}`;
  if (least !== undefined && most !== undefined)
    return `${what} must be ${least === most ? least : `${least} to ${most}`}`;
  if (least !== undefined) return `${what} below ${least} hides it`;
  return `${what} above ${most} hides it`;
}

function tokens(n: number): string {
  return n === 1 ? 'token' : 'tokens';
}

function idleClause(answers: readonly Answered[]): string | undefined {
  const idle = answers.filter(({ question, passes }) => {
    if (passes.length > 0) return false;
    return question.kind === 'needed' || question.about !== 'length';
  });
  if (idle.length === 0) return undefined;
  const names = idle.slice(0, MOST_NAMES).map((a) => a.question.what);
  return `${joined(names)} ${names.length > 1 ? 'do' : 'does'} not matter`;
}

/** "a", "a and b", "a, b and c". */
function joined(words: readonly string[], and = 'and'): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} ${and} ${words.at(-1)}`;
}

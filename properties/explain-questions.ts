/**
 * The questions that an explanation asks of a shrunk case, most telling first, each with the variations of the case
 * that answer it. A variation changes one thing; what the case demands is derived anew. Variations that would be
 * illegal, demand nothing, or are the case itself are left out.
 */

import type { SplitPolicy } from '../contract/batch.ts';
import type { ContextParams } from '../contract/subject.ts';
import { CHOICES, leastUbatch } from './choices.ts';
import { lengthVariations, orderVariations } from './explain-batch.ts';
import { type Facts, factsOf } from './facts.ts';
import { repair } from './shrink.ts';
import { fewerShared, withoutSequences } from './shrink-batch.ts';
import { isLegalDecode, replaced, sequencesOf } from './shrink-calls.ts';
import { inRecipeVocabulary, plainerModels, renameTokens, tokensOf } from './shrink-model.ts';
import { renameSequences } from './shrink-names.ts';
import { changed, peakOf } from './shrink-params.ts';
import { caseKey } from './shrinker.ts';
import { fitted } from './transform.ts';
import type { Call, Case, Change, Env, Property, Script } from './types.ts';

/**
 * How a question is answered: `needed`: what is taken away must be there, or not; `number` and `choice`: which values
 * fail; `change`: whether it matters that something is as it is.
 */
export type QuestionKind = 'needed' | 'number' | 'choice' | 'change';

export interface Variation {
  readonly value: number | string;
  readonly case: Case;
}

export interface Question {
  readonly what: string;
  readonly kind: QuestionKind;
  /** The value of the case itself, which fails. */
  readonly own?: number | string;
  readonly variations: readonly Variation[];
  /** An operation, a sequence, a decode, ...: for the sentence. */
  readonly about: 'operation' | 'sequence' | 'decode' | 'configuration' | 'length' | 'order' | 'detail';
}

interface Draft extends Omit<Question, 'variations'> {
  readonly changes: Iterable<readonly [value: number | string, change: Change]>;
}

export function questionsOf(property: Property, env: Env, c: Case): Question[] {
  const rebuild = property.rebuild?.bind(property);
  const facts = property.white ? undefined : factsOf(env);
  if (rebuild === undefined || facts === undefined || c.script === undefined) return whiteQuestions(c);
  const questions: Question[] = [];
  const asked = [...drafts(c, c.script, facts)];
  if (hasOwnBase(c, (change) => rebuild(env, c, change))) askOfBoth(asked, c.base!, facts);
  for (const { changes, ...draft } of asked) {
    const variations: Variation[] = [];
    const seen = new Set([caseKey(c)]);
    for (const [value, change] of changes) {
      if (value === draft.own) continue;
      const varied = rebuild(env, c, change);
      if (varied === null) continue;
      const key = caseKey(varied);
      if (!seen.has(key)) variations.push({ value, case: varied });
      seen.add(key);
    }
    if (variations.length > 0) questions.push({ ...draft, variations });
  }
  return questions;
}

function* drafts(c: Case, script: Script, facts: Facts): Generator<Draft> {
  const { params, calls } = script;
  const change = (part: Partial<ContextParams>): Change => ({
    script: { params: changed(params, part), calls },
  });
  const roomy = params.n_ctx >= peakOf(script, facts);
  const again = (varied: readonly Call[]): Change => {
    const script = repair({ params, calls: varied }, facts);
    // Without a removal there must be room for what it would have removed, where there was room at all.
    const { n_ctx, ...fit } = fitted(params, varied, peakOf(script, facts));
    return { script: { params: { ...fit, n_ctx: roomy ? n_ctx : params.n_ctx }, calls: script.calls } };
  };
  /** On both sides of a comparison, where the other has parameters of its own. */
  const both = (part: Partial<ContextParams>): Change => {
    const { base } = c;
    if (base === undefined) return change(part);
    return { ...change(part), base: { params: changed(base.params, part), calls: base.calls } };
  };
  yield* withoutEach(calls, again, (call) => call.op !== 'decode', 'operation');
  yield* sequences(calls, again);
  yield ubatchSizes(params, calls, change);
  yield {
    what: 'order of the tokens',
    kind: 'change',
    about: 'order',
    changes: orderVariations(calls).map(([name, order]) => [name, again(order)] as const),
  };
  yield* lengths(script, facts);
  yield splits(params, facts, change);
  yield {
    what: 'instruction set',
    kind: 'choice',
    about: 'configuration',
    own: params.isa ?? 'the best',
    changes: facts.isas.map((isa) => [isa, both({ isa })] as const),
  };
  yield {
    what: 'type of K and V',
    kind: 'choice',
    about: 'configuration',
    own: params.type_kv ?? 'F32',
    changes: facts.types_kv.map((type_kv) => [type_kv, both({ type_kv })] as const),
  };
  for (const name of CHOICES) {
    const offered = facts.choices[name] as readonly (boolean | number)[] | undefined;
    if (offered === undefined || offered.length < 2) continue;
    yield {
      what: name,
      kind: 'choice',
      about: 'configuration',
      own: String(params[name] ?? offered[0]),
      changes: offered.map((value) => [String(value), both({ [name]: value })] as const),
    };
  }
  yield* withoutEach(calls, again, isLegalDecode, 'decode');
  yield {
    what: 'sharing of tokens',
    kind: 'change',
    about: 'detail',
    changes: [...fewerShared(calls)].slice(0, 4).map((less, i) => [`less shared ${i}`, again(less)] as const),
  };
  yield* details(c, script, facts, change);
}

/** Whether the other history has parameters of its own, or follows from the first. */
function hasOwnBase(c: Case, rebuild: (change: Change) => Case | null): boolean {
  if (c.base === undefined) return false;
  const params = { ...c.base.params, n_ctx: c.base.params.n_ctx + 1 };
  const other = rebuild({ base: { ...c.base, params } });
  return other !== null && caseKey(other) !== caseKey(c);
}

/** What is asked of the first context is asked of the other too, and named so. */
function askOfBoth(asked: Draft[], base: Script, facts: Facts): void {
  const change = (part: Partial<ContextParams>): Change => ({
    base: { params: changed(base.params, part), calls: base.calls },
  });
  const others: Draft[] = [ubatchSizes(base.params, base.calls, change), splits(base.params, facts, change)];
  for (const other of others) {
    const at = asked.findIndex(({ what }) => what === other.what);
    const first = { ...asked[at]!, what: `${other.what} of the first context` };
    asked.splice(at, 1, first, { ...other, what: `${other.what} of the other context` });
  }
}

function splits(
  { split: own }: ContextParams,
  facts: Facts,
  change: (part: Partial<ContextParams>) => Change,
): Draft {
  return {
    what: 'split policy',
    kind: 'choice',
    about: 'configuration',
    own,
    changes: facts.policies.map(
      (split: SplitPolicy) => [split, change({ split, n_keep_tail: undefined })] as const,
    ),
  };
}

/** A call at a time: is it needed? */
function* withoutEach(
  calls: readonly Call[],
  again: (calls: readonly Call[]) => Change,
  wanted: (call: Call) => boolean,
  about: Question['about'],
): Generator<Draft> {
  if (calls.length < 2) return;
  for (const [at, call] of calls.entries()) {
    if (!wanted(call)) continue;
    const rest = calls.filter((_, i) => i !== at);
    const changes = [['without', again(rest)] as const];
    yield { what: `call ${at} (${describeCall(call)})`, kind: 'needed', about, changes };
  }
}

function* sequences(calls: readonly Call[], again: (calls: readonly Call[]) => Change): Generator<Draft> {
  const all = sequencesOf(calls).reverse();
  if (all.length < 2) return;
  for (const seq of all) {
    const rest = calls.map((call) => withoutSequences(call, new Set([seq]))).filter((call) => call !== null);
    yield {
      what: `sequence ${seq}`,
      kind: 'needed',
      about: 'sequence',
      changes: [['without', again(rest)]],
    };
  }
}

/** All values where they are few; beyond the longest batch a larger one changes nothing. */
function ubatchSizes(
  params: ContextParams,
  calls: readonly Call[],
  change: (part: Partial<ContextParams>) => Change,
): Draft {
  const longest = Math.max(1, ...calls.map((call) => (call.op === 'decode' ? call.batch.token.length : 0)));
  const { n_ubatch, n_batch, n_keep_tail } = params;
  const near = [1, 2, 3, 4, n_ubatch - 1, n_ubatch + 1, longest >> 1, longest - 1, longest, longest + 1];
  const sizes = [...new Set(near)].filter((n) => n >= leastUbatch(params)).sort((a, b) => a - b);
  const tail = (n: number) =>
    n_keep_tail === undefined ? {} : { n_keep_tail: Math.min(n_keep_tail, n - 1) };
  return {
    what: 'n_ubatch',
    kind: 'number',
    about: 'configuration',
    own: n_ubatch,
    changes: sizes.map(
      (n) => [n, change({ n_ubatch: n, n_batch: Math.max(n_batch, n), ...tail(n) })] as const,
    ),
  };
}

/** Places at which the number of tokens is varied. */
const MOST_LENGTHS = 6;

function* lengths({ params, calls }: Script, facts: Facts): Generator<Draft> {
  let left = MOST_LENGTHS;
  for (const [at, call] of calls.entries()) {
    if (!isLegalDecode(call)) continue;
    for (const seq of sequencesOf([call]).reverse()) {
      const [own, varied] = lengthVariations(call, seq, facts.n_vocab);
      if (own === 0 || left-- <= 0) continue;
      yield {
        what: `tokens of sequence ${seq} in call ${at}`,
        kind: 'number',
        about: 'length',
        own,
        changes: varied.map(([n, batch]) => {
          const room = batch.token.length - call.batch.token.length;
          const script = repair({ params, calls: replaced(calls, at, { op: 'decode', batch }) }, facts);
          const { n_ctx, n_batch } = params;
          const roomy = {
            ...params,
            n_ctx: n_ctx + Math.max(0, room),
            n_batch: Math.max(n_batch, batch.token.length),
          };
          return [n, { script: { params: roomy, calls: script.calls } }] as const;
        }),
      };
    }
  }
}

function* details(
  c: Case,
  script: Script,
  facts: Facts,
  change: (part: Partial<ContextParams>) => Change,
): Generator<Draft> {
  const { params, calls } = script;
  yield {
    what: 'number of cells',
    kind: 'change',
    about: 'detail',
    changes: [1, 16].map((more) => [`${more} more`, change({ n_ctx: params.n_ctx + more })] as const),
  };
  const max = Math.max(0, ...tokensOf(calls));
  const other = (token: number): number =>
    token < 0 || token >= facts.n_vocab
      ? token
      : max < facts.n_vocab - 1
        ? token + 1
        : facts.n_vocab - 1 - token;
  yield {
    what: 'choice of tokens',
    kind: 'change',
    about: 'detail',
    changes: [['others', { script: renameTokens(script, other) }]],
  };
  yield {
    what: 'naming of the sequences',
    kind: 'change',
    about: 'detail',
    changes: renamings(script).map(([name, names]) => [name, renameSequences(script, names)] as const),
  };
  yield {
    what: 'model',
    kind: 'choice',
    about: 'detail',
    own: c.model,
    changes: otherModels(c, facts).flatMap((model) => {
      const moved = inRecipeVocabulary(script, facts.n_vocab);
      return moved === null ? [] : [[model, { script: moved, model }] as const];
    }),
  };
}

function renamings(script: Script): (readonly [string, ReadonlyMap<number, number>])[] {
  const ids = sequencesOf(script.calls).filter((id) => id < script.params.n_seq_max);
  const backwards = new Map([...ids].map((id, i) => [id, ids[ids.length - 1 - i]!]));
  const around = new Map(ids.map((id, i) => [id, ids[(i + 1) % ids.length]!]));
  return ids.length < 2
    ? []
    : [
        ['backwards', backwards],
        ['around', around],
      ];
}

function otherModels(c: Case, facts: Facts): string[] {
  const arch = facts.family.split('/')[0]!;
  const known = plainerModels('any other', arch);
  const [smallest] = known;
  const wanted = new Set([smallest, `recipe:${arch}`, `recipe:${arch}-f16`]);
  // A recipe that nobody knows has no relatives.
  if (c.model.startsWith('recipe:') && !known.includes(c.model)) return [];
  return known.filter((model) => wanted.has(model) && model !== c.model);
}

/** Words for a call: "remove sequence 0". */
export function describeCall(call: Call): string {
  switch (call.op) {
    case 'encode':
    case 'decode': {
      const n = call.batch.token.length;
      return `${call.refused === undefined ? call.op : `refused ${call.op}`} of ${n} ${n === 1 ? 'token' : 'tokens'}`;
    }
    case 'seqRm':
      return `remove ${call.seq < 0 ? 'all sequences' : `sequence ${call.seq}`}${range(call.p0, call.p1)}`;
    case 'seqCp':
      return `copy sequence ${call.from} to ${call.to}${range(call.p0, call.p1)}`;
    case 'seqKeep':
      return `keep only sequence ${call.seq}`;
    case 'seqAdd':
      return `move sequence ${call.seq} by ${call.by}${range(call.p0, call.p1)}`;
    case 'seqDiv':
      return `divide positions of sequence ${call.seq} by ${call.by}${range(call.p0, call.p1)}`;
    case 'clear':
      return 'clear';
    case 'stateSave':
      return `save ${call.seq === undefined ? 'everything' : `sequence ${call.seq}`} as ${call.slot}`;
    case 'stateLoad': {
      const what = call.cut === undefined ? call.slot : `${call.slot} without its last ${call.cut} bytes`;
      return `load ${what}${call.seq === undefined ? '' : ` into sequence ${call.seq}`}`;
    }
    case 'newContext':
      return 'new context';
  }
}

function range(p0: number, p1: number): string {
  if (p0 <= 0) return p1 < 0 ? '' : ` up to position ${p1 - 1}`;
  return p1 < 0 ? ` from position ${p0} on` : `, positions ${p0} to ${p1 - 1}`;
}

/** The rule of splitting has options that can be varied; histories of slots and cells are left as they are. */
function whiteQuestions(c: Case): Question[] {
  const input = c.white as
    | { options?: { policy?: string; n_ubatch?: number; n_keep_tail?: number } }
    | undefined;
  const options = input?.options;
  if (options?.n_ubatch === undefined) return [];
  const own = options.n_ubatch;
  const least = (options.n_keep_tail ?? 0) + 1;
  const sizes = [1, 2, 3, 4, own - 1, own + 1, 2 * own].filter((n) => n >= least && n !== own);
  const variations = [...new Set(sizes)]
    .sort((a, b) => a - b)
    .map((n) => ({ value: n, case: { ...c, white: { ...input, options: { ...options, n_ubatch: n } } } }));
  if (variations.length === 0) return [];
  return [{ what: 'n_ubatch', kind: 'number', about: 'configuration', own, variations }];
}

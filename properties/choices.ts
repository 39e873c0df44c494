/**
 * Context parameters that only some subjects offer (`SubjectInfo.choices`): one cache or one a sequence, full or small
 * caches of windows, flash attention, threads, embeddings instead of logits. What is drawn, what a history demands of
 * them, and what is plainer.
 *
 * The demands are legal differences of llama.cpp: tokens of several sequences and ranged copies need one cache for
 * all, and flash attention keeps K and V in F16.
 */
import type { Choices, ContextParams } from '../contract/subject.ts';
import type { Facts } from './facts.ts';
import type { Random } from './random.ts';
import { isLarge } from './sample.ts';
import { idsOf } from './trace.ts';
import type { Call, Env, Script } from './types.ts';

export const CHOICES = [
  'kv_unified',
  'swa_full',
  'flash_attn',
  'n_threads',
  'embeddings',
  'n_rs_seq',
] as const;
export type Choice = (typeof CHOICES)[number];

type Values = Partial<Pick<ContextParams, Choice>>;

/** The choices that mean something for a model. */
export function choicesOf({
  subject,
  model,
  restrict,
}: Pick<Env, 'subject' | 'model'> & Partial<Pick<Env, 'restrict'>>): Choices {
  const {
    kv_unified,
    swa_full,
    flash_attn,
    n_threads: offered,
    embeddings,
    n_rs_seq,
  } = subject.choices ?? {};
  // Threads of ggml wait for each other by spinning: on a machine that does something else too a case takes a hundred
  // times as long, and looks like a hang. So they are drawn only if somebody asks for them.
  const n_threads = offered === undefined ? undefined : restrict?.n_threads;
  const attention = model.memory === 'attention' || model.memory === 'hybrid';
  return {
    ...(kv_unified === undefined ? {} : { kv_unified }),
    ...(swa_full === undefined || model.windowed !== true ? {} : { swa_full }),
    ...(flash_attn === undefined || !attention ? {} : { flash_attn }),
    ...(n_rs_seq === undefined || model.rollback !== true ? {} : { n_rs_seq }),
    ...(n_threads === undefined ? {} : { n_threads }),
    // An encoder has no logits to choose instead, and the bounds of a large model are measured for one kind of row.
    ...(embeddings === undefined || model.encoder !== undefined || isLarge(model) ? {} : { embeddings }),
  };
}

/** What a history needs: parameters that must have these values. */
export function demandedChoices(calls: readonly Call[], facts: Facts): Values {
  const { choices, legal } = facts;
  const out: { -readonly [K in keyof Values]: Values[K] } = {};
  if (choices.kv_unified !== undefined && legal.shared_needs_unified && calls.some(couples))
    out.kv_unified = true;
  // Keys of a window are turned only where its cache is as large as the others.
  if (choices.swa_full !== undefined && calls.some(moves)) out.swa_full = true;
  return out;
}

function couples(call: Call): boolean {
  if (call.op === 'seqCp') return !(call.p0 <= 0 && call.p1 < 0);
  return call.op === 'decode' && call.batch.token.some((_, i) => idsOf(call.batch, i).length > 1);
}

function removesNothing(call: Call): boolean {
  return call.op === 'seqRm' && call.p1 >= 0 && Math.max(call.p0, 0) >= call.p1;
}

function moves(call: Call): boolean {
  return call.op === 'seqAdd' || call.op === 'seqDiv';
}

/** What a window has forgotten does not come back; whoever changes a part must ask first what is still there. */
function cutsPart(call: Call): boolean {
  if (call.op === 'seqDiv') return true;
  return (
    (call.op === 'seqRm' || call.op === 'seqCp' || call.op === 'seqAdd') && !(call.p0 <= 0 && call.p1 < 0)
  );
}

/** Flash attention rounds to F16, so the sharp half of the cases is larger; embeddings need answers of their own. */
const PLAIN_SHARE: Partial<Record<Choice, number>> = { flash_attn: 0.75, embeddings: 0.75 };

/** Values for a history: mostly the plain one. Draws nothing where there is no choice. */
export function drawChoices(r: Random, calls: readonly Call[], facts: Facts): Values {
  const { choices } = facts;
  const drawn: Record<string, unknown> = {};
  for (const name of CHOICES) {
    const offered = choices[name];
    // What is kept of states is part of the history.
    if (offered === undefined || name === 'n_rs_seq') continue;
    drawn[name] = r.chance(PLAIN_SHARE[name] ?? 0.5) ? offered[0] : r.pick(offered as readonly unknown[]);
  }
  return { ...(drawn as Values), ...demandedChoices(calls, facts) };
}

/** Whether a history is legal for this subject: its parameters are what it demands, and no call is undefined there. */
export function isLegalThere({ params, calls }: Script, facts: Facts): boolean {
  const state = facts.memory === 'recurrent' || facts.memory === 'hybrid';
  if (facts.unwatched && calls.some(cutsPart)) return false;
  if (state && facts.legal.no_empty_ranges && calls.some(removesNothing)) return false;
  const demanded = demandedChoices(calls, facts);
  // What is not said is the subject's plain way, which takes everything.
  for (const name of CHOICES) {
    const want = demanded[name];
    if (want !== undefined && params[name] !== undefined && params[name] !== want) return false;
  }
  if (facts.legal.rollback_in_ubatch && params.n_ubatch < leastUbatch(params)) return false;
  return !(params.flash_attn && facts.types_kv.includes('F16') && (params.type_kv ?? 'F32') !== 'F16');
}

/** The smallest n_ubatch that every subject takes: where states are kept, all of them and one more token fit. */
export function leastUbatch({ n_rs_seq = 0 }: Pick<ContextParams, 'n_rs_seq'>): number {
  return n_rs_seq === 0 ? 1 : n_rs_seq + 2;
}

/** Plainer values, one at a time. */
export function* plainerChoices(params: ContextParams, facts: Facts): Generator<Values> {
  for (const name of CHOICES) {
    const offered = facts.choices[name] as readonly unknown[] | undefined;
    const at = offered?.indexOf(params[name]) ?? -1;
    for (let i = 0; i < at; i++) yield { [name]: offered![i] } as Values;
  }
}

/** Places behind the plainest values, for the size of a case. */
export function rankOfChoices(params: ContextParams, facts: Facts): number {
  let rank = 0;
  for (const name of CHOICES) {
    const offered = facts.choices[name] as readonly unknown[] | undefined;
    if (params[name] !== undefined) rank += Math.max(0, offered?.indexOf(params[name]) ?? 0);
  }
  return rank;
}

/** What of a context decides which numbers its rows hold. */
export type Numerics = Pick<ContextParams, 'type_kv' | 'flash_attn' | 'embeddings'>;

/** Rows of the same numerics may be kept and compared as one. */
export function numericsOf({ type_kv, flash_attn, embeddings }: Numerics): string {
  return `${type_kv ?? 'F32'}${flash_attn ? '+flash' : ''}${embeddings ? '+embeddings' : ''}`;
}

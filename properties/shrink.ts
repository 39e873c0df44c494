/**
 * Smaller cases, most promising first: on a plainer model, with fewer calls, sequences and tokens, with neighbouring
 * decodes merged, plainer operations and parameters, smaller numbers. Positions are counted anew; whether a script is
 * still legal is decided by `isSound`, and whether a step really makes the case smaller by `sizeOf`, not here.
 *
 * Why not the shrinkers of fast-check: its arrays and subarrays drop elements from the front, where a history has what
 * the failure needs, and every candidate of theirs would have to be repaired as ours are (positions, ranges, sets of
 * sequences), while loading the library costs a worker as much time as fifty tries. `CaseArbitrary` gives these steps
 * to fast-check instead, as its stream of shrunk values.
 */
import { orderVariations } from './explain-batch.ts';
import type { Facts } from './facts.ts';
import { Lists } from './lists.ts';
import {
  fewerOutputs,
  fewerSequences,
  fewerShared,
  fewerTokens,
  shorterRanges,
  thinned,
} from './shrink-batch.ts';
import { explicit, fewerCalls, mergedDecodes, plainerOperations } from './shrink-calls.ts';
import { inRecipeVocabulary, plainerModels } from './shrink-model.ts';
import { smallerSequenceIds, smallerTokenIds } from './shrink-names.ts';
import { changed, peakOf, plainerKernels, plainerParams, tightened } from './shrink-params.ts';
import { applyCall, idsOf } from './trace.ts';
import type { Call, Case, Change, Script } from './types.ts';

/** Steps of one kind succeed or fail together: a case without a call to spare has none to spare on the next try. */
export type StepKind =
  | 'model'
  | 'calls'
  | 'sequences'
  | 'tokens'
  | 'merge'
  | 'operations'
  | 'shared'
  | 'configuration'
  | 'names'
  | 'tokens named'
  | 'outputs'
  | 'order'
  | 'rare models'
  | 'fields';

export interface Step extends Change {
  readonly kind: StepKind;
}

const kinds = new WeakMap<Case, StepKind>();

/** Remembers which kind of step has led to a case. */
export function mark(c: Case, kind: StepKind): Case {
  kinds.set(c, kind);
  return c;
}

export function stepKind(c: Case): StepKind | undefined {
  return kinds.get(c);
}

export function* smallerSteps(c: Case, facts: Facts): Generator<Step> {
  const script = c.script!;
  const { params, calls } = script;
  const cut = cutter(script, facts);
  const step = (kind: StepKind, varied: readonly Call[]): Step => ({ kind, script: cut(varied) });
  const models = plainerModels(c.model, archOf(facts));
  yield* onModels('model', script, models.slice(0, 1), facts);
  for (const less of fewerCalls(calls)) yield step('calls', less);
  for (const less of thinned(calls)) yield step('tokens', less);
  for (const less of fewerSequences(calls)) yield step('sequences', less);
  yield { kind: 'configuration', script: { params: tightened(script, facts), calls } };
  yield* namedTokens(c, facts);
  for (const less of mergedDecodes(calls)) {
    const merged = step('merge', less);
    yield { ...merged, script: roomy(merged.script!) };
  }
  for (const less of fewerTokens(calls)) yield step('tokens', less);
  for (const less of shorterRanges(calls)) yield step('tokens', less);
  for (const less of plainerOperations(calls)) yield step('operations', less);
  for (const less of fewerShared(calls)) yield step('shared', less);
  for (const [, sorted] of orderVariations(calls).slice(0, 2)) yield step('order', sorted);
  for (const plainer of plainerParams(script, facts)) yield { kind: 'configuration', script: plainer };
  if (c.base !== undefined) {
    const { base } = c;
    for (const plainer of plainerParams(base, facts, params)) yield { kind: 'configuration', base: plainer };
  }
  for (const renamed of smallerSequenceIds(script)) yield { kind: 'names', ...renamed };
  yield* plainerKernelsOf(c, facts);
  for (const less of fewerOutputs(calls)) yield step('outputs', less);
  yield* onModels('rare models', script, models.slice(1), facts);
  yield step('fields', calls.map(explicit));
}

/** Makes the script of other calls, with positions counted anew. */
export function cutter(script: Script, facts: Facts): (calls: readonly Call[]) => Script {
  const { params } = script;
  const full = peakOf(script, facts) >= params.n_ctx;
  return (calls) => {
    const repaired = repair({ params, calls }, facts);
    // Where memory was full to the last cell it stays so: that may be what the failure needs.
    return full ? { ...repaired, params: tightened(repaired, facts) } : repaired;
  };
}

/**
 * Tokens 0, 1, ... Before kernels and sizes are chosen one by one: what a list of the campaign's token tree says alone
 * is computed by changing kernels, what others say by the plainest. Where those were right and the tree's wrong, the
 * failure only stays if the history gets the plain shape of the tree's at the same time.
 */
function* namedTokens(c: Case, facts: Facts): Generator<Step> {
  const { params } = c.script!;
  const sizes = c.alone === undefined ? [] : [1, 2].filter((n) => n < params.n_ubatch);
  for (const { calls } of smallerTokenIds(c.script!, facts.n_vocab)) {
    yield { kind: 'tokens named', script: { params, calls } };
    for (const n_ubatch of sizes) {
      const part = { n_ubatch, n_keep_tail: undefined };
      yield { kind: 'tokens named', script: { params: changed(params, part), calls } };
    }
  }
}

/** Plainer kernels, on both sides of a comparison before one of them. */
function* plainerKernelsOf({ script, base }: Case, facts: Facts): Generator<Step> {
  const kind = 'configuration';
  if (base !== undefined) {
    for (const isa of facts.isas) {
      const on = (side: Script): Script => ({ params: { ...side.params, isa }, calls: side.calls });
      yield { kind, script: on(script!), base: on(base) };
    }
    for (const plainer of plainerKernels(base, facts)) yield { kind, base: plainer };
  }
  for (const plainer of plainerKernels(script!, facts)) yield { kind, script: plainer };
}

function archOf(facts: Facts): string {
  return facts.family.split('/')[0]!;
}

function* onModels(kind: StepKind, script: Script, models: readonly string[], facts: Facts): Generator<Step> {
  for (const model of models) {
    const moved = inRecipeVocabulary(script, facts.n_vocab);
    if (moved !== null) yield { kind, script: moved, model };
  }
}

/** Parameters that take the longest batch. */
function roomy({ params, calls }: Script): Script {
  let n_batch = params.n_batch;
  for (const call of calls)
    if (call.op === 'decode' && call.refused === undefined)
      n_batch = Math.max(n_batch, call.batch.token.length);
  return { params: { ...params, n_batch }, calls };
}

/** An encoder begins anew with each batch. */
function encodedAnew(call: Extract<Call, { op: 'encode' }>): Call {
  const next = new Map<number, number>();
  const pos = call.batch.token.map((_, i) => {
    const ids = idsOf(call.batch, i);
    const at = next.get(ids[0] ?? 0) ?? 0;
    for (const id of ids) next.set(id, at + 1);
    return at;
  });
  return { ...call, batch: { ...call.batch, pos } };
}

/** Counts positions anew where a batch gives them and is not refused. */
export function repair(script: Script, facts: Facts): Script {
  const lists = new Lists(script.params.n_seq_max, facts.memory);
  const calls = script.calls.map((call): Call => {
    if (call.op === 'encode') return encodedAnew(call);
    if (call.op !== 'decode' || call.refused !== undefined) {
      applyCall(lists, call);
      return call;
    }
    const pos = call.batch.token.map((token, i) => lists.append(token, idsOf(call.batch, i)).pos);
    lists.endBatch();
    return call.batch.pos === undefined ? call : { ...call, batch: { ...call.batch, pos } };
  });
  return { params: script.params, calls };
}

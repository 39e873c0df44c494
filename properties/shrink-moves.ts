/**
 * Other forms of a list of calls, for cuts (`shrink-cuts.ts`): tokens less, twice, in another order or in an earlier
 * batch, two batches as one. What makes no legal case is found out by whoever takes them.
 */
import type { Facts } from './facts.ts';
import type { Random } from './random.ts';
import { pick } from './shrink-batch.ts';
import { type DecodeCall, explicit, isLegalDecode, mergedBatches } from './shrink-calls.ts';
import { peakOf } from './shrink-params.ts';
import { idsOf, isOutput, trace } from './trace.ts';
import type { Call, Script } from './types.ts';

/** Sequences that follow each other begin their lists so far apart: no key of a short window is also another's. */
const APART = 37;

/** A token of a batch. */
export interface Place {
  readonly call: number;
  readonly index: number;
}

/** Tokens that come a batch earlier, and others that are left out; null if there is no earlier batch. */
export function movedAndCut(
  calls: readonly Call[],
  moved: readonly Place[],
  cut: readonly Place[],
): Call[] | null {
  const call = moved[0]!.call;
  const to = calls.slice(0, call).findLastIndex(isLegalDecode);
  if (to < 0) return null;
  const [from, into] = [calls[call] as DecodeCall, calls[to] as DecodeCall];
  const batch = mergedBatches(
    explicit(into).batch,
    pick(
      explicit(from).batch,
      moved.map(({ index }) => index),
    ),
  );
  return without(
    calls.map((c, i) => (i === to ? { ...into, batch } : c)),
    [...moved, ...cut],
  );
}

export function tokensIn(calls: readonly Call[]): number {
  return calls.reduce((n, call) => n + (call.op === 'decode' ? call.batch.token.length : 0), 0);
}

export function longest(calls: readonly Call[]): number {
  return Math.max(0, ...calls.map((call) => (isLegalDecode(call) ? call.batch.token.length : 0)));
}

/** A decode and the next one as one batch, without what was done between them; null if there are not two. */
export function withNext(calls: readonly Call[], c: number): Call[] | null {
  const call = calls[c];
  const to = calls.findIndex((later, i) => i > c && isLegalDecode(later));
  const next = calls[to];
  if (!isLegalDecode(call) || !isLegalDecode(next)) return null;
  const batch = mergedBatches(explicit(call).batch, explicit(next).batch);
  return [...calls.slice(0, c), { ...call, batch }, ...calls.slice(to + 1)];
}

/** A token of a batch somewhere else in it. */
export function reordered(calls: readonly Call[], { call, index }: Place, r: Random): Call[] {
  return calls.map((old, c) => {
    if (c !== call || !isLegalDecode(old)) return old;
    const order = old.batch.token.map((_, i) => i).filter((i) => i !== index);
    order.splice(r.below(order.length + 1), 0, index);
    return { ...old, batch: pick(explicit(old).batch, order) };
  });
}

/** Tokens of a batch twice, one beside the other. */
export function repeated(calls: readonly Call[], places: readonly Place[]): Call[] {
  return calls.map((call, c) => {
    if (c !== places[0]!.call || !isLegalDecode(call)) return call;
    const twice = new Set(places.map(({ index }) => index));
    const order = call.batch.token.flatMap((_, i) => (twice.has(i) ? [i, i] : [i]));
    return { ...call, batch: pick(explicit(call).batch, order) };
  });
}

/** Parameters that take so many tokens. */
export function roomy({ params, calls }: Script, facts: Facts): Script {
  const n_batch = Math.max(params.n_batch, longest(calls));
  const n_ctx = Math.max(params.n_ctx, peakOf({ params, calls }, facts));
  return { params: { ...params, n_batch, n_ctx }, calls };
}

/** The tokens of one set of sequences in one batch. */
export function blocksOf(calls: readonly Call[]): Place[][] {
  return calls.flatMap((call, c) => {
    if (!isLegalDecode(call)) return [];
    const blocks = new Map<string, Place[]>();
    for (let index = 0; index < call.batch.token.length; index++) {
      const name = idsOf(call.batch, index).join();
      blocks.set(name, [...(blocks.get(name) ?? []), { call: c, index }]);
    }
    return [...blocks.values()];
  });
}

export function without(calls: readonly Call[], places: readonly Place[]): Call[] {
  return calls.flatMap((call, c): Call[] => {
    if (call.op !== 'decode') return [call];
    const out = new Set(places.filter((p) => p.call === c).map((p) => p.index));
    if (out.size === 0) return [call];
    const keep = call.batch.token.map((_, i) => i).filter((i) => !out.has(i));
    return keep.length === 0 ? [] : [{ ...call, batch: pick(call.batch, keep) }];
  });
}

/**
 * Each sequence says the same tokens from its first position on, whatever is cut: then what it says alone, and what
 * rounding can do to it, is known from the cases before.
 */
export function withRegularTokens(script: Script, facts: Facts): Script {
  const { calls } = trace(script, facts.memory);
  return {
    params: script.params,
    calls: calls.map(({ call, tokens }) =>
      isLegalDecode(call)
        ? {
            ...call,
            batch: {
              ...call.batch,
              token: tokens.map(({ ids, pos }) => (pos + APART * ids[0]!) % facts.n_vocab),
            },
          }
        : call,
    ),
  };
}

export function withAllOutputs({ params, calls }: Script): Script {
  const all = calls.map(
    (call): Call =>
      isLegalDecode(call) && call.batch.token.some((_, i) => !isOutput(call.batch, i))
        ? { ...call, batch: { ...call.batch, logits: call.batch.token.map(() => true) } }
        : call,
  );
  return { params, calls: all };
}

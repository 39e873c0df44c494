/** Variations of batches for explanations: other orders of the sequences, other numbers of tokens. */
import type { Batch } from '../contract/batch.ts';
import { type DecodeCall, explicit, isLegalDecode } from './shrink-calls.ts';
import { idsOf } from './trace.ts';
import type { Call } from './types.ts';

/** The calls with the tokens of each batch in another order; tokens of one sequence stay in theirs. */
export function orderVariations(calls: readonly Call[]): (readonly [name: string, calls: Call[]])[] {
  const all = (order: (sets: Sets) => number[]): Call[] =>
    calls.map((call) => (isLegalDecode(call) ? reordered(call, order(setsOf(call.batch))) : call));
  const by = (sign: number) => (sets: Sets) =>
    [...sets.values()].sort((a, b) => b.size - a.size || sign * (a.first - b.first)).flatMap((s) => s.at);
  return [
    ['one sequence after the other', all(by(1))],
    ['one sequence after the other, last first', all(by(-1))],
    ['sequences in turn', all((sets) => inTurn([...sets.values()].map((s) => s.at)))],
    ['sequences in turn, last first', all((sets) => inTurn([...sets.values()].map((s) => s.at).reverse()))],
  ];
}

/** By exact set of sequences: how many, the smallest id, and the places of its tokens. */
type Sets = ReadonlyMap<string, { readonly size: number; readonly first: number; readonly at: number[] }>;

function setsOf(batch: Batch): Sets {
  const sets = new Map<string, { size: number; first: number; at: number[] }>();
  for (let i = 0; i < batch.token.length; i++) {
    const ids = [...idsOf(batch, i)].sort((a, b) => a - b);
    const set = sets.get(ids.join()) ?? { size: ids.length, first: ids[0] ?? 0, at: [] };
    set.at.push(i);
    sets.set(ids.join(), set);
  }
  return sets;
}

function inTurn(lists: readonly (readonly number[])[]): number[] {
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, k) => lists.flatMap((list) => list[k] ?? [])).flat();
}

function reordered(call: DecodeCall, order: readonly number[]): Call {
  return { ...call, batch: taken(explicit(call).batch, order) };
}

function taken(batch: Batch, at: readonly number[]): Batch {
  return {
    token: at.map((i) => batch.token[i]!),
    pos: at.map((i) => batch.pos![i]!),
    seq_id: at.map((i) => batch.seq_id![i]!),
    logits: at.map((i) => batch.logits![i]!),
  };
}

/**
 * How many tokens of its own a sequence has in a call, and the batch with other numbers of them: fewer from the end,
 * more behind the last, which no output asks for.
 */
export function lengthVariations(
  call: DecodeCall,
  seq: number,
  n_vocab: number,
): readonly [own: number, varied: readonly (readonly [number, Batch])[]] {
  const { batch } = explicit(call);
  const at = batch.token
    .map((_, i) => i)
    .filter((i) => idsOf(batch, i).length === 1 && idsOf(batch, i)[0] === seq);
  const own = at.length;
  if (own === 0) return [0, []];
  const fewer = [...new Set([own - 1, own - 2, 1])].filter((n) => n > 0 && n < own);
  const varied = fewer.map((n) => {
    const out = new Set(at.slice(n));
    return [
      n,
      taken(
        batch,
        batch.token.map((_, i) => i).filter((i) => !out.has(i)),
      ),
    ] as const;
  });
  for (const more of [1, 2]) varied.push([own + more, longer(batch, at.at(-1)!, seq, more, n_vocab)]);
  return [own, varied];
}

function longer(batch: Batch, last: number, seq: number, more: number, n_vocab: number): Batch {
  const put = <T>(list: readonly T[], value: (k: number) => T): T[] => [
    ...list.slice(0, last + 1),
    ...Array.from({ length: more }, (_, k) => value(k)),
    ...list.slice(last + 1),
  ];
  return {
    token: put(batch.token, (k) => n_vocab - 1 - k),
    pos: put(batch.pos!, (k) => k),
    seq_id: put(batch.seq_id!, () => [seq]),
    logits: put(batch.logits!, () => false),
  };
}

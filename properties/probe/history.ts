/**
 * A history for a probe: every token that a script evaluates becomes an event with its own token, and everything else
 * stays (calls, ids, positions, parameters). Plain lists say what each query must see (DESIGN "A sequence is a list of
 * entries"), also after removals, copies, keep and clear.
 *
 * Tokens of batches that are to be refused get events too, as far as ids reach: a refused batch that left something
 * behind is then seen.
 */
import type { Batch, MemoryKind } from '../../contract/batch.ts';
import { Lists } from '../lists.ts';
import { applyCall, idsOf, isOutput } from '../trace.ts';
import type { Call, Script } from '../types.ts';

type Decode = Extract<Call, { op: 'decode' }>;

/** A token that the script evaluates (or offers in a batch that must be refused). Its id is its place in `events`. */
export interface Event {
  readonly id: number;
  readonly call: number;
  /** Place in its batch. */
  readonly index: number;
  /** Ascending. */
  readonly seqs: readonly number[];
  readonly pos: number;
  readonly refused: boolean;
  /** It is none of the script's own: it asks what memory holds after the script. */
  readonly asked: boolean;
}

/** What a row must say. */
export interface Query {
  readonly event: Event;
  /** Events that it sees, oldest first, itself last. */
  readonly sees: readonly number[];
  /** The query before it in its sequence, if that is what its state goes on from. */
  readonly before: Query | null;
  /** Events that some sequence holds when its call begins. */
  readonly held: ReadonlySet<number>;
}

export interface History {
  readonly events: readonly Event[];
  /** By call; null for calls that evaluate nothing. */
  readonly queries: readonly (readonly Query[] | null)[];
}

/** Tokens that a script evaluates. */
export function countEvents(script: Script): number {
  let n = 0;
  for (const call of script.calls)
    if (call.op === 'decode' && call.refused === undefined) n += call.batch.token.length;
  return n;
}

/** `n_calls`: what comes after so many calls only asks (see `askedAfter`). */
export function historyOf(
  script: Script,
  memory: MemoryKind,
  n_ids: number,
  n_calls = script.calls.length,
): History {
  const lists = new Lists(script.params.n_seq_max, memory);
  const events: Event[] = [];
  const byId: Query[] = [];
  const queries = script.calls.map((call, c) => {
    if (call.op !== 'decode' || call.refused !== undefined) {
      applyCall(lists, call);
      return null;
    }
    const held = heldBy(lists);
    return call.batch.token.map((_, index) => {
      const ids = idsOf(call.batch, index);
      const id = events.length;
      const previous = lists.owned(ids[0]!).at(-1);
      const { pos } = lists.append(id, ids);
      const seqs = [...ids].sort((a, b) => a - b);
      const event = { id, call: c, index, seqs, pos, refused: false, asked: c >= n_calls };
      events.push(event);
      const before = previous === undefined ? null : byId[previous.token]!;
      const query = { event, sees: lists.tokens(ids[0]!), before, held };
      byId.push(query);
      return query;
    });
  });
  script.calls.forEach((call, c) => {
    if (call.op === 'decode' && call.refused !== undefined) offerEvents(call, c, events, n_ids);
  });
  return { events, queries };
}

function heldBy(lists: Lists): Set<number> {
  const held = new Set<number>();
  for (let seq = 0; seq < lists.n_seq_max; seq++) for (const e of lists.owned(seq)) held.add(e.token);
  return held;
}

function offerEvents({ batch }: Decode, call: number, events: Event[], n_ids: number): void {
  for (let index = 0; index < batch.token.length && events.length < n_ids; index++) {
    const seqs = [...idsOf(batch, index)].sort((a, b) => a - b);
    const pos = batch.pos?.[index] ?? -1;
    events.push({ id: events.length, call, index, seqs, pos, refused: true, asked: false });
  }
}

/** A token that no vocabulary has, in any width that a subject may keep it in. */
const NO_TOKEN = 2 ** 30;

/** The script on a probe. `outputs`: every token is one, or those of the script. */
export function relabel(
  script: Script,
  { events }: History,
  token: (id: number) => number,
  outputs: 'all' | 'own',
): Script {
  const names = new Map(events.map((e) => [`${e.call} ${e.index}`, token(e.id)]));
  const tokensOf = (batch: Batch, c: number): number[] =>
    batch.token.map((_, i) => names.get(`${c} ${i}`) ?? 0);
  const calls = script.calls.map((call, c): Call => {
    if (call.op !== 'decode') return call;
    const renamed = tokensOf(call.batch, c);
    if (call.refused === 'batch.token') spoil(renamed, call.batch.token);
    const batch: { -readonly [K in keyof Batch]: Batch[K] } = { ...call.batch, token: renamed };
    // Whatever makes another refused batch illegal lies in its other fields.
    if (call.refused !== undefined) return { ...call, batch };
    if (outputs === 'all') batch.logits = renamed.map(() => true);
    return { ...call, batch };
  });
  return { params: script.params, calls };
}

/**
 * The first calls of a script, and then one token more in every sequence, in a context with room for them. A batch that
 * must be refused for want of cells would be accepted there; an empty removal takes its place, so that calls keep
 * their numbers.
 */
export function askedAfter({ params, calls }: Script, n_calls: number): Script {
  const nothing: Call = { op: 'seqRm', seq: 0, p0: 0, p1: 0 };
  const first = calls
    .slice(0, n_calls)
    .map((call) => (call.op === 'decode' && call.refused === 'memory.full' ? nothing : call));
  const more = Array.from({ length: params.n_seq_max }, (_, seq): Call => {
    return { op: 'decode', batch: { token: [0], seq_id: [[seq]] } };
  });
  return {
    params: { ...params, n_ctx: params.n_ctx + params.n_seq_max },
    calls: [...first, ...more],
  };
}

/** True if some token is not an output. */
export function leavesOut(script: Script): boolean {
  return script.calls.some(
    (call) =>
      call.op === 'decode' &&
      call.refused === undefined &&
      call.batch.token.some((_, i) => !isOutput(call.batch, i)),
  );
}

/** Keeps a batch illegal whose token is not in the vocabulary: the probe has another vocabulary. */
function spoil(renamed: number[], tokens: readonly number[]): void {
  const negative = tokens.findIndex((t) => !Number.isInteger(t) || t < 0);
  if (negative >= 0) renamed[negative] = tokens[negative]!;
  else renamed[tokens.indexOf(Math.max(...tokens))] = NO_TOKEN;
}

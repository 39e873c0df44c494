/** Smaller histories as lists of calls: without some calls, neighbouring decodes as one, operations as plainer ones. */
import type { Batch } from '../contract/batch.ts';
import { idsOf, isOutput } from './trace.ts';
import type { Call, MoveCall } from './types.ts';

export type DecodeCall = Extract<Call, { op: 'decode' }>;

export function replaced(calls: readonly Call[], at: number, call: Call): Call[] {
  return calls.map((old, i) => (i === at ? call : old));
}

/** A decode that must succeed. */
export function isLegalDecode(call: Call | undefined): call is DecodeCall {
  return call?.op === 'decode' && call.refused === undefined;
}

/** Without a half, a quarter, ..., one of a list; the end first, for what comes after a failure never matters. */
export function* chunks(length: number): Generator<readonly [from: number, to: number]> {
  for (let n = length >> 1; n >= 1; n >>= 1) {
    for (let at = length - n; at >= 0; at -= n) yield [at, at + n];
  }
}

export function* fewerCalls(calls: readonly Call[]): Generator<Call[]> {
  for (const [from, to] of chunks(calls.length)) yield [...calls.slice(0, from), ...calls.slice(to)];
  yield* withoutSlots(calls);
}

/** Without a state that is kept, and without what needs it. */
function* withoutSlots(calls: readonly Call[]): Generator<Call[]> {
  const needs = (call: Call, slot: string): boolean =>
    (call.op === 'stateSave' || call.op === 'stateLoad') && call.slot === slot;
  const slots = new Set(calls.flatMap((call) => (call.op === 'stateSave' ? [call.slot] : [])));
  for (const slot of slots) yield calls.filter((call) => !needs(call, slot));
}

/** Ids of all sequences that occur, in order of appearance. */
export function appearance(calls: readonly Call[]): number[] {
  const seqs = new Set<number>();
  for (const call of calls) {
    if (call.op === 'decode' || call.op === 'encode') {
      for (let i = 0; i < call.batch.token.length; i++) for (const s of idsOf(call.batch, i)) seqs.add(s);
    } else if (call.op === 'seqCp') seqs.add(call.from).add(call.to);
    else if (call.op === 'clear' || call.op === 'newContext') continue;
    else if (call.seq !== undefined) seqs.add(call.seq);
  }
  seqs.delete(-1);
  return [...seqs];
}

/** The same, largest first. */
export function sequencesOf(calls: readonly Call[]): number[] {
  return appearance(calls).sort((a, b) => b - a);
}

/** Every run of neighbouring decodes as one batch, then one pair at a time. */
export function* mergedDecodes(calls: readonly Call[]): Generator<Call[]> {
  const all: Call[] = [];
  for (const call of calls) {
    const last = all.at(-1);
    if (isLegalDecode(last) && isLegalDecode(call)) all[all.length - 1] = joined(last, call);
    else all.push(call);
  }
  if (calls.length - all.length > 1) yield all;
  for (let c = calls.length - 2; c >= 0; c--) {
    const [a, b] = [calls[c], calls[c + 1]];
    if (isLegalDecode(a) && isLegalDecode(b))
      yield [...calls.slice(0, c), joined(a, b), ...calls.slice(c + 2)];
  }
}

function joined(a: DecodeCall, b: DecodeCall): DecodeCall {
  return { op: 'decode', batch: mergedBatches(explicit(a).batch, explicit(b).batch) };
}

/** One batch after the other, both with every field. */
export function mergedBatches(x: Batch, y: Batch): Batch {
  const both = <K extends keyof Batch>(field: K) => [...x[field]!, ...y[field]!] as unknown as Batch[K];
  return { token: both('token'), pos: both('pos'), seq_id: both('seq_id'), logits: both('logits') } as Batch;
}

/** Every field of a legal batch is given: what a story can show. Positions are to be counted anew. */
export function explicit(call: DecodeCall): DecodeCall;
export function explicit(call: Call): Call;
export function explicit(call: Call): Call {
  if (!isLegalDecode(call)) return call;
  const { batch } = call;
  const n = batch.token.map((_, i) => i);
  return {
    ...call,
    batch: {
      ...batch,
      pos: batch.pos ?? n,
      seq_id: batch.seq_id ?? n.map(() => [0]),
      logits: batch.logits ?? n.map((i) => isOutput(batch, i)),
    },
  };
}

/** Removals and copies of whole sequences, of one sequence instead of all, and of smaller ranges. */
export function* plainerOperations(calls: readonly Call[]): Generator<Call[]> {
  const seqs = sequencesOf(calls);
  for (let c = calls.length - 1; c >= 0; c--) {
    for (const plainer of plainerOperation(calls[c]!, seqs)) yield replaced(calls, c, plainer);
  }
}

function* plainerOperation(call: Call, seqs: readonly number[]): Generator<Call> {
  if (call.op === 'stateLoad') {
    for (const cut of smallerNumbers(call.cut ?? 0, 1)) yield { ...call, cut };
    return;
  }
  if (call.op === 'newContext') {
    yield { op: 'clear' };
    for (const name of Object.keys(call.params ?? {})) yield { ...call, params: without(call.params!, name) };
    return;
  }
  if (call.op === 'decode' || call.op === 'encode' || call.op === 'clear' || call.op === 'stateSave') return;
  if (call.refused !== undefined) return;
  if (call.op === 'seqKeep') {
    for (const seq of seqs) yield { op: 'seqRm', seq, p0: 0, p1: -1 };
    return;
  }
  if (call.op === 'seqRm' && call.seq < 0) for (const seq of seqs) yield { ...call, seq };
  if (call.op === 'seqAdd' || call.op === 'seqDiv') yield* plainerMove(call);
  const { p0, p1 } = call;
  if (p0 !== 0 || p1 >= 0) yield { ...call, p0: 0, p1: -1 };
  if (p1 >= 0) yield { ...call, p1: -1 };
  for (const lower of smallerNumbers(p0, 0)) yield { ...call, p0: lower };
  for (const lower of smallerNumbers(p1, Math.max(p0, 0) + 1)) yield { ...call, p1: lower };
}

/** Shorter steps, up rather than down, and a step instead of a division. */
function* plainerMove(call: MoveCall): Generator<Call> {
  const least = call.op === 'seqDiv' ? 2 : 1;
  for (const by of smallerNumbers(Math.abs(call.by), least)) {
    yield { ...call, by };
    if (call.by < 0) yield { ...call, by: -by };
  }
  if (call.op === 'seqDiv') yield { ...call, op: 'seqAdd', by: 1 };
}

function without<T extends object>(record: T, name: string): Partial<T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => key !== name)) as Partial<T>;
}

/** `least`, then half the way back to `n`, and so on up to n - 1. */
export function* smallerNumbers(n: number, least: number): Generator<number> {
  for (let at = least; at < n; at = Math.max(at + 1, (at + n) >> 1)) yield at;
}

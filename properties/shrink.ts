/**
 * Smaller scripts, most promising first: fewer calls, fewer sequences, fewer tokens, fewer outputs, plainer
 * parameters. Positions are counted anew; whether a script is still legal is decided by `isSound`, not here.
 */
import type { Batch } from '../contract/batch.ts';
import type { ContextParams } from '../contract/subject.ts';
import type { Facts } from './facts.ts';
import { needsOf } from './generate/params.ts';
import { Lists } from './lists.ts';
import { applyCall, idsOf, isOutput } from './trace.ts';
import type { Call, Script } from './types.ts';

type DecodeCall = Extract<Call, { op: 'decode' }>;

export function* smallerScripts(script: Script, facts: Facts): Generator<Script> {
  const { params, calls } = script;
  const again = (changed: readonly Call[]): Script => repair({ params, calls: changed }, facts);
  for (const changed of fewerCalls(calls)) yield again(changed);
  for (const seq of sequencesOf(calls))
    yield again(calls.map((c) => without(c, seq)).filter((c) => c !== null));
  for (const changed of fewerTokens(calls)) yield again(changed);
  yield* plainerParams(script, facts);
  for (const changed of fewerOutputs(calls)) yield again(changed);
  yield again(calls.map((c) => (c.op === 'decode' && c.refused === undefined ? explicit(c) : c)));
}

/** Without a half, a quarter, ..., one call. */
function* fewerCalls(calls: readonly Call[]): Generator<Call[]> {
  for (let n = calls.length >> 1; n >= 1; n >>= 1) {
    for (let at = calls.length - n; at >= 0; at -= n) yield [...calls.slice(0, at), ...calls.slice(at + n)];
  }
}

function sequencesOf(calls: readonly Call[]): number[] {
  const seqs = new Set<number>();
  for (const call of calls) {
    if (call.op === 'decode') {
      for (let i = 0; i < call.batch.token.length; i++) for (const s of idsOf(call.batch, i)) seqs.add(s);
    } else if (call.op === 'seqCp') seqs.add(call.from).add(call.to);
    else if (call.op !== 'clear') seqs.add(call.seq);
  }
  return [...seqs].sort((a, b) => b - a);
}

/** The call as it is when there is no such sequence; null if nothing is left of it. */
function without(call: Call, seq: number): Call | null {
  if (call.op === 'clear') return call;
  if (call.op === 'seqCp') return call.from === seq || call.to === seq ? null : call;
  if (call.op !== 'decode') return call.seq === seq ? null : call;
  const keep: number[] = [];
  for (let i = 0; i < call.batch.token.length; i++) {
    if (idsOf(call.batch, i).some((id) => id !== seq)) keep.push(i);
  }
  if (keep.length === 0) return call.batch.token.length === 0 ? call : null;
  const batch = pick(call.batch, keep);
  const seq_id = batch.seq_id?.map((ids) => (ids.length > 1 ? ids.filter((id) => id !== seq) : ids));
  return { ...call, batch: seq_id === undefined ? batch : { ...batch, seq_id } };
}

/** A batch of some of its tokens. */
function pick(batch: Batch, keep: readonly number[]): Batch {
  const part: { -readonly [K in keyof Batch]: Batch[K] } = { token: keep.map((i) => batch.token[i]!) };
  if (batch.pos !== undefined) part.pos = keep.map((i) => batch.pos![i]!);
  if (batch.seq_id !== undefined) part.seq_id = keep.map((i) => batch.seq_id![i]!);
  if (batch.logits !== undefined) part.logits = keep.map((i) => batch.logits![i]!);
  return part;
}

/** Without a half, a quarter, ..., one token of a batch; from its end first. */
function* fewerTokens(calls: readonly Call[]): Generator<Call[]> {
  for (let c = calls.length - 1; c >= 0; c--) {
    const call = calls[c]!;
    if (call.op !== 'decode') continue;
    const n_tokens = call.batch.token.length;
    for (let n = n_tokens >> 1; n >= 1; n >>= 1) {
      for (let at = n_tokens - n; at >= 0; at -= n) {
        const keep: number[] = [];
        for (let i = 0; i < n_tokens; i++) if (i < at || i >= at + n) keep.push(i);
        yield replaced(calls, c, { ...call, batch: pick(call.batch, keep) });
      }
    }
  }
}

/** Only the last output of a call, or one output less. */
function* fewerOutputs(calls: readonly Call[]): Generator<Call[]> {
  for (let c = 0; c < calls.length; c++) {
    const call = calls[c]!;
    if (call.op !== 'decode' || call.refused !== undefined) continue;
    const on = call.batch.token.map((_, i) => i).filter((i) => isOutput(call.batch, i));
    if (on.length === 0) continue;
    const flags = (keep: (i: number) => boolean): Call[] =>
      replaced(calls, c, {
        ...call,
        batch: { ...call.batch, logits: call.batch.token.map((_, i) => keep(i)) },
      });
    yield flags(() => false);
    if (on.length < 2) continue;
    for (const one of on.slice(0, 16)) yield flags((i) => i === one);
    for (const one of on.slice(0, 16)) yield flags((i) => i !== one && isOutput(call.batch, i));
  }
}

function replaced(calls: readonly Call[], at: number, call: Call): Call[] {
  return calls.map((old, i) => (i === at ? call : old));
}

/** One ubatch token, the plainest policy, no extras, no more cells and ids than needed. */
function* plainerParams(script: Script, facts: Facts): Generator<Script> {
  const { params, calls } = script;
  const change = (part: Partial<ContextParams>): Script => ({ params: { ...params, ...part }, calls });
  const plain = facts.memory === 'attention' ? 'simple' : 'equal';
  if (params.split !== plain && facts.policies.includes(plain))
    yield change({ split: plain, n_keep_tail: 0 });
  if ((params.n_keep_tail ?? 0) > 0) yield change({ n_keep_tail: 0 });
  if (params.type_kv === 'F16') yield change({ type_kv: 'F32' });
  for (let n = 1; n < Math.min(params.n_ubatch, 5); n++) yield change({ n_ubatch: n });
  const tight = tightened(script, facts);
  yield { params: tight, calls };
  // One id less where the largest one is not used at all.
  const largest = Math.max(-1, ...sequencesOf(calls));
  if (largest + 1 < params.n_seq_max) yield change({ n_seq_max: Math.max(1, largest + 1) });
}

function tightened(script: Script, facts: Facts): ContextParams {
  const { params, calls } = script;
  const lists = new Lists(params.n_seq_max, facts.memory);
  let peak = 1;
  for (const call of calls) {
    applyCall(lists, call);
    peak = Math.max(peak, lists.used);
  }
  const { longest_call } = needsOf(calls, peak);
  const n_batch = Math.min(params.n_batch, longest_call);
  return {
    ...params,
    n_ctx: Math.min(params.n_ctx, peak),
    n_batch,
    n_ubatch: Math.min(params.n_ubatch, n_batch),
  };
}

/** Every field is given: what a story can show. */
function explicit(call: DecodeCall): Call {
  const { batch } = call;
  const n = batch.token.map((_, i) => i);
  return {
    ...call,
    batch: { ...batch, pos: batch.pos ?? n, logits: batch.logits ?? n.map((i) => isOutput(batch, i)) },
  };
}

/** Counts positions anew where a batch gives them and is not refused. */
function repair(script: Script, facts: Facts): Script {
  const lists = new Lists(script.params.n_seq_max, facts.memory);
  const calls = script.calls.map((call): Call => {
    if (call.op !== 'decode' || call.refused !== undefined) {
      applyCall(lists, call);
      return call;
    }
    const pos = call.batch.token.map((token, i) => lists.append(token, idsOf(call.batch, i)).pos);
    return call.batch.pos === undefined ? call : { ...call, batch: { ...call.batch, pos } };
  });
  return { params: script.params, calls };
}

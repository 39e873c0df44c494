/** Smaller batches in a history: fewer sequences, tokens, shared tokens, outputs. */
import type { Batch } from '../contract/batch.ts';
import { chunks, isLegalDecode, replaced, sequencesOf } from './shrink-calls.ts';
import { idsOf, isOutput } from './trace.ts';
import type { Call } from './types.ts';

/** A batch of some of its tokens. */
export function pick(batch: Batch, keep: readonly number[]): Batch {
  const part: { -readonly [K in keyof Batch]: Batch[K] } = { token: keep.map((i) => batch.token[i]!) };
  if (batch.pos !== undefined) part.pos = keep.map((i) => batch.pos![i]!);
  if (batch.seq_id !== undefined) part.seq_id = keep.map((i) => batch.seq_id![i]!);
  if (batch.logits !== undefined) part.logits = keep.map((i) => batch.logits![i]!);
  return part;
}

export function pickWhere(batch: Batch, wanted: (i: number) => boolean): Batch {
  return pick(
    batch,
    batch.token.map((_, i) => i).filter((i) => wanted(i)),
  );
}

/** Without the upper half of the sequences, then without one. */
export function* fewerSequences(calls: readonly Call[]): Generator<Call[]> {
  const seqs = sequencesOf(calls);
  const drop = (out: ReadonlySet<number>): Call[] =>
    calls.map((call) => withoutSequences(call, out)).filter((call) => call !== null);
  for (const [from, to] of chunks(seqs.length)) yield drop(new Set(seqs.slice(from, to)));
}

/** The call as it is when there are no such sequences; null if nothing is left of it. */
export function withoutSequences(call: Call, out: ReadonlySet<number>): Call | null {
  if (call.op === 'clear' || call.op === 'newContext') return call;
  if (call.op === 'seqCp') return out.has(call.from) || out.has(call.to) ? null : call;
  if (call.op !== 'decode' && call.op !== 'encode')
    return call.seq !== undefined && out.has(call.seq) ? null : call;
  const { batch } = call;
  if (batch.token.length === 0) return call;
  const left = pickWhere(batch, (i) => idsOf(batch, i).some((id) => !out.has(id)));
  if (left.token.length === 0) return null;
  const seq_id = left.seq_id?.map((ids) => (ids.length > 1 ? ids.filter((id) => !out.has(id)) : ids));
  return { ...call, batch: seq_id === undefined ? left : { ...left, seq_id } };
}

/** At most one, two, four tokens of each set of sequences in each batch. */
export function* thinned(calls: readonly Call[]): Generator<Call[]> {
  for (const most of [1, 2, 4]) {
    let changed = false;
    const thin = calls.map((call) => {
      if (!isLegalDecode(call)) return call;
      const seen = new Map<string, number>();
      const batch = pickWhere(call.batch, (i) => {
        const set = idsOf(call.batch, i).join();
        const n = (seen.get(set) ?? 0) + 1;
        seen.set(set, n);
        return n <= most;
      });
      changed ||= batch.token.length < call.batch.token.length;
      return { ...call, batch };
    });
    if (changed) yield thin;
  }
}

/** Without a half, a quarter, ..., one token of a batch; from its end first. */
export function* fewerTokens(calls: readonly Call[]): Generator<Call[]> {
  for (let c = calls.length - 1; c >= 0; c--) {
    const call = calls[c]!;
    if (call.op !== 'decode' && call.op !== 'encode') continue;
    for (const [from, to] of chunks(call.batch.token.length))
      yield replaced(calls, c, { ...call, batch: pickWhere(call.batch, (i) => i < from || i >= to) });
  }
}

/** Shared tokens for fewer sequences: everywhere without one of them, then one token for the first one only. */
export function* fewerShared(calls: readonly Call[]): Generator<Call[]> {
  const shared = new Set<number>();
  for (const call of calls)
    if (isLegalDecode(call))
      for (const ids of call.batch.seq_id ?? []) if (ids.length > 1) for (const id of ids) shared.add(id);
  for (const seq of shared) {
    yield calls.map((call) =>
      isLegalDecode(call) && call.batch.seq_id !== undefined
        ? { ...call, batch: { ...call.batch, seq_id: call.batch.seq_id.map((ids) => less(ids, seq)) } }
        : call,
    );
  }
  for (let c = calls.length - 1; c >= 0; c--) {
    const call = calls[c]!;
    if (!isLegalDecode(call)) continue;
    const { seq_id } = call.batch;
    for (let i = 0; i < (seq_id?.length ?? 0); i++) {
      if (seq_id![i]!.length < 2) continue;
      const alone = seq_id!.map((ids, k) => (k === i ? ids.slice(0, 1) : ids));
      yield replaced(calls, c, { ...call, batch: { ...call.batch, seq_id: alone } });
    }
  }
}

function less(ids: readonly number[], seq: number): readonly number[] {
  return ids.length > 1 ? ids.filter((id) => id !== seq) : ids;
}

/** No output in a call, only one, or one less. */
export function* fewerOutputs(calls: readonly Call[]): Generator<Call[]> {
  for (let c = 0; c < calls.length; c++) {
    const call = calls[c]!;
    if (!isLegalDecode(call)) continue;
    const { batch } = call;
    const on = batch.token.map((_, i) => i).filter((i) => isOutput(batch, i));
    if (on.length === 0) continue;
    const flags = (keep: (i: number) => boolean): Call[] =>
      replaced(calls, c, { ...call, batch: { ...batch, logits: batch.token.map((_, i) => keep(i)) } });
    yield flags(() => false);
    if (on.length < 2) continue;
    for (const one of on.slice(0, 16)) yield flags((i) => i === one);
    for (const one of on.slice(0, 16)) yield flags((i) => i !== one && isOutput(batch, i));
  }
}

/**
 * A sequence and a range of it that ends inside, shorter together: one alone would make another case of the same
 * operation, such as a removal of everything.
 */
export function* shorterRanges(calls: readonly Call[]): Generator<Call[]> {
  for (const [c, call] of calls.entries()) {
    if ((call.op !== 'seqRm' && call.op !== 'seqCp') || call.p1 < 2) continue;
    const seq = call.op === 'seqRm' ? call.seq : call.from;
    for (let n = call.p1 >> 1; n >= 1; n >>= 1) {
      const before = withoutLast(calls.slice(0, c), seq, n);
      if (before === null) continue;
      const shorter = { ...call, p0: Math.max(0, call.p0 - n), p1: call.p1 - n };
      yield [...before, shorter, ...calls.slice(c + 1)];
    }
  }
}

/** The calls without the last n tokens that are of this sequence alone; null if there are not so many. */
function withoutLast(calls: readonly Call[], seq: number, n: number): Call[] | null {
  let left = n;
  const shorter: Call[] = [];
  for (const call of calls.toReversed()) {
    if (!isLegalDecode(call)) {
      shorter.unshift(call);
      continue;
    }
    const keep: number[] = [];
    for (let i = call.batch.token.length - 1; i >= 0; i--) {
      const ids = idsOf(call.batch, i);
      if (left > 0 && ids.length === 1 && ids[0] === seq) left--;
      else keep.unshift(i);
    }
    if (keep.length > 0) shorter.unshift({ ...call, batch: pick(call.batch, keep) });
  }
  return left > 0 ? null : shorter;
}

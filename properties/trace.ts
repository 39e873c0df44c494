/**
 * What a script means, told by lists: which sequences and which position each token has, what it has seen, and what
 * memory reports afterwards. All expectations of the end-to-end properties are derived from it.
 */
import type { Batch, MemoryKind } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import { completeBatch } from '../oracle/batch.ts';
import { Lists, type MemoryShape } from './lists.ts';
import type { Call, MoveCall, Script } from './types.ts';

export interface TracedToken {
  /** Ascending. */
  readonly ids: readonly number[];
  readonly pos: number;
  /** The tokens that it has seen, itself last; null if that is no plain list (after a removal inside, in an encoder, after one). */
  readonly seen: readonly number[] | null;
  readonly output: boolean;
}

export interface TracedCall {
  readonly call: Call;
  /** Tokens of a decode that is not refused; else empty. */
  readonly tokens: readonly TracedToken[];
  /** Memory after the call: largest position by sequence, and cells that are used. */
  readonly used: number;
  readonly empty: boolean;
  /** What a removal took away. */
  readonly removal?: 'nothing' | 'whole' | 'prefix' | 'suffix' | 'middle';
  /** Tokens of a sequence that were rolled back, if its states were kept for that. */
  readonly rolled_back?: number;
}

export interface Trace {
  readonly calls: readonly TracedCall[];
  readonly lists: Lists;
  /** Most cells that were in use at once. */
  readonly peak: number;
}

/** The batch's field or what completion makes of it. */
export function idsOf(batch: Batch, i: number): readonly number[] {
  return batch.seq_id?.[i] ?? ZERO;
}
const ZERO: readonly number[] = [0];

export function isOutput(batch: Batch, i: number): boolean {
  return batch.logits?.[i] ?? i === batch.token.length - 1;
}

/** Applies one call to the lists. A refused call changes nothing. */
export function applyCall(lists: Lists, call: Call): void {
  if (call.op === 'clear') lists.clear();
  else if (call.refused !== undefined) return;
  else if (call.op === 'seqRm') lists.rm(call.seq, call.p0, call.p1);
  else if (call.op === 'seqCp') {
    if (call.from !== call.to) lists.cp(call.from, call.to, call.p0, call.p1);
  } else if (call.op === 'seqKeep') lists.keep(call.seq);
  else if (call.op === 'seqAdd' || call.op === 'seqDiv') lists.move(call);
  else if (call.op === 'encode') return;
  else if (call.op === 'stateSave') lists.save(call.slot, call.seq);
  else if (call.op === 'stateLoad') lists.load(call.slot, call.seq);
  else if (call.op === 'newContext') lists.clear();
  else {
    for (let i = 0; i < call.batch.token.length; i++)
      lists.append(call.batch.token[i]!, idsOf(call.batch, i));
    lists.endBatch();
  }
}

/** Runs a script on lists; `each` sees them after every call. */
export function trace(
  script: Script,
  shape: MemoryKind | MemoryShape,
  each?: (lists: Lists, call: number) => void,
): Trace {
  const lists = new Lists(script.params.n_seq_max, shape, script.params.n_rs_seq);
  const { memory } = lists;
  const calls: TracedCall[] = [];
  // What a decoder says depends on what was encoded, too: no list of its own tokens tells it.
  const listed = memory !== 'none' && !script.calls.some(({ op }) => op === 'encode');
  let peak = 0;
  for (let c = 0; c < script.calls.length; c++) {
    const call = script.calls[c]!;
    const tokens: TracedToken[] = [];
    let removal: TracedCall['removal'];
    let rolled_back: number | undefined;
    if (call.op === 'decode' && call.refused === undefined) {
      for (let i = 0; i < call.batch.token.length; i++) {
        const ids = idsOf(call.batch, i);
        const entry = lists.append(call.batch.token[i]!, ids);
        const output = isOutput(call.batch, i);
        const sorted = ids.length === 1 ? ids : [...ids].sort((a, b) => a - b);
        const seen = output && entry.plain && listed ? lists.tokens(ids[0]!) : null;
        tokens.push({ ids: sorted, pos: entry.pos, seen, output });
      }
      if (lists.used > peak) peak = lists.used;
      lists.endBatch();
    } else if (call.op === 'seqRm' && call.refused === undefined) {
      const before = lists.owned(call.seq).length;
      removal = removed(lists, call);
      if (removal === 'suffix' && lists.refusesParts) rolled_back = before - lists.length(call.seq);
    } else applyCall(lists, call);
    if (lists.used > peak) peak = lists.used;
    each?.(lists, c);
    calls.push({ call, tokens, used: lists.used, empty: lists.isEmpty(), removal, rolled_back });
  }
  return { calls, lists, peak };
}

function removed(lists: Lists, call: Extract<Call, { op: 'seqRm' }>): TracedCall['removal'] {
  const { seq } = call;
  const before = seq < 0 ? [] : lists.owned(seq);
  const used = lists.used;
  applyCall(lists, call);
  if (seq < 0) return used > lists.used ? 'whole' : 'nothing';
  const after = lists.owned(seq);
  if (after.length === before.length) return 'nothing';
  if (after.length === 0) return 'whole';
  if (after[0] !== before[0]) return 'prefix';
  return after.at(-1) === before.at(-1) ? 'middle' : 'suffix';
}

/**
 * The kind with which an operation or a batch is refused by the rules of the lists; null if it is legal. `overflow`: a
 * token whose values F16 cannot hold, if the model has one.
 */
export function refusalOf(
  lists: Lists,
  call: Call,
  script: Script,
  n_vocab: number,
  overflow?: number,
): string | null {
  const known = (seq: number): boolean => Number.isInteger(seq) && seq >= 0 && seq < lists.n_seq_max;
  switch (call.op) {
    case 'clear':
      return null;
    case 'seqKeep':
      return known(call.seq) ? null : 'ops.seq_id';
    case 'seqRm':
      if (call.seq !== -1 && !known(call.seq)) return 'ops.seq_id';
      return lists.cuts(call.seq, call.p0, call.p1) ? 'ops.partial' : null;
    case 'seqCp':
      if (!known(call.from) || !known(call.to)) return 'ops.seq_id';
      if (call.from === call.to) return null;
      if (lists.length(call.to) > 0) return 'ops.copy';
      return lists.cutsCopy(call.from, call.p0, call.p1) ? 'ops.partial' : null;
    case 'seqAdd':
    case 'seqDiv':
      if (!known(call.seq)) return 'ops.seq_id';
      return lists.moveRefusal(call) ?? moveRoom(lists, call, script);
    case 'stateSave':
      return call.seq === undefined || known(call.seq) ? null : 'ops.seq_id';
    case 'stateLoad': {
      const saved = lists.saved(call.slot);
      // Not the subject's business: a script must not ask for what was never kept.
      if (saved === undefined || saved.whole !== (call.seq === undefined)) return 'no such slot';
      if (call.seq !== undefined && !known(call.seq)) return 'ops.seq_id';
      if ((call.cut ?? 0) <= 0) return null;
      // A subject may drop what was to be replaced before it sees that the bytes are cut: only nothing stays nothing.
      return (call.seq === undefined ? lists.isEmpty() : lists.length(call.seq) === 0) ? 'state' : 'in use';
    }
    case 'newContext':
      return null;
    case 'encode':
      return encodeRefusal(call.batch, script, n_vocab);
    case 'decode':
      return (
        batchRefusal(lists, call.batch, script, n_vocab) ?? overflowRefusal(call.batch, script, overflow)
      );
  }
}

/** What moves away from those who share it needs cells of its own. */
function moveRoom(lists: Lists, call: MoveCall, { params }: Script): string | null {
  if (lists.memory === 'recurrent' || lists.memory === 'none') return null;
  return lists.used + lists.sharedMoves(call) > params.n_ctx ? 'memory.full' : null;
}

/** First the batch by itself, then what its split policy needs, then room. */
function batchRefusal(lists: Lists, batch: Batch, { params }: Script, n_vocab: number): string | null {
  try {
    const limits = { n_vocab, n_batch: params.n_batch, n_seq_max: params.n_seq_max };
    const complete = completeBatch(batch, lists, limits);
    if (params.split === 'equal-sequential' && complete.seq_id.some((ids) => ids.length > 1)) {
      return 'batch.coupled';
    }
    if (params.split === 'whole' && longestSet(complete.seq_id) > params.n_ubatch) return 'batch.whole';
    if (lists.memory !== 'recurrent' && lists.used + batch.token.length > params.n_ctx) return 'memory.full';
    return null;
  } catch (error) {
    if (error instanceof IsobatchError) return error.kind;
    throw error;
  }
}

/** The last thing that can go wrong, and the only one that is found while the batch runs. */
function overflowRefusal(batch: Batch, { params }: Script, overflow?: number): string | null {
  const overflows = params.type_kv === 'F16' && overflow !== undefined && batch.token.includes(overflow);
  return overflows ? 'memory.overflow' : null;
}

/** Whole sequences in one ubatch: a token of an encoder sees what comes after it. */
function encodeRefusal(batch: Batch, { params }: Script, n_vocab: number): string | null {
  const { n_ubatch, n_batch, n_seq_max } = params;
  try {
    const limits = { n_vocab, n_batch: Math.min(n_ubatch, n_batch), n_seq_max };
    completeBatch(batch, new Lists(n_seq_max, 'none'), limits);
    return null;
  } catch (error) {
    if (error instanceof IsobatchError) return error.kind;
    throw error;
  }
}

/** Tokens of the most frequent exact set of sequences. */
export function longestSet(sets: readonly (readonly number[])[]): number {
  const counts = new Map<string | number, number>();
  let longest = 0;
  for (const ids of sets) {
    const name = ids.length === 1 ? ids[0]! : [...ids].sort((a, b) => a - b).join();
    const n = (counts.get(name) ?? 0) + 1;
    counts.set(name, n);
    if (n > longest) longest = n;
  }
  return longest;
}

/** True if every call is what the script says that it is: legal, or refused with the stated kind. */
export function isSound(
  script: Script,
  shape: MemoryKind | MemoryShape,
  n_vocab: number,
  overflow?: number,
): boolean {
  const lists = new Lists(script.params.n_seq_max, shape, script.params.n_rs_seq);
  for (const call of script.calls) {
    const stated = call.op === 'clear' ? undefined : call.refused;
    if ((refusalOf(lists, call, script, n_vocab, overflow) ?? undefined) !== stated) return false;
    applyCall(lists, call);
  }
  return true;
}

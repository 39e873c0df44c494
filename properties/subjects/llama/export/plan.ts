/**
 * What an exported program does for a case: its histories as steps, the rows that must be equal, and how they are
 * judged. All that libllama cannot be asked is refused here, with kind `usage`, before a line of C is written.
 */
import type { Batch } from '../../../../contract/batch.ts';
import { IsobatchError } from '../../../../contract/errors.ts';
import type { ContextParams, ModelInfo } from '../../../../contract/subject.ts';
import { makesEmbeddings } from '../../../encoder-view.ts';
import type { Lists } from '../../../lists.ts';
import { idsOf, isOutput, trace } from '../../../trace.ts';
import type { Call, Case, Failure, Script } from '../../../types.ts';

/** A batch with all positions; those that the case leaves out are for releases that do not complete them. */
export interface PlannedBatch {
  readonly batch: Batch;
  readonly pos: readonly number[];
}

export type Step =
  | {
      readonly do: 'decode' | 'encode';
      readonly call: number;
      readonly planned: PlannedBatch;
      readonly refused: boolean;
    }
  | {
      readonly do: 'seq_rm';
      readonly call: number;
      readonly args: readonly [number, number, number];
      readonly refused: boolean;
    }
  | { readonly do: 'seq_cp'; readonly call: number; readonly args: readonly [number, number, number, number] }
  | {
      readonly do: 'seq_add' | 'seq_div';
      readonly call: number;
      readonly args: readonly [number, number, number, number];
    }
  | { readonly do: 'seq_keep'; readonly call: number; readonly args: readonly [number] }
  | { readonly do: 'clear'; readonly call: number }
  /** `slot` is a number; `seq` -1 is everything. */
  | { readonly do: 'state_save'; readonly call: number; readonly slot: number; readonly seq: number }
  | {
      readonly do: 'state_load';
      readonly call: number;
      readonly slot: number;
      readonly seq: number;
      readonly cut: number;
      readonly refused: boolean;
    }
  | {
      readonly do: 'next_context';
      readonly call: number;
      readonly params: ContextParams;
      readonly refused: boolean;
    }
  /** Memory must report these; null: not asked. */
  | {
      readonly do: 'positions';
      readonly call: number;
      readonly seq: number;
      readonly min: number | null;
      readonly max: number;
    }
  /** isobatch refuses the call itself, because libllama would read past an array. */
  | { readonly do: 'nothing'; readonly call: number; readonly why: string };

export interface History {
  /** `script`, `base`, `alone_0`, ...: names of functions. */
  readonly name: string;
  /** For people: "the other history". */
  readonly title: string;
  readonly params: ContextParams;
  readonly steps: readonly Step[];
}

/** A row of the script and what it must equal. */
export interface RowCheck {
  readonly call: number;
  readonly index: number;
  /** "token 3 of call 2 (sequence 1, position 4)". */
  readonly what: string;
  /** A row of another history, or only one element: what the oracle says. */
  readonly other?: { readonly history: string; readonly call: number; readonly index: number };
  /** The element that decides; rows without one are shown only. */
  readonly judged?: {
    readonly element: number;
    readonly bound: number;
    readonly want: number;
    /** No bound was derived: half of the difference that was found. */
    readonly half: boolean;
  };
}

export interface Plan {
  readonly histories: readonly History[];
  readonly rows: readonly RowCheck[];
  /** It fails already when a context is refused. */
  readonly open_fails: boolean;
  /** It hangs, so the program ends itself. */
  readonly hangs: boolean;
}

export type Told = Pick<Failure, 'difference' | 'signature'>;

/** Throws `usage` for cases of which no program can be made. */
export function exportPlan(c: Case, failure: Told, loaded: ModelInfo): Plan {
  const { script } = c;
  const way = wayOf(c, loaded);
  // What makes embeddings remembers nothing from batch to batch.
  const model: ModelInfo = way === 'as it is' ? loaded : { ...loaded, memory: 'none' };
  if (script === undefined) {
    const what = c.white === undefined ? 'it holds no history' : 'it asks a rule inside of a subject';
    throw refusal(c, what);
  }
  checkCalls(c, [script, c.base]);
  const rows: RowCheck[] = [];
  const histories: History[] = [historyOf('script', 'the history', script, c, model, way)];
  if (c.base !== undefined) {
    const base = { ...c, positions: undefined };
    histories.push(historyOf('base', 'the other history', c.base, base, model, way));
  }
  const describe = describer(script, model);
  for (const [call, index, baseCall, baseIndex] of c.pairs ?? [])
    rows.push({
      ...describe(call, index),
      other: { history: 'base', call: baseCall, index: baseIndex },
      judged: judgedOf(failure, call, index),
    });
  const alone = aloneHistories(c, script.params);
  histories.push(...alone.map(({ history }) => history));
  for (const { call, index, tokens } of c.alone ?? []) {
    const found = alone.find(({ list }) => startsWith(list, tokens))!;
    const other = { history: found.history.name, call: tokens.length - 1, index: 0 };
    rows.push({ ...describe(call, index), other, judged: judgedOf(failure, call, index) });
  }
  if (rows.length === 0) rows.push(...oracleRow(failure, describe));
  checkDecides(c, failure, rows);
  return {
    histories,
    rows,
    open_fails: /(^|: )opening the context$/.test(failure.difference.what),
    hangs:
      /\/died: hang$/.test(failure.signature) || /gave no answer to/.test(String(failure.difference.got)),
  };
}

/** How batches are run: as the history says; by the encoder, all of them; or decoded, each in an empty memory. */
type Way = 'as it is' | 'encoded' | 'memory cleared';

function wayOf({ property }: Case, { encoder }: ModelInfo): Way {
  if (!makesEmbeddings(property)) return 'as it is';
  return encoder === undefined ? 'memory cleared' : 'encoded';
}

function refusal(c: Case, why: string): IsobatchError {
  return new IsobatchError('usage', `this kind of case (${c.property}) cannot be exported to C: ${why}`, {
    property: c.property,
  });
}

const KNOWN_CALLS: readonly string[] = [
  'decode',
  'encode',
  'seqRm',
  'seqCp',
  'seqKeep',
  'seqAdd',
  'seqDiv',
  'clear',
  'stateSave',
  'stateLoad',
  'newContext',
];

/** Functions without an answer. */
const SILENT: readonly string[] = ['seqCp', 'seqKeep', 'seqAdd', 'seqDiv', 'stateSave'];

function checkCalls(c: Case, scripts: readonly (Script | undefined)[]): void {
  for (const script of scripts)
    for (const [i, call] of (script?.calls ?? []).entries()) {
      if (!KNOWN_CALLS.includes(call.op))
        throw refusal(c, `call ${i} is a ${call.op}, which no program of ours makes`);
      if (call.op === 'clear' || call.refused === undefined || !SILENT.includes(call.op)) continue;
      if (call.refused !== 'ops.seq_id')
        throw refusal(c, `call ${i} must be refused (${call.refused}), and libllama has no answer to it`);
    }
}

/** A row that differs decides by its element; else it is the calls that decide. */
function checkDecides(c: Case, { difference, signature }: Told, rows: readonly RowCheck[]): void {
  if (rows.some(({ judged }) => judged !== undefined)) return;
  if (/\/INV-/.test(signature))
    throw refusal(c, 'it looks at cells inside of memory, which no function of llama.h shows');
  const byCalls = difference.index === undefined || typeof difference.got === 'string';
  if (byCalls || /\/died: /.test(signature)) return;
  throw refusal(c, `nothing says how far apart the rows may be (${difference.what})`);
}

function judgedOf({ difference }: Told, call: number, index: number): RowCheck['judged'] {
  const { at, index: element, got, want, missed } = difference;
  if (at === undefined || at.call !== call || at.index !== index || element === undefined) return undefined;
  if (typeof got !== 'number' || typeof want !== 'number') return undefined;
  if (missed !== undefined && typeof missed.bound === 'number')
    return { element, bound: missed.bound, want, half: false };
  return { element, bound: Math.abs(got - want) / 2, want, half: true };
}

type Describe = (call: number, index: number) => Pick<RowCheck, 'call' | 'index' | 'what'>;

function oracleRow(failure: Told, describe: Describe): RowCheck[] {
  const { at } = failure.difference;
  const judged = at === undefined ? undefined : judgedOf(failure, at.call, at.index);
  return judged === undefined ? [] : [{ ...describe(at!.call, at!.index), judged }];
}

function describer(script: Script, model: ModelInfo): Describe {
  const { calls } = trace(script, model.memory);
  return (call, index) => {
    const { ids, pos } = calls[call]!.tokens[index]!;
    const name = ids.length === 1 ? `sequence ${ids[0]}` : `sequences ${ids.join(', ')}`;
    return { call, index, what: `token ${index} of call ${call} (${name}, position ${pos})` };
  };
}

function historyOf(
  name: string,
  title: string,
  script: Script,
  c: Case,
  model: ModelInfo,
  way: Way,
): History {
  const steps: Step[] = [];
  const params: ContextParams =
    way === 'as it is' ? script.params : { pooling: 'none', ...script.params, embeddings: true };
  const slots = new Map<string, number>();
  // What memory holds before each call, to complete positions; a copy, because the lists go on.
  let before: number[] = new Array<number>(script.params.n_seq_max).fill(-1);
  trace(script, model.memory, (lists, i) => {
    const call = script.calls[i]!;
    if (way === 'memory cleared' && call.op === 'decode' && i > 0) steps.push({ do: 'clear', call: i });
    const encodes = call.op === 'encode' || (way === 'encoded' && call.op !== 'newContext');
    steps.push(encodes ? encodeStep(call, i, params, model) : stepOf(call, i, params, before, slots));
    before = positionsOf(lists);
    for (const [call, seq, min, max] of c.positions ?? [])
      if (call === i)
        // A window has forgotten what lies before it, and how soon is the library's business.
        steps.push({ do: 'positions', call, seq, min: model.windowed && min >= 0 ? null : min, max });
  });
  return { name, title, params, steps };
}

/** BERT is no encoder to the library: its batches go to llama_decode. Each batch begins anew. */
function encodeStep(call: Call, i: number, params: ContextParams, model: ModelInfo): Step {
  if (call.op !== 'encode' && call.op !== 'decode') return { do: 'nothing', call: i, why: NOTHING_KEPT };
  const why = uncallable(call.batch, params);
  if (why !== undefined) return { do: 'nothing', call: i, why };
  const pos = completePositions(call.batch, new Array<number>(params.n_seq_max).fill(-1));
  const planned = { batch: { ...call.batch, pos }, pos };
  const what = model.encoder === 'with decoder' ? 'encode' : 'decode';
  return { do: what, call: i, planned, refused: call.refused !== undefined };
}

const NOTHING_KEPT = 'an encoder keeps nothing, so there is nothing to change';

function positionsOf(lists: Lists): number[] {
  return Array.from({ length: lists.n_seq_max }, (_, seq) => lists.posMax(seq));
}

/** `slots`: the numbers of the names of slots so far. */
function stepOf(
  call: Call,
  i: number,
  params: ContextParams,
  before: readonly number[],
  slots: Map<string, number>,
): Step {
  if (call.op === 'clear') return { do: 'clear', call: i };
  if (call.op === 'encode') throw new RangeError('encodes are steps of their own');
  const refused = call.refused !== undefined;
  if (call.op === 'decode') {
    const why = uncallable(call.batch, params);
    if (why !== undefined) return { do: 'nothing', call: i, why };
    const planned = { batch: call.batch, pos: completePositions(call.batch, before) };
    return { do: 'decode', call: i, planned, refused };
  }
  if (call.refused === 'ops.seq_id') return { do: 'nothing', call: i, why: 'there is no such sequence' };
  if (call.op === 'seqRm') return { do: 'seq_rm', call: i, args: [call.seq, call.p0, call.p1], refused };
  if (call.op === 'seqCp') return { do: 'seq_cp', call: i, args: [call.from, call.to, call.p0, call.p1] };
  if (call.op === 'seqAdd') return { do: 'seq_add', call: i, args: [call.seq, call.p0, call.p1, call.by] };
  if (call.op === 'seqDiv') return { do: 'seq_div', call: i, args: [call.seq, call.p0, call.p1, call.by] };
  if (call.op === 'seqKeep') return { do: 'seq_keep', call: i, args: [call.seq] };
  if (call.op === 'newContext')
    return { do: 'next_context', call: i, params: { ...params, ...call.params }, refused };
  const { slot: name, seq = -1 } = call;
  if (!slots.has(name)) slots.set(name, slots.size);
  const at = { call: i, slot: slots.get(name)!, seq };
  if (call.op === 'stateSave') return { do: 'state_save', ...at };
  return { do: 'state_load', ...at, cut: call.cut ?? 0, refused };
}

/** What isobatch does not pass on. */
function uncallable(batch: Batch, params: ContextParams): string | undefined {
  const n = batch.token.length;
  for (const name of ['pos', 'seq_id', 'logits'] as const)
    if (batch[name] !== undefined && batch[name].length !== n) return `${name} is not as long as the batch`;
  return n > params.n_batch ? 'it has more than n_batch tokens' : undefined;
}

function completePositions(batch: Batch, before: readonly number[]): number[] {
  if (batch.pos !== undefined) return [...batch.pos];
  const next = before.map((pos) => pos + 1);
  return batch.token.map((_, i) => {
    const ids = idsOf(batch, i);
    const pos = next[ids[0] ?? 0] ?? 0;
    for (const id of ids) if (id >= 0 && id < next.length) next[id] = pos + 1;
    return pos;
  });
}

function startsWith(list: readonly number[], tokens: readonly number[]): boolean {
  return tokens.length <= list.length && tokens.every((token, i) => list[i] === token);
}

/** One context for each token list that no other list goes on from: one token a call, as isobatch runs it. */
function aloneHistories(c: Case, params: ContextParams): { list: readonly number[]; history: History }[] {
  const lists: (readonly number[])[] = [];
  const longestFirst = [...(c.alone ?? [])].sort((a, b) => b.tokens.length - a.tokens.length);
  for (const { tokens } of longestFirst)
    if (!lists.some((list) => startsWith(list, tokens))) lists.push(tokens);
  return lists.map((list, k) => {
    const { type_kv, flash_attn, embeddings } = params;
    const plain = { n_ctx: list.length, n_batch: 1, n_ubatch: 1, n_seq_max: 1, split: 'simple' } as const;
    const steps = list.map(
      (token, i): Step => ({
        do: 'decode',
        call: i,
        planned: { batch: { token: [token] }, pos: [i] },
        refused: false,
      }),
    );
    const name = `alone_${k}`;
    const title = 'the sequence alone, one token at a time';
    return { list, history: { name, title, params: { ...plain, type_kv, flash_attn, embeddings }, steps } };
  });
}

/** Rows that are kept of a history: every output of its decodes. */
export function outputsOf(batch: Batch): number[] {
  return batch.token.map((_, i) => i).filter((i) => isOutput(batch, i));
}

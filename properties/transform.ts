/**
 * Histories that must give the same rows as a given one: cut otherwise, in another order, with other names, without
 * what should not matter. Each answers the other history and which rows belong together.
 */

import type { Batch } from '../contract/batch.ts';
import type { ContextParams } from '../contract/subject.ts';
import { leastUbatch } from './choices.ts';
import { needsOf } from './generate/params.ts';
import { idsOf, type Trace, type TracedToken } from './trace.ts';
import type { Call, Case, Script } from './types.ts';

export interface Twin {
  readonly base: Script;
  readonly pairs: NonNullable<Case['pairs']>;
}

/** Collects the calls of the other history, and where each output row of the given one ends up. */
class TwinBuilder {
  readonly calls: Call[] = [];
  readonly pairs: [number, number, number, number][] = [];
  private token: number[] = [];
  private pos: number[] = [];
  private seq_id: (readonly number[])[] = [];
  private logits: boolean[] = [];

  /** Adds a token to the batch that is being filled; `from` is its place in the given history. */
  add(token: number, t: TracedToken, ids: readonly number[], call: number, index: number): void {
    if (t.output) this.pairs.push([call, index, this.calls.length, this.token.length]);
    this.silent(token, t.pos, ids, t.output);
  }

  silent(token: number, pos: number, ids: readonly number[], output = false): void {
    this.token.push(token);
    this.pos.push(pos);
    this.seq_id.push(ids);
    this.logits.push(output);
  }

  /** Ends the batch that is being filled. */
  flush(): void {
    if (this.token.length === 0) return;
    const batch: Batch = { token: this.token, pos: this.pos, seq_id: this.seq_id, logits: this.logits };
    this.calls.push({ op: 'decode', batch });
    this.token = [];
    this.pos = [];
    this.seq_id = [];
    this.logits = [];
  }

  op(call: Call): void {
    this.flush();
    this.calls.push(call);
  }

  twin(params: ContextParams, peak: number): Twin {
    this.flush();
    return { base: { params: fitted(params, this.calls, peak), calls: this.calls }, pairs: this.pairs };
  }
}

/** Parameters under which the calls are not refused: enough cells, batch, and ubatch for whole sets. */
export function fitted(params: ContextParams, calls: readonly Call[], peak: number): ContextParams {
  const { longest_call, longest_set, longest_source } = needsOf(calls, peak);
  const least = params.split === 'whole' ? Math.max(longest_set, longest_source) : longest_source;
  const n_ubatch = Math.max(params.n_ubatch, least);
  const n_batch = Math.max(params.n_batch, longest_call, n_ubatch);
  return { ...params, n_ctx: Math.max(params.n_ctx, peak), n_batch, n_ubatch };
}

function batchOf(call: Call): Batch | null {
  return call.op === 'decode' && call.refused === undefined ? call.batch : null;
}

function isRefused(call: Call): boolean {
  return call.op !== 'clear' && call.refused !== undefined;
}

/** Every token in a batch of its own, without the calls that are refused. */
export function singly(script: Script, t: Trace): Twin {
  const b = new TwinBuilder();
  t.calls.forEach(({ call, tokens }, c) => {
    const batch = batchOf(call);
    if (batch === null) {
      if (!isRefused(call)) b.op(call);
      return;
    }
    tokens.forEach((token, i) => {
      b.add(batch.token[i]!, token, token.ids, c, i);
      b.flush();
    });
  });
  return b.twin({ ...script.params, n_ubatch: leastUbatch(script.params), n_keep_tail: 0 }, t.peak);
}

/** Neighbouring decodes as one batch. */
export function merged(script: Script, t: Trace): Twin {
  const b = new TwinBuilder();
  t.calls.forEach(({ call, tokens }, c) => {
    const batch = batchOf(call);
    if (batch !== null) {
      for (const [i, token] of tokens.entries()) b.add(batch.token[i]!, token, token.ids, c, i);
    } else if (!isRefused(call)) b.op(call);
  });
  return b.twin(script.params, t.peak);
}

/** The same calls without those that are refused. */
export function withoutRefused(script: Script, t: Trace): Twin {
  return onlyCalls(script, t, (c) => !isRefused(script.calls[c]!));
}

/** Some of the calls, as they are. */
export function onlyCalls(script: Script, t: Trace, keep: (call: number) => boolean): Twin {
  const calls: Call[] = [];
  const pairs: [number, number, number, number][] = [];
  t.calls.forEach(({ call, tokens }, c) => {
    if (!keep(c)) return;
    tokens.forEach(({ output }, i) => {
      if (output) pairs.push([c, i, calls.length, i]);
    });
    calls.push(call);
  });
  return { base: { params: script.params, calls }, pairs };
}

/** New names for the sequences that occur, 0, 1, ... in order of appearance. */
function renaming(t: Trace): Map<number, number> {
  const names = new Map<number, number>();
  const meet = (id: number): void => {
    if (id >= 0 && !names.has(id)) names.set(id, names.size);
  };
  for (const { call, tokens } of t.calls) {
    if (isRefused(call)) continue;
    for (const { ids } of tokens) ids.forEach(meet);
    if (call.op === 'encode') for (const i of call.batch.token.keys()) idsOf(call.batch, i).forEach(meet);
    if (call.op === 'seqCp') [call.from, call.to].forEach(meet);
    else if (onOne(call)) meet(call.seq);
  }
  return names;
}

function renamed(call: Call, names: ReadonlyMap<number, number>): Call {
  const name = (id: number): number => names.get(id) ?? id;
  if (call.op === 'seqCp') return { ...call, from: name(call.from), to: name(call.to) };
  if (onOne(call)) return { ...call, seq: name(call.seq) };
  if (call.op === 'encode') {
    const seq_id = call.batch.token.map((_, i) => idsOf(call.batch, i).map(name));
    return { ...call, batch: { ...call.batch, seq_id } };
  }
  return call;
}

/**
 * Sequences one after the other in each batch, larger sets first, with names in order of appearance.
 * `backwards` puts the sets of equal size in reverse.
 */
export function canonical(script: Script, t: Trace, backwards: boolean): Twin {
  const names = renaming(t);
  const b = new TwinBuilder();
  t.calls.forEach(({ call, tokens }, c) => {
    const batch = batchOf(call);
    if (batch === null) {
      if (!isRefused(call)) b.op(renamed(call, names));
      return;
    }
    const rows = tokens.map((token, i) => ({
      token,
      i,
      ids: token.ids.map((id) => names.get(id)!).sort((x, y) => x - y),
    }));
    rows.sort((x, y) => {
      const order = y.ids.length - x.ids.length;
      const first = x.ids[0]! - y.ids[0]!;
      return order || (backwards ? -first : first) || x.i - y.i;
    });
    for (const { token, i, ids } of rows) b.add(batch.token[i]!, token, ids, c, i);
    b.flush();
  });
  return b.twin({ ...script.params, n_seq_max: Math.max(1, names.size) }, t.peak);
}

/** Shared tokens and copies as separate evaluations of each sequence. `lists` are the tokens that a copy stands for. */
export function separate(script: Script, t: Trace, copies: ReadonlyMap<number, readonly number[]>): Twin {
  const b = new TwinBuilder();
  t.calls.forEach(({ call, tokens }, c) => {
    const batch = batchOf(call);
    if (batch !== null) {
      tokens.forEach((token, i) => {
        for (const id of token.ids) b.add(batch.token[i]!, token, [id], c, i);
      });
      b.flush();
    } else if (call.op === 'seqCp' && !isRefused(call)) {
      b.flush();
      for (const [pos, token] of (copies.get(c) ?? []).entries()) b.silent(token, pos, [call.to]);
      b.flush();
    } else if (!isRefused(call)) b.op(call);
  });
  const { length } = b.calls;
  let cells = 1;
  // An upper bound will do: each token of the base in a cell of its own.
  for (let c = 0; c < length; c++) cells += batchOf(b.calls[c]!)?.token.length ?? 0;
  return b.twin(script.params, cells);
}

/** The history without some sequences, the others named 0, 1, ..., in a context that it just fits. */
export function withoutSequences(script: Script, t: Trace, out: ReadonlySet<number>): Twin {
  const names = renaming(t);
  const rest = [...names.keys()].filter((id) => !out.has(id));
  const short = new Map(rest.map((id, i) => [id, i]));
  const b = new TwinBuilder();
  let cells = 0;
  t.calls.forEach(({ call, tokens }, c) => {
    const batch = batchOf(call);
    if (batch !== null) {
      tokens.forEach((token, i) => {
        const ids = token.ids.filter((id) => !out.has(id)).map((id) => short.get(id)!);
        if (ids.length === 0) return;
        b.add(batch.token[i]!, token, ids, c, i);
        cells++;
      });
      b.flush();
    } else if (!isRefused(call) && !concerns(call, out)) b.op(renamed(call, short));
  });
  const params = { ...script.params, n_seq_max: Math.max(1, rest.length), n_ctx: Math.max(1, cells) };
  return b.twin(params, cells);
}

function concerns(call: Call, out: ReadonlySet<number>): boolean {
  if (call.op === 'seqCp') return out.has(call.from) || out.has(call.to);
  return onOne(call) && out.has(call.seq);
}

/** Operations on one sequence. */
function onOne(call: Call): call is Extract<Call, { op: 'seqRm' | 'seqKeep' | 'seqAdd' | 'seqDiv' }> {
  return call.op === 'seqRm' || call.op === 'seqKeep' || call.op === 'seqAdd' || call.op === 'seqDiv';
}

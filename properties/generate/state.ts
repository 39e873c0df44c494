/**
 * Histories that are kept and given back: interleaved sequences in caches with holes, a state of everything or of one
 * sequence, something else in between, and then on from what was kept. What llama.cpp may refuse is not drawn: a state
 * is only given to contexts that keep K and V as its own does, and one sequence gets room that nobody ever held,
 * because older caches want its cells side by side.
 */
import type { ContextParams } from '../../contract/subject.ts';
import { leastUbatch } from '../choices.ts';
import type { Facts } from '../facts.ts';
import { Lists } from '../lists.ts';
import type { Random } from '../random.ts';
import { applyCall } from '../trace.ts';
import type { Call, Script } from '../types.ts';
import { Draft } from './draft.ts';
import { fill, leave, newDraft, scriptOf } from './history.ts';

class StateDraft extends Draft {
  /** By slot: the paths that sequences were on. */
  readonly #paths = new Map<string, readonly number[]>();

  /** Answers the name of the slot. */
  save(seq?: number): string {
    const slot = String.fromCharCode(97 + this.#paths.size);
    this.#paths.set(slot, seq === undefined ? [...this.path] : [this.path[seq]!]);
    this.#push({ op: 'stateSave', slot, ...(seq === undefined ? {} : { seq }) });
    return slot;
  }

  load(slot: string, seq?: number): void {
    for (const [at, path] of this.#paths.get(slot)!.entries()) this.path[seq ?? at] = path;
    this.#push({ op: 'stateLoad', slot, ...(seq === undefined ? {} : { seq }) });
    this.peak = Math.max(this.peak, this.lists.used);
  }

  /** Bytes that end too early. */
  refused(slot: string, cut: number, seq?: number): void {
    this.#push({ op: 'stateLoad', slot, ...(seq === undefined ? {} : { seq }), cut, refused: 'state' });
  }

  renew(): void {
    this.#push({ op: 'newContext' });
  }

  #push(call: Call): void {
    applyCall(this.lists, call);
    this.calls.push(call);
  }
}

/** `torn`: every load is of bytes that end too early; else none is. */
export function drawState(r: Random, facts: Facts, torn: boolean): Script {
  const { ids, lists, n_rs_seq } = newDraft(r, facts, undefined, r.below(2));
  const d = new StateDraft(r, facts, ids, lists.n_seq_max, n_rs_seq);
  fill(d, { tokens: r.between(6, 56), calls: r.between(1, 4), refill: 0.35 });
  for (let rounds = r.between(1, 3); rounds > 0; rounds--) {
    disturb(d);
    if (torn) keepAndTear(d);
    else keepAndGive(d);
    d.decode(r.between(1, 24));
  }
  return inContexts(r, facts, scriptOf(d));
}

/** Holes, so that what is kept does not lie side by side. */
function disturb(d: StateDraft): void {
  const { r } = d;
  if (r.chance(0.3)) leave(d);
  if (r.chance(0.3)) d.decode(r.between(1, 16));
  const live = d.live();
  if (live.length === 0) d.decode(r.between(1, 16));
  else if (r.chance(0.2)) {
    const seq = r.pick(live);
    const p0 = r.between(1, d.lists.posMax(seq) + 1);
    if (!d.lists.cuts(seq, p0, -1) && !d.facts.unwatched) d.remove(seq, p0, -1);
  }
}

/** What is kept, what happens meanwhile, and where it goes. */
function keepAndGive(d: StateDraft): void {
  const { r } = d;
  const live = d.live();
  if (live.length === 0) return;
  const seq = r.chance(0.5) ? undefined : r.pick(live);
  const slot = d.save(seq);
  meanwhile(d);
  if (seq === undefined) d.load(slot);
  else for (let n = r.chance(0.2) ? 2 : 1; n > 0; n--) d.load(slot, r.chance(0.4) ? seq : r.pick(d.ids));
  if (r.chance(0.15)) d.copy();
}

function meanwhile(d: StateDraft): void {
  const { r } = d;
  switch (r.weighted([20, 30, 10, 10, 30])) {
    case 0:
      return;
    case 1:
      d.decode(r.between(1, 20));
      return;
    case 2:
      leave(d);
      return;
    case 3:
      d.clear();
      return;
    default:
      d.renew();
      if (r.chance(0.5)) d.decode(r.between(1, 20));
  }
}

/**
 * Only for memory that holds nothing to lose: llama.cpp empties a sequence before it reads what it is to hold, which
 * may be argued about, and would hide what is left behind.
 */
function keepAndTear(d: StateDraft): void {
  const { r } = d;
  const live = d.live();
  if (live.length === 0) return;
  const cut = r.pick([1, 4, 64, r.between(2, 400)]);
  if (r.chance(0.4)) {
    const slot = d.save();
    if (r.chance(0.5)) d.clear();
    else d.renew();
    d.refused(slot, cut);
    return;
  }
  const slot = d.save(r.pick(live));
  if (r.chance(0.5)) meanwhile(d);
  if (d.idle().length === 0) leave(d);
  d.refused(slot, cut, r.pick(d.idle()));
}

/** With room, and with other parameters for the new contexts where those are free. */
function inContexts(r: Random, facts: Facts, { params: drawn, calls }: Script): Script {
  const params: { -readonly [K in keyof ContextParams]: ContextParams[K] } = { ...drawn };
  // The small cache of a window holds as much as its context needs at once, so a state may not fit another.
  if (facts.choices.swa_full !== undefined) params.swa_full = true;
  params.n_ctx = Math.max(params.n_ctx, roomFor(calls, params, facts));
  const change = (call: Call): Call => {
    const changes = call.op === 'newContext' ? otherParams(r, facts, { params, calls }) : {};
    return Object.keys(changes).length === 0 ? call : ({ ...call, params: changes } as Call);
  };
  return { params, calls: calls.map(change) };
}

function otherParams(r: Random, facts: Facts, script: Script): Partial<ContextParams> {
  const { params } = script;
  const changes: { -readonly [K in keyof ContextParams]?: ContextParams[K] } = {};
  const least = Math.max((params.n_keep_tail ?? 0) + 1, leastUbatch(params));
  if (params.split !== 'whole' && r.chance(0.5))
    changes.n_ubatch = r.between(Math.min(least, params.n_batch), params.n_batch);
  if (r.chance(0.2)) changes.n_batch = params.n_batch + r.between(1, 8);
  if (mayHaveOtherIds(script, facts) && r.chance(0.4)) changes.n_seq_max = params.n_seq_max + r.between(1, 3);
  return changes;
}

/** A state of everything is for as many sequences; and so is that of one, where each has a cache of its own. */
function mayHaveOtherIds({ params, calls }: Script, { choices, memory }: Facts): boolean {
  const streams = choices.kv_unified !== undefined && params.kv_unified !== true && memory !== 'recurrent';
  return !streams && !calls.some((call) => call.op === 'stateLoad' && call.seq === undefined);
}

/**
 * Cells that must be there: where single sequences are loaded as many as tokens were ever put into a context, so that
 * there is an end of it that nobody held.
 */
export function roomFor(calls: readonly Call[], params: ContextParams, facts: Facts): number {
  const lists = new Lists(params.n_seq_max, facts.memory);
  let most = 1;
  let put = 0;
  let peak = 1;
  for (const call of calls) {
    applyCall(lists, call);
    if (call.op === 'newContext' || (call.op === 'stateLoad' && call.seq === undefined && !call.refused))
      put = lists.used;
    else if (call.op === 'decode' && call.refused === undefined) put += call.batch.token.length;
    else if (call.op === 'stateLoad') put += lists.saved(call.slot)?.lists[0]?.length ?? 0;
    most = Math.max(most, put);
    peak = Math.max(peak, lists.used);
  }
  return calls.some((call) => call.op === 'stateLoad' && call.seq !== undefined) ? most : peak;
}

/** Whether the contexts of a script are such as are drawn. */
export function contextsAreLegal(script: Script, facts: Facts): boolean {
  const { params, calls } = script;
  if (facts.choices.swa_full !== undefined && params.swa_full !== true) return false;
  if (params.n_ctx < roomFor(calls, params, facts)) return false;
  return calls.every((call) => {
    if (call.op !== 'newContext' || call.params === undefined) return true;
    const { n_ubatch, n_batch, n_seq_max, ...rest } = { ...params, ...call.params };
    if (n_seq_max !== params.n_seq_max && !mayHaveOtherIds(script, facts)) return false;
    if (params.split === 'whole' && n_ubatch !== params.n_ubatch) return false;
    const fits = n_ubatch <= n_batch && n_ubatch > (params.n_keep_tail ?? 0) && n_batch >= params.n_batch;
    if (facts.legal.rollback_in_ubatch && n_ubatch < leastUbatch(params)) return false;
    return fits && n_seq_max >= params.n_seq_max && Object.keys(rest).every((k) => !(k in call.params!));
  });
}

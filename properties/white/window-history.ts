/**
 * Histories of caches with windows: batches in ubatches of any size, some of which fail at their end, and operations
 * between them. Every token of a history has a number of its own, so that what a query sees is a list of numbers. Lists
 * (`lists.ts`) say which operations are refused.
 */
import type { SplitPolicy } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';
import type { Window } from '../../contract/subject.ts';
import type { WhiteBox, WindowMemory } from '../../contract/white.ts';
import { Lists } from '../lists.ts';
import type { Random } from '../random.ts';
import type { MoveCall } from '../types.ts';
import { applyToLists, type CellStep, drawOperation, drawPlace } from './cell-history.ts';
import { type Broken, broken, type Checked, sameNumbers } from './frame.ts';

interface Place {
  readonly op: 'place';
  readonly sets: readonly (readonly number[])[];
  readonly policy: SplitPolicy;
  readonly n_ubatch: number;
  /** The batch fails after its last ubatch. */
  readonly undone: boolean;
}

/** Positions of a sequence are moved, as a context is asked to. */
type MoveStep = Pick<MoveCall, 'op' | 'seq' | 'p0' | 'p1' | 'by'>;

type Operation = (Exclude<CellStep, { op: 'place' }> | MoveStep) & { readonly refused?: boolean };

export type WindowStep = Place | Operation;

export interface WindowInput {
  readonly windows: readonly (Window | null)[];
  readonly n_seq: number;
  readonly steps: readonly WindowStep[];
}

/** Policies that take whatever comes. */
const POLICIES: readonly SplitPolicy[] = ['simple', 'equal', 'equal-batch', 'sequence'];

function drawWindow(r: Random): Window {
  return { kind: r.chance(0.5) ? 'sliding' : 'chunked', size: r.between(1, 8) };
}

function watched(windows: readonly (Window | null)[], n_seq: number): Lists {
  return new Lists(n_seq, { memory: 'attention', windows: windows.filter((w) => w !== null) });
}

export function drawWindows(r: Random): WindowInput {
  const n_seq = r.between(1, 6);
  const windows = [drawWindow(r), ...(r.chance(0.5) ? [r.chance(0.7) ? null : drawWindow(r)] : [])];
  const lists = watched(windows, n_seq);
  const steps: WindowStep[] = [];
  for (let round = r.between(3, 7); round > 0; round--) {
    const undone = r.chance(1 / 8);
    const n = r.chance(0.3) ? r.between(1, 3) : r.between(1, 24);
    const drawn = drawPlace(r, undone ? lists.clone() : lists, n, false) as Extract<
      CellStep,
      { op: 'place' }
    >;
    lists.forget();
    const n_ubatch = r.chance(0.3) ? n : r.between(1, n);
    steps.push({ op: 'place', sets: drawn.sets, policy: r.pick(POLICIES), n_ubatch, undone });
    for (let k = r.below(4); k > 0; k--) {
      const step = drawStep(r, lists);
      const refused = refuses(lists, step);
      if (!refused) apply(lists, step);
      steps.push(refused ? { ...step, refused } : step);
    }
  }
  return { windows, n_seq, steps };
}

function drawStep(r: Random, lists: Lists): Operation {
  const moves = r.chance(0.25) ? drawMove(r, lists) : null;
  if (moves !== null) return moves;
  return r.chance(0.4) ? drawCopy(r, lists) : (drawOperation(r, lists) as Operation);
}

/** A hole that is closed, a suffix or all that moves up or back, or a division; null if entries would change their order. */
function drawMove(r: Random, lists: Lists): MoveStep | null {
  const seq = r.below(lists.n_seq_max);
  const own = lists.owned(seq);
  if (own.length === 0) return null;
  const at = r.chance(0.3) ? 0 : r.below(own.length);
  const [p0, max] = [own[at]!.pos, lists.posMax(seq)];
  const hole = p0 - (at === 0 ? 0 : own[at - 1]!.pos + 1);
  const range = { seq, p0, p1: r.chance(0.8) ? -1 : r.between(p0, max + 1) };
  const step: MoveStep = r.pick([
    { op: 'seqAdd', ...range, by: hole > 0 ? -r.between(1, hole) : r.between(1, 9) },
    { op: 'seqAdd', ...range, by: r.between(1, 9) },
    { op: 'seqDiv', ...range, by: r.between(1, 4) },
  ]);
  return lists.moveRefusal(step) === 'ops.range' ? null : step;
}

function isMove(step: Operation): step is MoveStep & Operation {
  return step.op === 'seqAdd' || step.op === 'seqDiv';
}

function apply(lists: Lists, step: Operation): void {
  if (isMove(step)) lists.move(step as MoveStep);
  else applyToLists(lists, step);
}

/** A copy of what is there into what is empty, where there are both: else these are rare. */
function drawCopy(r: Random, lists: Lists): Operation {
  const ids = Array.from({ length: lists.n_seq_max }, (_, seq) => seq);
  const live = ids.filter((seq) => lists.length(seq) > 0);
  const idle = ids.filter((seq) => lists.length(seq) === 0);
  if (live.length === 0 || idle.length === 0) return drawOperation(r, lists) as Operation;
  const [from, to] = [r.pick(live), r.pick(idle)];
  const max = lists.posMax(from);
  const [p0, p1] = r.chance(0.6) ? [0, -1] : [r.between(0, max), r.chance(0.5) ? -1 : r.between(0, max + 1)];
  return { op: 'cp', from, to, p0, p1 };
}

function refuses(lists: Lists, step: Operation): boolean {
  if (isMove(step)) return lists.moveRefusal(step as MoveStep) === 'ops.partial';
  if (step.op === 'rm') return lists.cuts(step.seq, step.p0, step.p1);
  return step.op === 'cp' && lists.cutsCopy(step.from, step.p0, step.p1);
}

/** What lists say before each step, and how many entries a window has forgotten of one sequence. */
interface Replayed {
  readonly step: WindowStep;
  readonly lists: Lists;
  readonly forgets: number;
}

/** The steps in turn; the lists move on afterwards. */
export function* replayed({ windows, n_seq, steps }: WindowInput): Generator<Replayed> {
  const lists = watched(windows, n_seq);
  for (const step of steps) {
    let forgets = 0;
    for (let seq = 0; seq < n_seq; seq++)
      forgets = Math.max(forgets, lists.owned(seq).filter((e) => e.pos < lists.posMin(seq)).length);
    yield { step, lists, forgets };
    if (step.op !== 'place') {
      if (!step.refused) apply(lists, step);
      continue;
    }
    if (step.undone) continue;
    for (const ids of step.sets) lists.append(0, ids);
    lists.forget();
  }
}

/** Cells for all that is ever held at once, and the longest batch. */
function roomFor(input: WindowInput): { n_ctx: number; n_batch: number } {
  let [n_ctx, n_batch] = [1, 1];
  for (const { step, lists } of replayed(input)) {
    if (step.op !== 'place') {
      // What moves away from those who share it needs cells of its own.
      if (isMove(step) && !step.refused)
        n_ctx = Math.max(n_ctx, lists.used + lists.sharedMoves(step as MoveStep));
      continue;
    }
    n_ctx = Math.max(n_ctx, lists.used + step.sets.length);
    n_batch = Math.max(n_batch, step.sets.length);
  }
  return { n_ctx, n_batch };
}

export function checkWindows(subject: WhiteBox, oracle: WhiteBox, input: WindowInput): Checked {
  const shape = { windows: input.windows, n_seq_max: input.n_seq, ...roomFor(input) };
  const [mine, theirs] = [subject.windows(shape), oracle.windows(shape)];
  let [compared, tokens, k, name] = [0, 0, 0, 0];
  const done = (wrong: Broken | null): Checked => ({ compared, tokens, broken: wrong });
  for (const { step, lists } of replayed(input)) {
    let wrong: Broken | null;
    if (step.op === 'place') {
      const batch = batchOf(step, lists, name);
      name += batch.token.length;
      const options = { policy: step.policy, n_ubatch: step.n_ubatch };
      const got = mine.decode(batch, options, step.undone);
      const want = theirs.decode(batch, options, step.undone);
      wrong = sees(batch, got, want);
      tokens += batch.token.length;
      compared += want.flat(2).length;
    } else {
      wrong = operates(mine, step) ?? operates(theirs, step);
      compared++;
    }
    if (wrong === null && step.op !== 'place') wrong = standing(mine, theirs, input.n_seq);
    compared += 2 * input.n_seq;
    if (wrong !== null) {
      const { difference } = wrong;
      return done({ ...wrong, difference: { ...difference, what: `step ${k}: ${difference.what}` } });
    }
    k++;
  }
  return done(standing(mine, theirs, input.n_seq));
}

/** Tokens are named `first`, `first` + 1, ...; positions go on where the lists end. */
function batchOf({ sets }: Place, lists: Lists, first: number) {
  const next = new Map<number, number>();
  const pos = sets.map((ids) => {
    const at = next.get(ids[0]!) ?? lists.posMax(ids[0]!) + 1;
    for (const id of ids) next.set(id, at + 1);
    return at;
  });
  return {
    token: sets.map((_, i) => first + i),
    pos,
    seq_id: sets.map((ids) => [...ids]),
    logits: sets.map(() => false),
  };
}

type Seen = ReturnType<WindowMemory['decode']>;

function sees(batch: ReturnType<typeof batchOf>, got: Seen, want: Seen): Broken | null {
  for (const [at, rows] of want.entries()) {
    for (const [i, tokens] of rows.entries()) {
      const have = got[at]?.[i] ?? [];
      const what = `keys in cache ${at} that token ${batch.token[i]} (position ${batch.pos[i]}) sees`;
      if (have.at(-1) !== batch.token[i]) return broken('INV-MASK-3', what, have, 'itself last');
      if (!sameNumbers(have, tokens)) return broken('oracle', what, have, tokens);
    }
  }
  return null;
}

/** An operation is done, or refused with `ops.partial`, as the lists say. */
function operates(memory: WindowMemory, step: Operation): Broken | null {
  try {
    if (step.op === 'rm') memory.seqRm(step.seq, step.p0, step.p1);
    else if (step.op === 'cp') memory.seqCp(step.from, step.to, step.p0, step.p1);
    else if (step.op === 'keep') memory.seqKeep(step.seq);
    else if (step.op === 'seqAdd') memory.seqAdd(step.seq, step.p0, step.p1, step.by);
    else if (step.op === 'seqDiv') memory.seqDiv(step.seq, step.p0, step.p1, step.by);
    else memory.clear();
  } catch (error) {
    if (!(error instanceof IsobatchError)) throw error;
    return step.refused && error.kind === 'ops.partial'
      ? null
      : broken('refusals', step.op, `${error.kind}: ${error.message}`, step.refused ? 'ops.partial' : 'done');
  }
  return step.refused ? broken('refusals', step.op, 'done', 'ops.partial') : null;
}

function standing(mine: WindowMemory, theirs: WindowMemory, n_seq: number): Broken | null {
  for (let seq = 0; seq < n_seq; seq++) {
    const [got, want] = [mine, theirs].map((m) => [m.seqPosMin(seq), m.seqPosMax(seq)]);
    if (!sameNumbers(got!, want!)) return broken('positions', `positions of sequence ${seq}`, got, want);
  }
  return null;
}

/** Smaller histories; which operations are refused is told anew. */
export function* smallerWindows(input: WindowInput): Generator<WindowInput> {
  const { windows, n_seq, steps } = input;
  const put = (k: number, step: WindowStep): WindowStep[] => steps.map((old, i) => (i === k ? step : old));
  for (let part = steps.length >> 1; part >= 1; part >>= 1)
    for (let at = steps.length - part; at >= 0; at -= part)
      yield* told({ ...input, steps: [...steps.slice(0, at), ...steps.slice(at + part)] });
  if (windows.length > 1) for (const one of windows) if (one) yield* told({ ...input, windows: [one] });
  for (let k = 0; k < steps.length; k++) {
    const step = steps[k]!;
    if (step.op !== 'place') continue;
    const n = step.sets.length;
    for (let part = n >> 1; part >= 1; part >>= 1)
      for (let at = n - part; at >= 0; at -= part) {
        const sets = step.sets.filter((_, t) => t < at || t >= at + part);
        yield* told({ ...input, steps: put(k, { ...step, sets }) });
      }
    if (step.undone) yield* told({ ...input, steps: put(k, { ...step, undone: false }) });
    if (step.policy !== 'simple') yield* told({ ...input, steps: put(k, { ...step, policy: 'simple' }) });
    if (step.n_ubatch < n) yield* told({ ...input, steps: put(k, { ...step, n_ubatch: n }) });
  }
  for (const [w, window] of windows.entries())
    if (window !== null && window.size > 1)
      yield* told({ ...input, windows: windows.with(w, { ...window, size: window.size - 1 }) });
  for (const [k, step] of steps.entries()) {
    if (step.op === 'place' || !isMove(step) || Math.abs(step.by) < 2) continue;
    yield* told({ ...input, steps: put(k, { ...step, by: step.by - Math.sign(step.by) } as WindowStep) });
  }
  if (n_seq > 1) yield* told({ ...input, n_seq: n_seq - 1 });
}

/** The history with refusals as the lists tell them; nothing if it is not legal. */
function* told({ windows, n_seq, steps }: WindowInput): Generator<WindowInput> {
  if (steps.length === 0) return;
  const lists = watched(windows, n_seq);
  const known = (seq: number): boolean => seq < n_seq;
  const again: WindowStep[] = [];
  for (const step of steps) {
    if (step.op === 'place') {
      const { sets } = step;
      if (sets.length === 0 || !sets.every((ids) => ids.every(known))) return;
      const into = step.undone ? lists.clone() : lists;
      for (const ids of sets) {
        if (ids.some((id) => !into.same(id, ids[0]!))) return;
        into.append(0, ids);
      }
      lists.forget();
      again.push({ ...step, n_ubatch: Math.min(step.n_ubatch, sets.length) });
      continue;
    }
    if (step.op === 'cp' && (!known(step.from) || !known(step.to) || lists.length(step.to) > 0)) return;
    if (step.op !== 'cp' && step.op !== 'clear' && !known(step.seq)) return;
    const { refused: _, ...rest } = step;
    const plain = rest as Operation;
    if (isMove(plain) && lists.moveRefusal(plain as MoveStep) === 'ops.range') return;
    const refused = refuses(lists, plain);
    if (!refused) apply(lists, plain);
    again.push(refused ? { ...plain, refused } : plain);
  }
  yield { windows, n_seq, steps: again };
}

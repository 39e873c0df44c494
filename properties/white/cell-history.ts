/**
 * Histories of attention cells: tokens are placed, sequences removed in part or whole, copied, kept, and queries ask
 * what they see. What must come out is told by lists whose "tokens" are the cells that the subject itself chose
 * (spec: batching.md 5.2, 5.4 and 6.1).
 */
import type { CellMemory, CellView, WhiteBox } from '../../contract/white.ts';
import { Lists } from '../lists.ts';
import type { Random } from '../random.ts';
import { type Broken, broken, type Checked, sameNumbers } from './frame.ts';

export type CellStep =
  | {
      readonly op: 'place';
      readonly pos: readonly number[];
      readonly sets: readonly (readonly number[])[];
      /** Afterwards each of these tokens asks what it sees. */
      readonly query?: boolean;
    }
  | { readonly op: 'rm'; readonly seq: number; readonly p0: number; readonly p1: number }
  | {
      readonly op: 'cp';
      readonly from: number;
      readonly to: number;
      readonly p0: number;
      readonly p1: number;
    }
  | { readonly op: 'keep'; readonly seq: number }
  | { readonly op: 'clear' };

export interface CellsInput {
  readonly n_cells: number;
  readonly n_seq: number;
  readonly steps: readonly CellStep[];
}

/** Tokens for some sequences: shared ones first where sequences own the same cells, then private ones. */
export function drawPlace(r: Random, lists: Lists, n: number, query: boolean): CellStep {
  const pos: number[] = [];
  const sets: (readonly number[])[] = [];
  const put = (ids: readonly number[]): void => {
    pos.push(lists.append(0, ids).pos);
    sets.push(ids);
  };
  const ids = r
    .shuffle(Array.from({ length: lists.n_seq_max }, (_, i) => i))
    .slice(0, r.between(1, lists.n_seq_max));
  if (r.chance(0.5)) {
    const same = ids.filter((id) => lists.same(id, ids[0]!)).sort((a, b) => a - b);
    if (same.length > 1) for (let k = r.between(1, Math.ceil(n / 2)); k > 0 && pos.length < n; k--) put(same);
  }
  const alone = ids.map((id) => [id]);
  const merged = r.chance(0.5);
  while (pos.length < n) {
    if (merged) put(r.pick(alone));
    else {
      const one = r.pick(alone);
      for (let k = r.ragged(n); k > 0 && pos.length < n; k--) put(one);
    }
  }
  return query ? { op: 'place', pos, sets, query } : { op: 'place', pos, sets };
}

export function drawOperation(r: Random, lists: Lists): CellStep {
  const seq = r.below(lists.n_seq_max);
  const max = Math.max(0, lists.posMax(seq));
  switch (r.weighted([22, 22, 14, 26, 6, 3, 2])) {
    case 0:
      return { op: 'rm', seq, p0: r.chance(0.5) ? 0 : -1, p1: -1 };
    case 1:
      return { op: 'rm', seq, p0: r.between(0, max + 1), p1: -1 };
    case 2: {
      const p0 = r.between(0, max);
      return { op: 'rm', seq, p0, p1: r.between(p0, max + 1) };
    }
    case 3: {
      const to = r.below(lists.n_seq_max);
      // Into an empty sequence only (DESIGN "Legal input").
      if (to === seq || lists.length(to) > 0) return { op: 'rm', seq: to, p0: 0, p1: -1 };
      const whole = r.chance(0.7);
      return {
        op: 'cp',
        from: seq,
        to,
        p0: whole ? 0 : r.between(0, max),
        p1: whole || r.chance(0.5) ? -1 : max,
      };
    }
    case 4:
      return { op: 'keep', seq };
    case 5:
      return { op: 'rm', seq: -1, p0: r.between(0, 9), p1: r.chance(0.5) ? -1 : r.between(5, 20) };
    default:
      return { op: 'clear' };
  }
}

export function applyToLists(lists: Lists, step: Exclude<CellStep, { op: 'place' }>): void {
  if (step.op === 'rm') lists.rm(step.seq, step.p0, step.p1);
  else if (step.op === 'cp') lists.cp(step.from, step.to, step.p0, step.p1);
  else if (step.op === 'keep') lists.keep(step.seq);
  else lists.clear();
}

function applyToCells(cells: CellMemory, step: Exclude<CellStep, { op: 'place' }>): boolean {
  if (step.op === 'rm') return cells.seqRm(step.seq, step.p0, step.p1);
  if (step.op === 'cp') cells.seqCp(step.from, step.to, step.p0, step.p1);
  else if (step.op === 'keep') cells.seqKeep(step.seq);
  else cells.clear();
  return true;
}

export function checkCells(
  subject: WhiteBox,
  oracle: WhiteBox,
  { n_cells, n_seq, steps }: CellsInput,
): Checked {
  const mine = subject.cells(n_cells);
  const theirs = oracle.cells(n_cells);
  const lists = new Lists(n_seq, 'attention');
  const taken = new Uint8Array(n_cells);
  const asks = steps.some((step) => step.op === 'place' && step.query === true);
  let compared = 0;
  let tokens = 0;
  for (let k = 0; k < steps.length; k++) {
    const step = steps[k]!;
    let wrong: Broken | null = null;
    if (step.op === 'place') {
      const got = mine.place(step.pos, step.sets);
      wrong = placed(step, got, lists, n_cells, taken) ?? samePlaces(got, theirs.place(step.pos, step.sets));
      compared += step.pos.length;
      if (got !== null) tokens += step.pos.length;
      if (wrong === null && step.query === true && got !== null) {
        for (let t = 0; t < step.pos.length && wrong === null; t++) {
          wrong = sees(mine, theirs, lists, step.sets[t]!, step.pos[t]!, got[t]!);
          compared += step.pos[t]! + 1;
        }
      }
    } else {
      const done = applyToCells(mine, step);
      if (done !== applyToCells(theirs, step)) wrong = broken('oracle', `${step.op} done`, done, !done);
      applyToLists(lists, step);
    }
    // The whole books after the last step, and after each operation, where they change in many places. (Where queries
    // follow they look at every list, which is the dearer half of the case: then the end is enough.)
    if (wrong === null && (k === steps.length - 1 || (step.op !== 'place' && !asks))) {
      wrong = books(mine, theirs, lists);
      compared += n_cells + 2 * n_seq;
    }
    if (wrong !== null) {
      const { difference } = wrong;
      return {
        compared,
        tokens,
        broken: { ...wrong, difference: { ...difference, what: `step ${k}: ${difference.what}` } },
      };
    }
  }
  return { compared, tokens, broken: null };
}

/** INV-KV-1, 2 and 6: distinct free cells, exactly when there are enough; and into the lists with them. */
function placed(
  step: Extract<CellStep, { op: 'place' }>,
  got: readonly number[] | null,
  lists: Lists,
  n_cells: number,
  taken: Uint8Array,
): Broken | null {
  const n = step.pos.length;
  const free = n_cells - lists.used;
  if ((got === null) === free >= n)
    return broken('INV-KV-6', `${n} tokens into ${free} free cells`, got, 'placed if they fit');
  if (got === null) return null;
  taken.fill(0);
  for (let seq = 0; seq < lists.n_seq_max; seq++) for (const e of lists.owned(seq)) taken[e.token] = 1;
  for (let t = 0; t < n; t++) {
    const cell = got[t]!;
    if (!(cell >= 0 && cell < n_cells) || taken[cell] !== 0) {
      return broken('INV-KV-1', `cell of token ${t}`, cell, 'a free cell');
    }
    taken[cell] = 1;
    lists.append(cell, step.sets[t]!);
  }
  return got.length === n ? null : broken('INV-KV-1', 'number of cells', got.length, n);
}

function samePlaces(got: readonly number[] | null, want: readonly number[] | null): Broken | null {
  const same = got === null || want === null ? got === want : sameNumbers(got, want);
  return same ? null : broken('oracle', 'cells', got, want);
}

/** INV-MASK-1..4: a query sees its own sequence's cells up to its position, by position, itself last. */
function sees(
  mine: CellMemory,
  theirs: CellMemory,
  lists: Lists,
  ids: readonly number[],
  pos: number,
  self: number,
): Broken | null {
  const seq = ids[0]!;
  const got = mine.visible(seq, pos);
  const list = lists.owned(seq);
  let n = 0;
  for (; n < list.length; n++) {
    const e = list[n]!;
    if (e.pos > pos) break;
    if (got[n] !== e.token)
      return broken(
        'INV-MASK-4',
        what(seq, pos),
        got,
        list.map((x) => x.token),
      );
  }
  if (got.length !== n)
    return broken(
      'INV-MASK-2',
      what(seq, pos),
      got,
      list.slice(0, n).map((e) => e.token),
    );
  if (got[n - 1] !== self) return broken('INV-MASK-3', what(seq, pos), got, `with cell ${self} last`);
  const want = theirs.visible(seq, pos);
  return sameNumbers(got, want) ? null : broken('oracle', what(seq, pos), got, want);
}

function what(seq: number, pos: number): string {
  return `cells that sequence ${seq} sees at position ${pos}`;
}

/** INV-KV-1, 3 and 5: the cells hold exactly what the lists hold. */
function books(mine: CellMemory, theirs: CellMemory, lists: Lists): Broken | null {
  const view = mine.view();
  if (view.used !== lists.used) return broken('INV-KV-3', 'used', view.used, lists.used);
  if (!(view.head >= 0 && view.head <= view.cells.length))
    return broken('INV-KV-3', 'head', view.head, view.cells.length);
  let owners = 0;
  for (let seq = 0; seq < lists.n_seq_max; seq++) {
    const list = lists.owned(seq);
    owners += list.length;
    for (const { token: cell, pos } of list) {
      const c = view.cells[cell]!;
      if (c.pos !== pos || !c.seq.includes(seq)) return broken('INV-KV-5', `cell ${cell}`, c, { seq, pos });
    }
    const min = mine.seqPosMin(seq);
    const max = mine.seqPosMax(seq);
    if (min !== lists.posMin(seq) || max !== lists.posMax(seq)) {
      return broken(
        'positions',
        `positions of sequence ${seq}`,
        [min, max],
        [lists.posMin(seq), lists.posMax(seq)],
      );
    }
  }
  let listed = 0;
  for (const { seq, pos } of view.cells) {
    listed += seq.length;
    if (seq.length === 0 && pos !== -1) return broken('INV-KV-3', 'position of a free cell', pos, -1);
  }
  if (listed !== owners) return broken('INV-KV-5', 'cells times owners', listed, owners);
  return sameViews(view, theirs.view());
}

function sameViews(got: CellView, want: CellView): Broken | null {
  if (got.head !== want.head || got.used !== want.used) {
    return broken('oracle', 'head and used', [got.head, got.used], [want.head, want.used]);
  }
  for (let i = 0; i < want.cells.length; i++) {
    const a = got.cells[i]!;
    const b = want.cells[i]!;
    if (a.pos !== b.pos || !sameNumbers(a.seq, b.seq)) return broken('oracle', `cell ${i}`, a, b);
  }
  return null;
}

/** Smaller histories, positions counted anew; only legal ones. */
export function* smallerHistories({ n_cells, n_seq, steps }: CellsInput): Generator<CellsInput> {
  for (let part = steps.length >> 1; part >= 1; part >>= 1) {
    for (let at = steps.length - part; at >= 0; at -= part) {
      yield* legal(n_cells, n_seq, [...steps.slice(0, at), ...steps.slice(at + part)]);
    }
  }
  for (let k = 0; k < steps.length; k++) {
    const step = steps[k]!;
    if (step.op !== 'place') continue;
    const n = step.pos.length;
    for (let part = n >> 1; part >= 1; part >>= 1) {
      for (let at = n - part; at >= 0; at -= part) {
        const sets = step.sets.filter((_, t) => t < at || t >= at + part);
        yield* legal(
          n_cells,
          n_seq,
          steps.map((s, i) => (i === k ? { ...step, sets } : s)),
        );
      }
    }
  }
  for (let n = Math.max(1, n_cells >> 1); n < n_cells; n += Math.max(1, (n_cells - n) >> 1))
    yield* legal(n, n_seq, steps);
  yield* legal(n_cells, n_seq - 1, steps);
}

function* legal(n_cells: number, n_seq: number, steps: readonly CellStep[]): Generator<CellsInput> {
  if (n_seq < 1 || steps.length === 0) return;
  const lists = new Lists(n_seq, 'attention');
  const known = (seq: number): boolean => seq < n_seq;
  const counted: CellStep[] = [];
  for (const step of steps) {
    if (step.op !== 'place') {
      if (step.op === 'cp' && (!known(step.from) || !known(step.to) || lists.length(step.to) > 0)) return;
      if ((step.op === 'rm' || step.op === 'keep') && !known(step.seq)) return;
      applyToLists(lists, step);
      counted.push(step);
      continue;
    }
    if (step.sets.length === 0 || !step.sets.every((ids) => ids.every(known))) return;
    // A call that does not fit changes nothing: its positions are those that it would have had.
    const into = n_cells - lists.used >= step.sets.length ? lists : lists.clone();
    const pos: number[] = [];
    for (const ids of step.sets) {
      if (ids.some((id) => !into.same(id, ids[0]!))) return;
      pos.push(into.append(0, ids).pos);
    }
    counted.push({ ...step, pos });
  }
  yield { n_cells, n_seq, steps: counted };
}

/**
 * `slots`: where recurrent states go and come from, over histories of ubatches and sequence operations, against the
 * oracle slot by slot and against INV-RS-1..8, 11 and 13 with symbolic states (spec: batching.md 4).
 */
import type { SlotView, WhiteBox } from '../../contract/white.ts';
import { note, sizeClass } from '../coverage.ts';
import type { Random } from '../random.ts';
import { type Broken, broken, type Checked, sameNumbers, whiteProperty } from './frame.ts';
import { doSlotStep, SlotBooks, type SlotStep } from './slot-books.ts';

export interface SlotsInput {
  readonly n_slots: number;
  readonly steps: readonly SlotStep[];
}

export const slots = whiteProperty<SlotsInput>({
  name: 'slots',
  statement: 'each sequence finds its own state, wherever slots lie and whoever shares the ubatch',
  classes: {
    n_slots: ['1', '2', '3-4', '5-8'],
    ubatches: ['3-4', '5-8'],
    sets: ['1', '2', '3-4', '5-8'],
    'shared tokens': ['no', 'yes'],
    operations: ['rm', 'cp', 'keep', 'clear'],
    'partial removals': ['yes'],
    'reused slots': ['yes'],
  },
  draw,
  check: checkSlots,
  cover(coverage, { n_slots, steps }) {
    note(coverage, 'n_slots', sizeClass(n_slots));
    let ubatches = 0;
    let shared = false;
    const left = new Set<number>();
    for (const step of steps) {
      if (step.op !== 'ubatch') {
        note(coverage, 'operations', step.op);
        if (step.op === 'rm' && step.p0 > 0) note(coverage, 'partial removals', 'yes');
        if (step.op === 'rm') left.add(step.seq);
        continue;
      }
      ubatches++;
      note(coverage, 'sets', sizeClass(step.sets.length));
      for (let s = 0; s < step.sets.length; s++) {
        shared ||= step.sets[s]!.length > 1;
        const starts = step.last_pos[s] === step.n_seq_tokens - 1;
        if (starts && left.has(step.sets[s]![0]!)) note(coverage, 'reused slots', 'yes');
      }
    }
    note(coverage, 'ubatches', sizeClass(ubatches));
    note(coverage, 'shared tokens', shared ? 'yes' : 'no');
  },
  *shrink({ n_slots, steps }) {
    for (let part = steps.length >> 1; part >= 1; part >>= 1) {
      for (let at = steps.length - part; at >= 0; at -= part) {
        yield* legal(n_slots, [...steps.slice(0, at), ...steps.slice(at + part)]);
      }
    }
    for (let seq = n_slots - 1; seq >= 0; seq--) yield* legal(n_slots, withoutSequence(steps, seq));
    const single = steps.map((s) => (s.op === 'ubatch' ? { ...s, n_seq_tokens: 1 } : s));
    if (steps.some((s) => s.op === 'ubatch' && s.n_seq_tokens > 1)) yield* legal(n_slots, single);
    for (let at = steps.length - 1; at >= 0; at--)
      for (const smaller of smallerStep(steps[at]!)) yield* legal(n_slots, steps.with(at, smaller));
    if (n_slots > 1) yield* legal(n_slots - 1, steps);
  },
});

function draw(r: Random): SlotsInput {
  const n_slots = r.between(1, 8);
  const books = new SlotBooks(n_slots);
  const steps: SlotStep[] = [];
  const rounds = r.between(3, 6);
  for (let round = 0; round < rounds; round++) {
    const sets = drawSets(r, books);
    const n_seq_tokens = Math.max(1, r.ragged(Math.max(1, Math.floor(20 / sets.length))));
    const last_pos = books.lastPositions(sets, n_seq_tokens);
    books.advance(sets, last_pos);
    steps.push({ op: 'ubatch', sets, n_seq_tokens, last_pos });
    for (let k = r.below(3); k > 0 && round < rounds - 1; k--) {
      const step = drawOperation(r, books);
      if (step.op !== 'rm' || !books.cuts(step.seq, step.p0, step.p1)) books.apply(step);
      steps.push(step);
    }
  }
  return { n_slots, steps };
}

/** Disjoint sets in random order; ids that own the same state may stand in one. */
function drawSets(r: Random, books: SlotBooks): number[][] {
  const { n_slots, symbol } = books;
  const ids = r.shuffle(Array.from({ length: n_slots }, (_, i) => i));
  const wanted = r.between(1, n_slots);
  const sharing = r.chance(0.6);
  const sets: number[][] = [];
  for (const id of ids.slice(0, wanted)) {
    const home = sharing && r.chance(0.6) ? sets.find((set) => symbol[set[0]!] === symbol[id]) : undefined;
    if (home === undefined) sets.push([id]);
    else home.push(id);
  }
  for (const set of sets) if (set.length > 1) set.sort((a, b) => a - b);
  return sets;
}

function drawOperation(r: Random, { n_slots, pos }: SlotBooks): Exclude<SlotStep, { op: 'ubatch' }> {
  const seq = r.below(n_slots);
  const max = Math.max(pos[seq]!, 0);
  switch (r.weighted([30, 12, 8, 34, 8, 4, 4])) {
    case 0:
      return { op: 'rm', seq, p0: r.chance(0.5) ? 0 : -1, p1: r.chance(0.7) ? -1 : max + 1 };
    case 1:
      return { op: 'rm', seq, p0: r.between(0, max + 2), p1: r.chance(0.6) ? -1 : r.between(0, max + 2) };
    case 2:
      return { op: 'rm', seq, p0: 0, p1: r.between(0, max) };
    case 3: {
      const to = r.below(n_slots);
      // Into an empty sequence only (DESIGN "Legal input").
      if (to !== seq && pos[to]! < 0) return { op: 'cp', from: seq, to };
      return { op: 'rm', seq: to, p0: 0, p1: -1 };
    }
    case 4:
      return { op: 'keep', seq };
    case 5:
      return { op: 'rm', seq: -1, p0: 0, p1: r.chance(0.7) ? -1 : 2 };
    default:
      return { op: 'clear' };
  }
}

/** Also used by the small scope. */
export function checkSlots(subject: WhiteBox, oracle: WhiteBox, { n_slots, steps }: SlotsInput): Checked {
  const mine = subject.slots(n_slots);
  const theirs = oracle.slots(n_slots);
  const books = new SlotBooks(n_slots);
  let compared = 0;
  let tokens = 0;
  for (let k = 0; k < steps.length; k++) {
    const step = steps[k]!;
    let wrong: Broken | null;
    if (step.op === 'ubatch') {
      const got = mine.findSlot(step.sets, step.n_seq_tokens, step.last_pos);
      const want = theirs.findSlot(step.sets, step.n_seq_tokens, step.last_pos);
      const view = mine.view();
      wrong = books.place(step, got, view);
      if (got.head !== want.head || got.n !== want.n || !sameNumbers(got.src0, want.src0)) {
        wrong ??= broken('oracle', 'the placement', got, want);
      }
      wrong ??= sameViews(view, theirs.view());
      tokens += step.sets.length * step.n_seq_tokens;
      compared += want.n + 2 + 2 * n_slots;
    } else {
      const cuts = step.op === 'rm' && books.cuts(step.seq, step.p0, step.p1);
      const refused = doSlotStep(mine, step);
      if (refused !== doSlotStep(theirs, step))
        wrong = broken('oracle', `${step.op} refused`, refused, !refused);
      else if (refused !== cuts) wrong = broken('INV-RS-16', `${step.op} refused`, refused, cuts);
      else {
        if (!cuts) books.apply(step);
        const view = mine.view();
        wrong = books.sound(view) ?? samePositions(mine, theirs, books) ?? sameViews(view, theirs.view());
      }
      compared += 2 * n_slots + 1;
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

type Asked = { seqPosMin(seq: number): number; seqPosMax(seq: number): number };

function samePositions(mine: Asked, theirs: Asked, { n_slots, pos }: SlotBooks): Broken | null {
  for (let seq = 0; seq < n_slots; seq++) {
    const max = mine.seqPosMax(seq);
    if (max !== pos[seq]) return broken('positions', `largest position of sequence ${seq}`, max, pos[seq]!);
    const min = mine.seqPosMin(seq);
    const want = theirs.seqPosMin(seq);
    if (min !== want) return broken('oracle', `smallest position of sequence ${seq}`, min, want);
  }
  return null;
}

export function sameViews(got: SlotView, want: SlotView): Broken | null {
  if (got.head !== want.head || got.used !== want.used) {
    return broken('oracle', 'head and used', [got.head, got.used], [want.head, want.used]);
  }
  if (!sameNumbers(got.tail, want.tail)) return broken('oracle', 'tails', got.tail, want.tail);
  for (let i = 0; i < want.cells.length; i++) {
    const a = got.cells[i]!;
    const b = want.cells[i]!;
    if (a.pos !== b.pos || a.src !== b.src || !sameNumbers(a.seq, b.seq))
      return broken('oracle', `slot ${i}`, a, b);
  }
  return null;
}

/** One step with fewer tokens a set, without one of its sets, or with a shorter range. */
function* smallerStep(step: SlotStep): Generator<SlotStep> {
  if (step.op === 'ubatch') {
    const { n_seq_tokens, sets } = step;
    for (const n of [1, n_seq_tokens >> 1, n_seq_tokens - 1])
      if (n >= 1 && n < n_seq_tokens) yield { ...step, n_seq_tokens: n };
    if (sets.length > 1) for (const i of sets.keys()) yield { ...step, sets: sets.toSpliced(i, 1) };
  }
  if (step.op === 'rm') {
    if (step.p1 > step.p0 + 1) yield { ...step, p1: step.p0 + 1 };
    if (step.p0 > 0) yield { ...step, p0: step.p0 - 1, p1: step.p1 < 0 ? step.p1 : step.p1 - 1 };
  }
}

/** The history if it is legal, with positions counted anew. */
function* legal(n_slots: number, steps: readonly SlotStep[]): Generator<SlotsInput> {
  const books = new SlotBooks(n_slots);
  const known = (seq: number): boolean => seq < n_slots;
  const counted: SlotStep[] = [];
  for (const step of steps) {
    if (step.op === 'ubatch') {
      if (!books.legalSets(step.sets)) return;
      const last_pos = books.lastPositions(step.sets, step.n_seq_tokens);
      books.advance(step.sets, last_pos);
      counted.push({ ...step, last_pos });
      continue;
    }
    if (step.op === 'cp' && (!known(step.from) || !known(step.to) || books.pos[step.to]! >= 0)) return;
    if ((step.op === 'rm' || step.op === 'keep') && !known(step.seq)) return;
    if (step.op !== 'rm' || !books.cuts(step.seq, step.p0, step.p1)) books.apply(step);
    counted.push(step);
  }
  if (counted.length > 0) yield { n_slots, steps: counted };
}

function withoutSequence(steps: readonly SlotStep[], seq: number): SlotStep[] {
  const rest: SlotStep[] = [];
  for (const step of steps) {
    if (step.op === 'ubatch') {
      const sets = step.sets.map((ids) => ids.filter((id) => id !== seq)).filter((ids) => ids.length > 0);
      if (sets.length > 0) rest.push({ ...step, sets });
    } else if (
      step.op === 'cp' ? step.from !== seq && step.to !== seq : step.op === 'clear' || step.seq !== seq
    ) {
      rest.push(step);
    }
  }
  return rest;
}

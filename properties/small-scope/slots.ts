/**
 * Small scope of slots: three slots in every arrangement of three sequences (each in some slot, alone or with others,
 * or nowhere) and with the search starting at the beginning or at any slot that one sequence has for itself; times
 * every batch of up to 3 tokens, every policy and n_ubatch 1 .. 3.
 *
 * An arrangement is reached by a history: all three sequences take the three slots in a suitable order, those that are
 * not the first of their slot leave, and are copied to where they belong.
 */
import type { SplitPolicy } from '../../contract/batch.ts';
import { answerOf, type Broken, broken } from '../white/frame.ts';
import { doSlotStep, SlotBooks, type SlotStep } from '../white/slot-books.ts';
import { checkSlots } from '../white/slots.ts';
import { completionOf, forEachPattern, patternCount, withoutStacks } from './enumerate.ts';
import { type ScopeResult, ScopeTally } from './result.ts';
import { type RulesScope, slotSteps } from './rules.ts';

const N = 3;
const POLICIES: readonly SplitPolicy[] = ['equal', 'equal-batch', 'equal-sequential', 'sequence', 'whole'];

export interface StartState {
  readonly steps: readonly SlotStep[];
  /** By sequence: its slot, or -1. */
  readonly slot: readonly number[];
}

/** All arrangements, each with every place where the search can start. */
export function startStates(): StartState[] {
  const states: StartState[] = [];
  for (let code = 0; code < (N + 1) ** N; code++) {
    const slot = Array.from({ length: N }, (_, q) => (Math.floor(code / (N + 1) ** q) % (N + 1)) - 1);
    const steps = arrange(slot);
    states.push({ steps, slot });
    // A sequence that has a slot for itself goes on: it stays there, and the search starts there next time.
    for (let q = 0; q < N; q++) {
      if (slot[q]! < 0 || slot.filter((s) => s === slot[q]).length > 1) continue;
      const more: SlotStep = { op: 'ubatch', sets: [[q]], n_seq_tokens: 2, last_pos: [2] };
      states.push({ steps: [...steps, more], slot });
    }
  }
  return states;
}

/** 4^3 arrangements, and 3 * 3 * 3^2 pairs of an arrangement and a sequence that is alone in its slot. */
export const START_STATES = (N + 1) ** N + N * N * N ** (N - 1);

function arrange(slot: readonly number[]): SlotStep[] {
  const first = Array.from({ length: N }, (_, s) => slot.indexOf(s));
  const rest = Array.from({ length: N }, (_, q) => q).filter((q) => !first.includes(q));
  // Slots that shall be empty are held by those who leave.
  let next = 0;
  const order = first.map((q) => (q >= 0 ? q : rest[next++]!));
  const steps: SlotStep[] = [
    { op: 'ubatch', sets: order.map((q) => [q]), n_seq_tokens: 1, last_pos: order.map(() => 0) },
  ];
  for (const q of rest) steps.push({ op: 'rm', seq: q, p0: 0, p1: -1 });
  for (const q of rest) if (slot[q]! >= 0) steps.push({ op: 'cp', from: first[slot[q]!]!, to: q });
  return steps;
}

export function smallScopeSlots(scope: RulesScope): ScopeResult {
  return withoutStacks(() => everyStart(scope));
}

function everyStart(scope: RulesScope): ScopeResult {
  const tally = new ScopeTally();
  const shapes = POLICIES.length * N;
  for (const start of startStates()) {
    const at = `start ${JSON.stringify(start.slot)}`;
    const books = reach(scope, start, tally, at);
    const memory = {
      posMax: (seq: number): number => books.pos[seq]!,
      owned: (seq: number): readonly unknown[] => (books.symbol[seq] === 0 ? [] : [books.symbol[seq]]),
    };
    forEachPattern(N, 3, (seq_id) => {
      tally.enumerated += shapes;
      const raw = { token: seq_id.map((_, i) => i), seq_id: [...seq_id] };
      const limits = { n_vocab: 64, n_batch: 3, n_seq_max: N };
      const want = completionOf(() => scope.complete.oracle(raw, memory, limits));
      const got = completionOf(() => scope.complete.subject(raw, memory, limits));
      tally.compared++;
      const where = `${at}, ids ${JSON.stringify(seq_id)}`;
      if (JSON.stringify(got) !== JSON.stringify(want))
        tally.fail(where, broken('oracle', 'completion', got, want));
      if ('refused' in want) tally.refused += shapes;
      else cutAndPlace(scope, tally, start, want.batch, where);
    });
  }
  return tally.result(START_STATES * patternCount(N, 3) * shapes);
}

/** Does the history on the subject and looks whether it led where it should. */
function reach(
  { subject }: RulesScope,
  { steps, slot }: StartState,
  tally: ScopeTally,
  where: string,
): SlotBooks {
  const books = new SlotBooks(N);
  const slots = subject.slots(N);
  for (const step of steps) {
    if (step.op === 'ubatch') {
      slots.findSlot(step.sets, step.n_seq_tokens, step.last_pos);
      books.advance(step.sets, step.last_pos);
    } else {
      doSlotStep(slots, step);
      books.apply(step);
    }
  }
  const { tail } = slots.view();
  if (tail.some((s, q) => s !== slot[q]))
    tally.fail(where, broken('start', 'slots of the start', tail, slot));
  return books;
}

function cutAndPlace(
  scope: RulesScope,
  tally: ScopeTally,
  start: StartState,
  batch: Parameters<typeof slotSteps>[0],
  where: string,
): void {
  // Policies often cut alike; each distinct list of ubatches is placed once, and counts for all of them.
  const known = new Map<string, { compared: number; broken: Broken | null }>();
  for (const policy of POLICIES) {
    for (let n_ubatch = 1; n_ubatch <= N; n_ubatch++) {
      const cut = answerOf(() => scope.oracle.split(batch, { policy, n_ubatch }));
      if ('refused' in cut) {
        tally.refused++;
        continue;
      }
      tally.legal++;
      const name = cut.value.map(({ index, n_seqs }) => `${n_seqs}:${index}`).join(' ');
      let checked = known.get(name);
      if (checked === undefined) {
        const steps = [...start.steps, ...slotSteps(batch, cut.value)];
        checked = checkSlots(scope.subject, scope.oracle, { n_slots: N, steps });
        known.set(name, checked);
        if (checked.broken !== null) tally.fail(`${where}, ${policy}, n_ubatch ${n_ubatch}`, checked.broken);
      }
      tally.compared += checked.compared;
    }
  }
}

/**
 * `state`: to save, load and go on is the same as to go on. What is kept is everything or one sequence; it comes back
 * into the same context or a new one, the same sequence or another, that is empty or in use. Rows after a load are
 * compared with the sequence alone, positions with the lists; a load of one sequence must leave the others as they
 * are.
 *
 * `torn-state`: bytes that end too early are refused, and nothing changes. A property of its own, so that what a
 * refused load leaves behind does not hide what a good one gets wrong, nor the other way round.
 */
import { HISTORY_CLASSES, REFILL_CLASSES } from './coverage.ts';
import { aloneRows, type EndToEnd, endToEnd } from './end-to-end.ts';
import { contextsAreLegal, drawState } from './generate/state.ts';
import { trace } from './trace.ts';
import type { Call } from './types.ts';

const skip: EndToEnd['skip'] = (subject, model) => {
  if (subject.state !== true) return 'the subject saves no state';
  if (model.encoder !== undefined) return 'what an encoder has said is no part of a state';
  return null;
};

/** Positions after each load, and rows after the first. What is wrong before is found by others. */
const demandAfter =
  (counts: (call: Call) => boolean): EndToEnd['demand'] =>
  ({ script }, t, facts) => {
    const first = script.calls.findIndex(counts);
    if (first < 0 || !contextsAreLegal(script, facts)) return null;
    const positions: [number, number, number, number][] = [];
    trace(script, facts, (lists, c) => {
      const { op } = script.calls[c]!;
      if (op !== 'stateLoad' && op !== 'newContext') return;
      for (let seq = 0; seq < lists.n_seq_max; seq++)
        positions.push([c, seq, lists.posMin(seq), lists.posMax(seq)]);
    });
    return { alone: aloneRows(t).filter(({ call }) => call > first), positions };
  };

export const state = endToEnd({
  name: 'state',
  statement: 'to save, load and go on is the same as to go on',
  classes: {
    ...HISTORY_CLASSES,
    ...REFILL_CLASSES,
    operations: ['stateSave', 'stateLoad', 'newContext', 'clear', 'seqRm', 'seqCp'],
    loads: ['whole', 'sequence'],
  },
  skip,
  draw: (r, facts) => ({ script: drawState(r, facts, false) }),
  demand: demandAfter((call) => call.op === 'stateLoad' && call.refused === undefined),
});

export const tornState = endToEnd({
  name: 'torn-state',
  statement: 'a state that ends too early is refused, and changes nothing',
  classes: {
    ...HISTORY_CLASSES,
    ...REFILL_CLASSES,
    operations: ['stateSave', 'newContext', 'clear'],
    'refused loads': ['whole', 'sequence'],
    refusals: ['state'],
  },
  skip,
  draw: (r, facts) => ({ script: drawState(r, facts, true) }),
  demand: demandAfter((call) => call.op === 'stateLoad' && call.refused !== undefined),
});

/**
 * `state`: to save, load and go on is the same as to go on. What is kept is everything or one sequence; it comes back
 * into the same context or a new one, the same sequence or another, that is empty or in use. Rows after a load are
 * compared with the sequence alone, positions with the lists; a load of one sequence must leave the others as they
 * are, and a load that is refused must leave everything as it is.
 */
import { HISTORY_CLASSES, REFILL_CLASSES } from './coverage.ts';
import { aloneRows, endToEnd } from './end-to-end.ts';
import { contextsAreLegal, drawState } from './generate/state.ts';
import { trace } from './trace.ts';

export const state = endToEnd({
  name: 'state',
  statement: 'to save, load and go on is the same as to go on',
  classes: {
    ...HISTORY_CLASSES,
    ...REFILL_CLASSES,
    operations: ['stateSave', 'stateLoad', 'newContext', 'clear', 'seqRm', 'seqCp'],
    loads: ['whole', 'sequence'],
    refusals: ['state'],
  },
  skip(subject, model) {
    if (subject.state !== true) return 'the subject saves no state';
    if (model.encoder !== undefined) return 'what an encoder has said is no part of a state';
    return null;
  },
  draw(r, facts) {
    return { script: drawState(r, facts) };
  },
  demand({ script }, t, facts) {
    const first = script.calls.findIndex(({ op }) => op === 'stateLoad');
    if (first < 0 || !contextsAreLegal(script, facts)) return null;
    const positions: [number, number, number, number][] = [];
    trace(script, facts.memory, (lists, c) => {
      const { op } = script.calls[c]!;
      if (op !== 'stateLoad' && op !== 'newContext') return;
      for (let seq = 0; seq < lists.n_seq_max; seq++)
        positions.push([c, seq, lists.posMin(seq), lists.posMax(seq)]);
    });
    // What is wrong before a load is found by others.
    return { alone: aloneRows(t).filter(({ call }) => call > first), positions };
  },
});

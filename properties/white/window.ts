/**
 * `window`: in caches with windows, and beside one that keeps everything, each query sees exactly the keys that the
 * predicate of the oracle names (spec: batching.md 6.1 and 6.2), whatever was removed, copied, forgotten and filled
 * again, in however many ubatches; and a removal or copy is refused exactly if the next token would see what is forgotten.
 */
import { note, sizeClass } from '../coverage.ts';
import { type Checked, whiteProperty } from './frame.ts';
import { checkWindows, drawWindows, replayed, smallerWindows, type WindowInput } from './window-history.ts';

export const window = whiteProperty<WindowInput>({
  name: 'window',
  statement: 'a query sees exactly the keys of its window, and nobody asks for what a window has forgotten',
  classes: {
    windows: ['sliding', 'chunked'],
    caches: ['1', '2'],
    sequences: ['1', '2', '3-4', '5-8'],
    'ubatches a batch': ['1', '2', '3-4', '5-8', '9-16'],
    'shared tokens': ['no', 'yes'],
    operations: ['rm', 'cp', 'keep', 'clear', 'seqAdd', 'seqDiv'],
    removals: ['whole', 'prefix', 'middle', 'suffix'],
    copies: ['whole', 'part'],
    refused: ['rm', 'cp', 'seqAdd'],
    forgotten: ['nothing', 'something', 'more than the window holds'],
    'failed batches': ['yes'],
  },
  draw: drawWindows,
  check: (subject, oracle, input): Checked => checkWindows(subject, oracle, input),
  cover(coverage, input) {
    for (const w of input.windows) if (w !== null) note(coverage, 'windows', w.kind);
    note(coverage, 'caches', String(input.windows.length));
    note(coverage, 'sequences', sizeClass(input.n_seq));
    let shared = false;
    let gone = 0;
    for (const { step, lists, forgets } of replayed(input)) {
      gone = Math.max(gone, forgets);
      if (step.op === 'place') {
        shared ||= step.sets.some((ids) => ids.length > 1);
        note(coverage, 'ubatches a batch', sizeClass(Math.ceil(step.sets.length / step.n_ubatch)));
        if (step.undone) note(coverage, 'failed batches', 'yes');
        continue;
      }
      if ('refused' in step && step.refused) {
        note(coverage, 'refused', step.op);
        continue;
      }
      note(coverage, 'operations', step.op);
      if (step.op === 'cp') note(coverage, 'copies', step.p0 <= 0 && step.p1 < 0 ? 'whole' : 'part');
      if (step.op === 'rm' && step.seq >= 0 && lists.length(step.seq) > 0) {
        const last = step.p1 < 0 || step.p1 > lists.posMax(step.seq);
        const first = step.p0 <= lists.owned(step.seq)[0]!.pos;
        note(coverage, 'removals', first ? (last ? 'whole' : 'prefix') : last ? 'suffix' : 'middle');
      }
    }
    note(coverage, 'shared tokens', shared ? 'yes' : 'no');
    const least = Math.min(...input.windows.flatMap((w) => (w === null ? [] : [w.size])));
    const how = gone === 0 ? 'nothing' : gone <= least ? 'something' : 'more than the window holds';
    note(coverage, 'forgotten', how);
  },
  shrink: smallerWindows,
});

/** `cells`: which cells tokens take, and what operations leave in them: INV-KV-1, 2, 3, 5, 6 and the oracle. */
import { note, sizeClass } from '../coverage.ts';
import { Lists } from '../lists.ts';
import {
  applyToLists,
  type CellStep,
  type CellsInput,
  checkCells,
  drawOperation,
  drawPlace,
  smallerHistories,
} from './cell-history.ts';
import { whiteProperty } from './frame.ts';

export const cells = whiteProperty<CellsInput>({
  name: 'cells',
  statement:
    'tokens take free cells, as long as there are enough, and operations free exactly what nobody owns',
  classes: {
    n_cells: ['17-32', '33-64'],
    sequences: ['1', '2', '3-4', '5-8'],
    calls: ['3-4', '5-8'],
    operations: ['rm', 'cp', 'keep', 'clear'],
    fits: ['yes', 'no'],
    'shared tokens': ['no', 'yes'],
  },
  draw(r) {
    const n_seq = r.between(1, 6);
    const n_cells = r.between(17, 64);
    const lists = new Lists(n_seq, 'attention');
    const steps: CellStep[] = [];
    const rounds = r.between(3, 5);
    for (let round = 0; round < rounds; round++) {
      const free = n_cells - lists.used;
      // One call in six is too large by a few tokens; it is drawn on a copy, because it changes nothing.
      const over = r.chance(1 / 6);
      const n = over ? free + r.between(1, 3) : r.between(1, Math.max(1, Math.min(free, 20)));
      steps.push(drawPlace(r, over || n > free ? lists.clone() : lists, n, false));
      for (let k = r.below(3); k > 0; k--) {
        const step = drawOperation(r, lists) as Exclude<CellStep, { op: 'place' }>;
        applyToLists(lists, step);
        steps.push(step);
      }
    }
    return { n_cells, n_seq, steps };
  },
  check: checkCells,
  cover(coverage, { n_cells, n_seq, steps }) {
    note(coverage, 'n_cells', sizeClass(n_cells));
    note(coverage, 'sequences', sizeClass(n_seq));
    let calls = 0;
    let shared = false;
    const lists = new Lists(n_seq, 'attention');
    for (const step of steps) {
      if (step.op !== 'place') {
        note(coverage, 'operations', step.op);
        applyToLists(lists, step);
        continue;
      }
      calls++;
      shared ||= step.sets.some((ids) => ids.length > 1);
      const fits = n_cells - lists.used >= step.pos.length;
      note(coverage, 'fits', fits ? 'yes' : 'no');
      if (fits) for (const ids of step.sets) lists.append(0, ids);
    }
    note(coverage, 'calls', sizeClass(calls));
    note(coverage, 'shared tokens', shared ? 'yes' : 'no');
  },
  shrink: smallerHistories,
});

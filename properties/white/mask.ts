/**
 * `mask`: what each of thirty new tokens sees among some sixty old cells with holes, refilled and shared ones:
 * INV-MASK-1..4 and the oracle (spec: batching.md 6.1).
 */
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

export const mask = whiteProperty<CellsInput>({
  name: 'mask',
  statement: 'a query sees exactly the cells of its own sequence up to its own position',
  classes: {
    sequences: ['1', '2', '3-4', '5-8'],
    queries: ['17-32', '33-64'],
    'shared tokens': ['no', 'yes'],
    operations: ['rm', 'cp'],
  },
  draw(r) {
    const n_seq = r.between(1, 6);
    const lists = new Lists(n_seq, 'attention');
    const steps: CellStep[] = [drawPlace(r, lists, r.between(30, 46), false)];
    for (let k = r.between(1, 3); k > 0; k--) {
      const step = drawOperation(r, lists) as Exclude<CellStep, { op: 'place' }>;
      applyToLists(lists, step);
      steps.push(step);
    }
    steps.push(drawPlace(r, lists, Math.max(1, 64 - lists.used), false));
    const step = drawOperation(r, lists);
    if (step.op === 'cp') {
      applyToLists(lists, step);
      steps.push(step);
    }
    const n = r.between(18, 42);
    steps.push(drawPlace(r, lists, n, true));
    return { n_cells: 64 + n + r.below(3) * 8, n_seq, steps };
  },
  check: checkCells,
  cover(coverage, { n_seq, steps }) {
    note(coverage, 'sequences', sizeClass(n_seq));
    let shared = false;
    for (const step of steps) {
      if (step.op !== 'place') note(coverage, 'operations', step.op);
      else {
        shared ||= step.sets.some((ids) => ids.length > 1);
        if (step.query === true) note(coverage, 'queries', sizeClass(step.pos.length));
      }
    }
    note(coverage, 'shared tokens', shared ? 'yes' : 'no');
  },
  shrink: smallerHistories,
});

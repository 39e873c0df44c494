/** The oracle as a white box: the rules one by one, for comparison with an engine. */
import type { WhiteBox } from '../contract/white.ts';
import { Cells } from './cells.ts';
import { boundedOperators } from './kernels-white.ts';
import { outputRows } from './outputs.ts';
import { Slots } from './slots.ts';
import { split } from './split.ts';
import { WindowLists } from './windows.ts';

export const oracleWhite: WhiteBox = {
  split,
  outputRows,
  slots: (n_slots) => new Slots(n_slots),
  cells: (n_cells) => new Cells(n_cells),
  windows: (shape) => new WindowLists(shape),
  operators: boundedOperators,
};

/** Checks the input of a built-in white-box property: the rule that gets it counts on its form. */
import { SPLIT_POLICIES } from '../contract/batch.ts';
import type { Field } from '../properties/fields.ts';
import { OPERATORS, ROW_KINDS, SIZES } from '../properties/white/kernel-inputs.ts';

const CHECKS: Readonly<Record<string, (white: Field) => void>> = {
  split: checkSplit,
  outputs: checkSplit,
  cells: checkCells,
  mask: checkCells,
  slots: checkSlots,
  window: checkWindows,
  kernels: checkKernels,
};

/** Rules of at most so many sequences, slots or cells. */
const MOST_SEQ = 64;
const MOST_CELLS = 1 << 16;

/** A built-in property that looks at rules. */
export function isWhite(property: string): boolean {
  return Object.hasOwn(CHECKS, property);
}

/** Throws `file`, naming the field. */
export function checkWhite(property: string, white: Field): void {
  CHECKS[property]!(white);
}

function checkSplit(white: Field): void {
  const batch = white.get('batch');
  const length = batch.get('token').list({ least: 1 }).length;
  for (const token of batch.get('token').list()) token.integer({ least: 0 });
  for (const pos of batch.get('pos').list({ length })) pos.integer({ least: 0 });
  for (const flag of batch.get('logits').list({ length })) flag.flag();
  for (const ids of batch.get('seq_id').list({ length })) checkSet(ids, MOST_SEQ);
  const options = white.get('options');
  options.get('policy').oneOf(SPLIT_POLICIES);
  options.get('n_ubatch').integer({ least: 1, most: MOST_CELLS });
  options.optional('n_keep_tail')?.integer({ least: 0, most: MOST_CELLS });
  options.optional('quirks')?.oneOf(['none', 'upstream']);
}

function checkSet(ids: Field, n_seq: number): void {
  const listed = ids.list({ least: 1 }).map((id) => id.integer({ least: 0, most: n_seq - 1 }));
  if (new Set(listed).size < listed.length) ids.bad('a list without doubles');
}

function checkRange(step: Field): void {
  for (const key of ['p0', 'p1']) step.get(key).integer();
}

function checkCells(white: Field): void {
  white.get('n_cells').integer({ least: 1, most: MOST_CELLS });
  const n_seq = white.get('n_seq').integer({ least: 1, most: MOST_SEQ });
  const id = { least: 0, most: n_seq - 1 };
  for (const step of white.get('steps').list()) {
    const op = step.get('op').oneOf(['place', 'rm', 'cp', 'keep', 'clear']);
    if (op === 'place') {
      const pos = step.get('pos').list({ least: 1 });
      for (const p of pos) p.integer({ least: 0 });
      for (const ids of step.get('sets').list({ length: pos.length })) checkSet(ids, n_seq);
      step.optional('query')?.flag();
    }
    if (op === 'rm') step.get('seq').integer({ ...id, least: -1 });
    if (op === 'keep') step.get('seq').integer(id);
    if (op === 'cp') for (const key of ['from', 'to']) step.get(key).integer(id);
    if (op === 'rm' || op === 'cp') checkRange(step);
  }
}

function checkWindows(white: Field): void {
  for (const window of white.get('windows').list({ least: 1 })) {
    if (window.value === null) continue;
    window.get('kind').oneOf(['sliding', 'chunked']);
    window.get('size').integer({ least: 1, most: MOST_CELLS });
  }
  const n_seq = white.get('n_seq').integer({ least: 1, most: MOST_SEQ });
  const id = { least: 0, most: n_seq - 1 };
  for (const step of white.get('steps').list()) {
    const op = step.get('op').oneOf(['place', 'rm', 'cp', 'keep', 'clear', 'seqAdd', 'seqDiv']);
    if (op === 'place') {
      for (const ids of step.get('sets').list({ least: 1 })) checkSet(ids, n_seq);
      step.get('policy').oneOf(SPLIT_POLICIES);
      step.get('n_ubatch').integer({ least: 1, most: MOST_CELLS });
      step.get('undone').flag();
      continue;
    }
    step.optional('refused')?.flag();
    if (op === 'rm') step.get('seq').integer({ ...id, least: -1 });
    const moves = op === 'seqAdd' || op === 'seqDiv';
    if (op === 'keep' || moves) step.get('seq').integer(id);
    if (moves) step.get('by').integer(op === 'seqDiv' ? { least: 1 } : {});
    if (op === 'cp') for (const key of ['from', 'to']) step.get(key).integer(id);
    if (op === 'rm' || op === 'cp' || moves) checkRange(step);
  }
}

function checkSlots(white: Field): void {
  const n_slots = white.get('n_slots').integer({ least: 1, most: MOST_SEQ });
  const id = { least: 0, most: n_slots - 1 };
  for (const step of white.get('steps').list()) {
    const op = step.get('op').oneOf(['ubatch', 'rm', 'cp', 'keep', 'clear']);
    if (op === 'ubatch') {
      const sets = step.get('sets').list({ least: 1 });
      const busy = new Set<number>();
      for (const ids of sets) {
        checkSet(ids, n_slots);
        for (const id of ids.value as number[]) {
          if (busy.has(id)) ids.bad('disjoint from the sets before it');
          busy.add(id);
        }
      }
      step.get('n_seq_tokens').integer({ least: 1, most: MOST_CELLS });
      for (const pos of step.get('last_pos').list({ length: sets.length })) pos.integer({ least: 0 });
    }
    if (op === 'rm') step.get('seq').integer({ ...id, least: -1 });
    if (op === 'keep') step.get('seq').integer(id);
    if (op === 'cp') for (const key of ['from', 'to']) step.get(key).integer(id);
    if (op === 'rm') checkRange(step);
  }
}

/** Widths and depths of an operator, and its rows. */
const MOST_SIZE = 1 << 14;
const MOST_ROWS = 1024;

function checkRows(rows: Field, least: number): void {
  const listed = rows.list({ least });
  if (listed.length > MOST_ROWS) rows.bad(`a list of at most ${MOST_ROWS}`);
  for (const row of listed) {
    row.get('key').integer({ least: 0, most: 2 ** 32 - 1 });
    row.get('kind').oneOf(ROW_KINDS);
  }
}

function checkKernels(white: Field): void {
  const op = white.get('op').oneOf(OPERATORS);
  white.get('seed').integer({ least: 0, most: 2 ** 32 - 1 });
  white.get('type').oneOf(['F32', 'F16']);
  checkRows(white.get('rows'), 1);
  checkRows(white.get('keys'), op === 'attention' ? 1 : 0);
  for (const [name, [least, step]] of Object.entries(SIZES[op])) {
    const size = white.get('sizes').get(name);
    if ((size.integer({ least, most: MOST_SIZE }) - least) % step !== 0) size.bad(`a multiple of ${step}`);
  }
}

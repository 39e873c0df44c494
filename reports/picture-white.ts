/** The input of a white-box rule as a picture: batches as tables, histories of slots and cells step by step. */
import type { CompleteBatch, SplitOptions } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import { Cells } from '../oracle/cells.ts';
import { Slots } from '../oracle/slots.ts';
import { split } from '../oracle/split.ts';
import type { Case } from '../properties/types.ts';
import type { CellStep, CellsInput } from '../properties/white/cell-history.ts';
import type { SlotStep } from '../properties/white/slot-books.ts';
import { rangeInWords } from './call-words.ts';
import { batchTable, numbersInWords } from './picture.ts';
import { cellLines, setInWords, slotLines, windowLines } from './picture-memory.ts';
import { wrapped } from './text.ts';

const MOST_STEPS = 12;

/** Null if the input is none that is known here; `step` is the one that differs. Inputs were checked when the case was read. */
export function whitePicture({ property, white }: Case, step?: number): string[] | null {
  if (property === 'split' || property === 'outputs') return splitLines(white as SplitInput);
  if (property === 'cells' || property === 'mask') return cellSteps(white as CellsInput, step);
  if (property === 'slots') return slotSteps(white as SlotsInput, step);
  return null;
}

interface SplitInput {
  readonly batch: CompleteBatch;
  readonly options: SplitOptions;
}

interface SlotsInput {
  readonly n_slots: number;
  readonly steps: readonly SlotStep[];
}

function splitLines({ batch, options }: SplitInput): string[] {
  const head = wrapped('  ', [
    `cut ${batch.token.length} tokens by ${options.policy}, n_ubatch ${options.n_ubatch}`,
    ...(options.n_keep_tail === undefined ? [] : [`n_keep_tail ${options.n_keep_tail}`]),
  ]);
  try {
    const ubatches = split(batch, options);
    const told = ubatches
      .slice(0, MOST_STEPS)
      .flatMap(({ index }, u) =>
        wrapped(
          `  ubatch ${u} must be ${index.length === 1 ? 'token' : 'the tokens'} `,
          numbersInWords(index).split(' '),
        ),
      );
    const more = ubatches.length - MOST_STEPS;
    const rest = more > 0 ? [`  ... (${more} more ubatches)`] : [];
    return [...head, ...batchTable(batch, ubatches), ...told, ...rest];
  } catch (error) {
    if (!(error instanceof IsobatchError)) throw error;
    return [...head, ...batchTable(batch, null), `  By the rules this is refused (${error.kind}).`];
  }
}

function mark(differs: boolean): string[] {
  return differs ? ['  ^ this step differs'] : [];
}

/** Steps up to the one that differs, the last ones of many. */
function drawn(lines: readonly string[][], step: number | undefined): string[] {
  const end = Math.min((step ?? Number.POSITIVE_INFINITY) + 1, lines.length);
  const first = Math.max(0, end - MOST_STEPS);
  const shown = lines.slice(first, end);
  return [...(first > 0 ? [`  ... (${first} earlier steps)`] : []), ...shown.flat()];
}

function cellSteps({ n_cells, n_seq, steps }: CellsInput, differs?: number): string[] {
  const cells = new Cells(n_cells);
  const lines = steps.map((step, k) => {
    const before = cells.view();
    doCellStep(cells, step);
    const title = wrapped(`  step ${k}: `, cellStepInWords(step));
    return [...title, ...mark(k === differs), ...cellLines(before, cells.view())];
  });
  return [`  memory of n_cells ${n_cells} for n_seq ${n_seq}`, ...drawn(lines, differs)];
}

function cellStepInWords(step: CellStep): string[] {
  if (step.op === 'place')
    return [
      'place',
      ...step.pos.map((pos, i) => `${setInWords(step.sets[i]!)}@${pos}`),
      step.query ? 'and ask what each sees' : '',
    ];
  return operationInWords(step).split(' ');
}

type Operation = Exclude<CellStep, { op: 'place' }> | Exclude<SlotStep, { op: 'ubatch' }>;

function operationInWords(step: Operation): string {
  switch (step.op) {
    case 'rm':
      return `remove ${rangeInWords(step.p0, step.p1)} of ${step.seq < 0 ? 'all sequences' : `sequence ${step.seq}`}`;
    case 'cp': {
      const what = 'p0' in step ? rangeInWords(step.p0, step.p1) : 'everything';
      return `copy ${what} of sequence ${step.from} to sequence ${step.to}`;
    }
    case 'keep':
      return `keep only sequence ${step.seq}`;
    case 'clear':
      return 'clear everything';
  }
}

function doCellStep(cells: Cells, step: CellStep): void {
  if (step.op === 'place') cells.place(step.pos, step.sets);
  else if (step.op === 'rm') cells.seqRm(step.seq, step.p0, step.p1);
  else if (step.op === 'cp') cells.seqCp(step.from, step.to, step.p0, step.p1);
  else if (step.op === 'keep') cells.seqKeep(step.seq);
  else cells.clear();
}

function slotSteps({ n_slots, steps }: SlotsInput, differs?: number): string[] {
  const slots = new Slots(n_slots);
  const lines = steps.map((step, k) => {
    const before = slots.view();
    const told = doSlotStep(slots, step);
    const words = step.op === 'ubatch' ? ubatchInWords(step) : operationInWords(step);
    const title = wrapped(`  step ${k}: `, words.split(' '));
    return [...title, ...mark(k === differs), ...told, ...slotLines(before, slots.view())];
  });
  return [
    `  memory of n_slots ${n_slots}, as many sequences`,
    '  (state 1, 2, ... below: what the first, second, ... set of all ubatches has made)',
    ...drawn(lines, differs),
  ];
}

function ubatchInWords({ sets, n_seq_tokens, last_pos }: Extract<SlotStep, { op: 'ubatch' }>): string {
  const told = sets.map((ids, s) => `${setInWords(ids)} up to position ${last_pos[s]}`);
  return `a ubatch of ${n_seq_tokens} ${n_seq_tokens === 1 ? 'token' : 'tokens'} each for ${told.join(', ')}`;
}

function doSlotStep(slots: Slots, step: SlotStep): string[] {
  if (step.op === 'ubatch') {
    const placement = slots.findSlot(step.sets, step.n_seq_tokens, step.last_pos);
    return windowLines(placement, step.sets, slots.view());
  }
  if (step.op === 'rm' && !slots.seqRm(step.seq, step.p0, step.p1))
    return ['  refused: only a part of a state'];
  if (step.op === 'cp') slots.seqCp(step.from, step.to);
  if (step.op === 'keep') slots.seqKeep(step.seq);
  if (step.op === 'clear') slots.clear();
  return [];
}

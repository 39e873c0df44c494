/**
 * Memory in a text picture: attention as cells, recurrent memory as slots. What is shown is what the oracle's rules
 * make of each call (spec: batching.md 4.2 and 5.2), before and after; a subject that keeps its books differently must
 * still come to the same answers.
 */
import type { CellView, SlotPlacement, SlotView } from '../contract/white.ts';
import { wrapped } from './text.ts';

/** Cells or slots that are shown of a large memory. */
const SHOWN = 48;

/** `{0,2}` */
export function setInWords(ids: readonly number[]): string {
  return `{${ids.join(',')}}`;
}

interface Place {
  readonly pos: number;
  readonly seq: readonly number[];
}

function placeInWords({ pos, seq }: Place, length = 1): string {
  if (seq.length === 0) return 'free';
  return `${setInWords(seq)}@${pos}${length > 1 ? `..${pos + length - 1}` : ''}`;
}

/** Neighbours that hold one sequence set at neighbouring positions, or nothing, are told as one. */
function cellItems(cells: readonly Place[], note: (i: number) => string): string[] {
  const items: { text: string; noted: boolean }[] = [];
  for (let i = 0; i < cells.length; ) {
    const first = cells[i]!;
    let end = i + 1;
    while (end < cells.length && follows(first, cells[end]!, end - i) && note(end) === note(i)) end++;
    const name = end - i > 1 ? `${i}..${end - 1}` : String(i);
    items.push({ text: `${name}:${placeInWords(first, end - i)}${note(i)}`, noted: note(i) !== '' });
    i = end;
  }
  if (items.length <= SHOWN) return items.map(({ text }) => text);
  const rest = items.slice(SHOWN).filter(({ noted }) => noted);
  const shown = [...items.slice(0, SHOWN), { text: '...' }, ...rest.slice(0, SHOWN)];
  return [...shown.map(({ text }) => text), `(${cells.length} cells in all)`];
}

function follows(first: Place, next: Place, distance: number): boolean {
  if (first.seq.length === 0) return next.seq.length === 0;
  return next.pos === first.pos + distance && first.seq.join() === next.seq.join();
}

function change(before: Place | undefined, after: Place): string {
  const [had, has] = [before?.seq.length ?? 0, after.seq.length];
  if (had === 0 && has > 0) return ' (new)';
  if (had > 0 && has === 0) return ' (freed)';
  return before !== undefined && placeInWords(before) !== placeInWords(after) ? ' (changed)' : '';
}

/** "cells before" and "cells after", or one line if nothing changes. */
export function cellLines(before: CellView, after: CellView): string[] {
  const notes = after.cells.map((cell, i) => change(before.cells[i], cell));
  if (notes.every((note) => note === ''))
    return wrapped(
      '  cells, unchanged   ',
      cellItems(after.cells, () => ''),
      '  ',
    );
  return [
    ...wrapped(
      '  cells before       ',
      cellItems(before.cells, () => ''),
      '  ',
    ),
    ...wrapped(
      '  cells after        ',
      cellItems(after.cells, (i) => notes[i]!),
      '  ',
    ),
  ];
}

/** Whose state a slot holds; `src` says where it lies if that is not its own row yet. */
function slotInWords(slot: SlotView['cells'][number], i: number): string {
  if (slot.seq.length === 0) return 'empty';
  const away = slot.src === i ? '' : slot.src < 0 ? ' (zero)' : ` (lies in row ${slot.src})`;
  return `${setInWords(slot.seq)}@${slot.pos}${away}`;
}

export function slotLines(before: SlotView, after: SlotView): string[] {
  const words = (view: SlotView) => view.cells.map(slotInWords);
  const [was, is] = [words(before), words(after)];
  if (was.join() === is.join()) {
    const held = is.map((text, i) => `${i}:${text}`).filter((_, i) => is[i] !== 'empty');
    return wrapped('  slots, unchanged   ', held.length > 0 ? held.slice(0, SHOWN) : ['all empty'], '  ');
  }
  const used = is.map((_, i) => i).filter((i) => was[i] !== 'empty' || is[i] !== 'empty');
  const wide = Math.max(...used.map((i) => was[i]!.length), 'before'.length);
  const rows = used.slice(0, SHOWN).map((i) => {
    const same = was[i] === is[i] ? '   (unchanged)' : '';
    return `  slot ${String(i).padEnd(4)} ${was[i]!.padEnd(wide)}  ->  ${is[i]}${same}`;
  });
  const rest = is.length - used.length;
  const more = used.length > SHOWN ? [`  ... (${used.length} slots in use in all)`] : [];
  const empty = rest > 0 ? [`  (the other ${rest} ${rest === 1 ? 'slot is' : 'slots are'} empty)`] : [];
  return [`  slots     ${'before'.padEnd(wide)}      after`, ...rows, ...more, ...empty];
}

/** Where each state of an ubatch's window is read from and whose it becomes. */
export function windowLines(
  placement: SlotPlacement,
  sets: readonly (readonly number[])[],
  after: SlotView,
): string[] {
  const own = new Set(sets.map((ids) => ids[0]!));
  return placement.src0.map((src, k) => {
    const i = placement.head + k;
    const { seq } = after.cells[i]!;
    const from = src < 0 ? 'zero' : `row ${src}`;
    if (seq.length === 0)
      return `    slot ${i}: nobody's, but between the others: ${src < 0 ? 'must be zeroed' : `carried along from ${from}`}`;
    if (!own.has(seq[0]!) && !seq.some((id) => own.has(id)))
      return `    slot ${i}: ${setInWords(seq)} is not in this ubatch: its state is kept (from ${from})`;
    const start = src < 0 ? 'starts from the zero state' : `goes on from the state in ${from}`;
    return `    slot ${i}: ${setInWords(seq)} ${start}`;
  });
}

/** Small things that all text reports share: numbers, columns, colours where the terminal wants them. */
import { styleText } from 'node:util';

type Style = 'green' | 'red' | 'yellow' | 'dim' | 'bold';

export type Paint = (style: Style, text: string) => string;

/** Colours for a stream, none if NO_COLOR is set or it is no terminal. */
export function paintFor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): Paint {
  const colours = stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
  return colours ? (style, text) => styleText(style, text) : (_, text) => text;
}

/** 1234567 as 1,234,567. */
export function grouped(n: number): string {
  return Math.round(n).toLocaleString('en-US');
}

/** Three digits are enough for a rate. */
export function rate(n: number): string {
  if (!Number.isFinite(n)) return '-';
  return n >= 100 ? grouped(n) : n.toPrecision(n >= 10 ? 3 : 2);
}

export function seconds(s: number): string {
  if (s < 60) return `${s.toFixed(1)} s`;
  return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}

/** Columns as wide as their widest cell; numbers (columns named in `right`) to the right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[]): string[] {
  const widths: number[] = [];
  for (const row of rows)
    for (const [c, cell] of row.entries()) widths[c] = Math.max(widths[c] ?? 0, cell.length);
  return rows.map((row) =>
    row
      .map((cell, c) => (right.includes(c) ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** Columns of a story: wide enough for a terminal, narrow enough for a comment in a review. */
export const WIDTH = 100;

/** Items in lines of at most `width` columns, the first after `head`, the others indented as far. */
export function wrapped(head: string, items: readonly string[], gap = ' ', width = WIDTH): string[] {
  const indent = ' '.repeat(head.length);
  const lines: string[] = [];
  let line = head;
  let empty = true;
  for (const item of items) {
    if (!empty && line.length + gap.length + item.length > width) {
      lines.push(line.trimEnd());
      [line, empty] = [indent, true];
    }
    line += empty ? item : gap + item;
    empty = false;
  }
  return [...lines, line.trimEnd()];
}

/** A sentence in lines of at most `width` columns. */
export function sentenceLines(text: string, indent = '', width = WIDTH): string[] {
  return text.split('\n').flatMap((line) => wrapped(indent, line.split(' '), ' ', width));
}

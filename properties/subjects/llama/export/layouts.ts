/**
 * The table of `llama_context_params` as C, from the adapter's own table: offset and size of each field, and what the
 * library's default function writes there, by which the program recognises a build.
 */
import { type ContextField, type ContextLayout, contextLayouts, FIELDS, fieldsOf } from '../layout.ts';

/** Bytes of a field, and its default as the program reads it: a byte, or a word as a signed number. */
function inC(name: ContextField): { size: number; value: number } {
  const [kind, value] = FIELDS[name];
  if (kind === 'u8') return { size: 1, value };
  return { size: 4, value: kind === 'f32' ? new Int32Array(new Float32Array([value]).buffer)[0]! : value };
}

/** The layout that was measured for a release; undefined for names that were not. */
export function layoutOf(release: string): ContextLayout | undefined {
  return contextLayouts.find((layout) => layout.releases.includes(release));
}

/** A C initialiser of `struct layout LAYOUTS[]`. */
export function layoutTable(layouts: readonly ContextLayout[] = contextLayouts): string {
  const rows = layouts.map(
    ({ releases, bytes, fields }) =>
      `    { "${releases.join(', ')}", ${bytes}, {\n${fieldRows(fields).join('\n')}\n    } },`,
  );
  return `static const struct layout LAYOUTS[] = {\n${rows.join('\n')}\n};\n`;
}

function fieldRows(fields: ContextLayout['fields']): string[] {
  const cells = fieldsOf(fields).map(([name, offset]) => {
    const { size, value } = inC(name);
    return `{ "${name}", ${offset}, ${size}, ${value} }`;
  });
  const rows: string[] = [];
  for (let i = 0; i < cells.length; i += A_LINE)
    rows.push(`        ${cells.slice(i, i + A_LINE).join(', ')},`);
  return rows;
}

/** Fields in a line of the table. */
const A_LINE = 3;

/** Most fields of a layout, and the zero that ends them. */
export const MOST_FIELDS = Math.max(...contextLayouts.map(({ fields }) => Object.keys(fields).length)) + 1;

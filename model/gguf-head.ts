/**
 * The head of a GGUF file on disk, and ranges of its tensors: for files that are too large to be read whole, and for
 * tensors of types that `readGguf` does not know. Only the head is kept in memory. Whether the tables are sound is
 * checked as in `readGguf`; tensors of unknown types are listed without a size.
 *
 * Rule: the GGUF specification (ggml), and ggml's table of types (ids, elements and bytes of a block).
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { IsobatchError } from '../contract/errors.ts';
import { readPrologue } from './gguf.ts';
import { Cursor, MoreBytes } from './gguf-cursor.ts';
import { GGUF_MAX_DIMS, type GgufValue } from './gguf-types.ts';

/** How a type is stored: its name, and elements and bytes of a block. */
export interface BlockType {
  readonly name: string;
  readonly elements: number;
  readonly bytes: number;
}

/** By ggml's id. Ids that are missing were given up, or are not known here. */
export const BLOCK_TYPES: Readonly<Record<number, BlockType>> = {
  0: { name: 'F32', elements: 1, bytes: 4 },
  1: { name: 'F16', elements: 1, bytes: 2 },
  2: { name: 'Q4_0', elements: 32, bytes: 18 },
  3: { name: 'Q4_1', elements: 32, bytes: 20 },
  6: { name: 'Q5_0', elements: 32, bytes: 22 },
  7: { name: 'Q5_1', elements: 32, bytes: 24 },
  8: { name: 'Q8_0', elements: 32, bytes: 34 },
  10: { name: 'Q2_K', elements: 256, bytes: 84 },
  11: { name: 'Q3_K', elements: 256, bytes: 110 },
  12: { name: 'Q4_K', elements: 256, bytes: 144 },
  13: { name: 'Q5_K', elements: 256, bytes: 176 },
  14: { name: 'Q6_K', elements: 256, bytes: 210 },
  30: { name: 'BF16', elements: 1, bytes: 2 },
};

export interface HeadTensor {
  readonly name: string;
  /** ggml order: ne[0] is the fastest dimension. */
  readonly ne: readonly number[];
  readonly n_elements: number;
  readonly type_id: number;
  /** Undefined for a type that is not in the table. */
  readonly type?: BlockType;
  /** Where its data begin, in bytes from the start of the file. */
  readonly offset: number;
}

export interface GgufHead {
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
  readonly version: number;
  readonly alignment: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, HeadTensor>;
}

/** Read at first: most heads fit, but for the vocabulary. */
const FIRST_BYTES = 2 ** 20;

/** Throws `file` if it cannot be read, `gguf` if it is malformed. */
export function readGgufHead(path: string): GgufHead {
  return withFile(path, (file) => {
    const { size } = fstatSync(file);
    for (let n = Math.min(size, FIRST_BYTES); ; ) {
      try {
        return headOf(new Cursor(readRange(file, 0, n), path, size), path);
      } catch (error) {
        if (!(error instanceof MoreBytes)) throw error;
        n = Math.min(size, Math.max(2 * n, error.wanted));
      }
    }
  });
}

/** The elements of a tensor of type F32. Throws `gguf` for another type, `file` if the file ends before. */
export function readF32(head: GgufHead, tensor: HeadTensor): Float32Array<ArrayBuffer> {
  if (tensor.type?.name !== 'F32')
    throw new IsobatchError('gguf', `${head.path}: tensor ${tensor.name} is not F32`, {
      tensor: tensor.name,
    });
  const bytes = withFile(head.path, (file) => readRange(file, tensor.offset, 4 * tensor.n_elements));
  return new Float32Array(bytes.buffer, 0, tensor.n_elements);
}

function headOf(cur: Cursor, path: string): GgufHead {
  const { n_tensors, ...rest } = readPrologue(cur);
  const entries = Array.from({ length: n_tensors }, (_, i) => readEntry(cur, i));
  const start = Math.ceil(cur.offset / rest.alignment) * rest.alignment;
  const tensors = new Map<string, HeadTensor>();
  for (const { at, ...entry } of entries) {
    const { name, type, n_elements } = entry;
    const offset = start + entry.offset;
    const bytes = type === undefined ? 0 : Math.ceil(n_elements / type.elements) * type.bytes;
    if (offset + bytes > cur.size)
      cur.fail(`tensor ${name}`, `its data end at ${offset + bytes}, but the file ends at ${cur.size}`, at);
    if (tensors.has(name)) cur.fail(`tensor ${name}`, 'the name is there twice', at);
    tensors.set(name, { ...entry, offset });
  }
  return { path, size: cur.size, ...rest, tensors };
}

/** Its offset is relative to the start of tensor data still. */
function readEntry(cur: Cursor, i: number): HeadTensor & { readonly at: number } {
  const at = cur.offset;
  const name = cur.string(`tensor[${i}] name`);
  const field = `tensor[${i}] ${JSON.stringify(name.slice(0, 80))}`;
  const n_dims = cur.u32(`n_dims of ${field}`);
  if (n_dims < 1 || n_dims > GGUF_MAX_DIMS) cur.fail(`n_dims of ${field}`, `${n_dims} dimensions`, at);
  const ne: number[] = [];
  let n_elements = 1;
  for (let d = 0; d < n_dims; d++) {
    const n = cur.u64(`ne[${d}] of ${field}`);
    // No known type takes less than a bit for an element.
    if (typeof n === 'bigint' || n * n_elements > 8 * cur.size)
      return cur.fail(`ne[${d}] of ${field}`, `${n} is too large for a file of ${cur.size} bytes`, at);
    ne.push(n);
    n_elements *= n;
  }
  const type_id = cur.u32(`type of ${field}`);
  const type = BLOCK_TYPES[type_id];
  const offset = cur.u64(`offset of ${field}`);
  if (typeof offset === 'bigint') return cur.fail(`offset of ${field}`, `${offset} is outside the file`, at);
  return { name, ne, n_elements, type_id, ...(type === undefined ? {} : { type }), offset, at };
}

function withFile<T>(path: string, use: (file: number) => T): T {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    throw new IsobatchError('file', `cannot read ${path}: ${(error as Error).message}`, { path });
  }
  try {
    return use(file);
  } finally {
    closeSync(file);
  }
}

function readRange(file: number, from: number, n: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(n);
  for (let at = 0; at < n; ) {
    const got = readSync(file, bytes, at, n - at, from + at);
    if (got === 0) throw new IsobatchError('file', `the file ended while it was read, at byte ${from + at}`);
    at += got;
  }
  return bytes;
}

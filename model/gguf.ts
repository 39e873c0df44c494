/**
 * Reads GGUF files (versions 2 and 3, little endian) strictly: a malformed file is refused with the field and the
 * byte offset, before anything larger than the file is allocated. Writing is in `gguf-write.ts`.
 *
 * Rule: the GGUF specification (ggml), and ggml's own checks where the text leaves a choice: the alignment is any
 * power of two, given as u32; arrays of arrays are refused; names of tensors take at most 63 bytes. Stricter than
 * ggml: bools are 0 or 1, strings are UTF-8, dimensions are not zero. Laxer: tensor data may have gaps and any
 * order, as the specification allows. What follows the last tensor is not looked at.
 */
import { IsobatchError } from '../contract/errors.ts';
import { Cursor } from './gguf-cursor.ts';
import {
  GGUF_ALIGNMENT_KEY,
  GGUF_DEFAULT_ALIGNMENT,
  GGUF_MAGIC,
  GGUF_MAX_DIMS,
  GGUF_MAX_KEY,
  GGUF_MAX_TENSOR_NAME,
  type GgufArray,
  type GgufElementType,
  type GgufFile,
  type GgufValue,
  isPowerOfTwo,
  TENSOR_TYPE_IDS,
  VALUE_SIZE,
  VALUE_TYPES,
} from './gguf-types.ts';
import type { Tensor, TensorType } from './types.ts';

export type { GgufArray, GgufElementType, GgufFile, GgufType, GgufValue } from './gguf-types.ts';
export { type GgufContent, writeGguf } from './gguf-write.ts';

/** Smallest metadata entry: length of the key, one byte of key, value type, one byte of value. */
const MIN_ENTRY = 8 + 1 + 4 + 1;
/** Smallest tensor entry: length of the name, one byte of name, n_dims, one dimension, type, offset. */
const MIN_TENSOR = 8 + 1 + 4 + 8 + 4 + 8;

const LITTLE_ENDIAN_HOST = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** What the file says about a tensor, before its data are looked up. */
interface TensorEntry {
  readonly field: string;
  readonly name: string;
  readonly ne: readonly number[];
  readonly type: TensorType;
  readonly n_elements: number;
  readonly n_bytes: number;
  /** Relative to the start of tensor data. */
  readonly data_offset: number;
  /** Where the file states data_offset; for messages. */
  readonly stated_at: number;
}

/**
 * Reads a GGUF file given as bytes; `name` is for messages.
 *
 * Tensor data are views into `bytes` where the address allows it, else copies. Throws `gguf` for every malformed
 * file.
 */
export function readGguf(bytes: Uint8Array, name: string): GgufFile {
  if (!LITTLE_ENDIAN_HOST) {
    throw new IsobatchError('gguf', `${name}: GGUF files can be read on little-endian machines only`);
  }
  const cur = new Cursor(bytes, name);
  const { n_tensors, ...rest } = readPrologue(cur);
  const entries = readTensorEntries(cur, n_tensors);
  return { ...rest, tensors: placeTensors(cur, entries, rest.alignment) };
}

/** What stands before the table of tensors. */
export function readPrologue(cur: Cursor): {
  readonly version: number;
  readonly n_tensors: number;
  readonly metadata: Map<string, GgufValue>;
  readonly alignment: number;
} {
  const version = readVersion(cur);
  const n_tensors = cur.count('n_tensors', MIN_TENSOR);
  const n_kv = cur.count('n_kv', MIN_ENTRY);
  const metadata = readMetadata(cur, n_kv);
  const alignment = readAlignment(cur, metadata);
  return { version, n_tensors, metadata: valuesOnly(metadata), alignment };
}

function readVersion(cur: Cursor): number {
  const magic = cur.u32('magic');
  if (magic !== GGUF_MAGIC) cur.fail('magic', 'not a GGUF file: it does not start with "GGUF"', 0);
  const at = cur.offset;
  const version = cur.u32('version');
  if (version === 2 || version === 3) return version;
  // A big-endian file has its low byte last.
  const what =
    version > 0 && (version & 0xffff) === 0
      ? 'a big-endian file; only little-endian ones can be read'
      : `version ${version}; only 2 and 3 can be read`;
  return cur.fail('version', what, at, { version });
}

interface PlacedValue {
  readonly value: GgufValue;
  /** Where the value starts in the file. */
  readonly offset: number;
}

function readMetadata(cur: Cursor, n_kv: number): Map<string, PlacedValue> {
  const metadata = new Map<string, PlacedValue>();
  for (let i = 0; i < n_kv; i++) {
    const at = cur.offset;
    const key = cur.string(`metadata[${i}] key`);
    if (key === '') cur.fail(`metadata[${i}] key`, 'an empty key', at);
    const key_bytes = cur.offset - at - 8;
    if (key_bytes > GGUF_MAX_KEY) {
      cur.fail(`metadata[${i}] key`, `${key_bytes} bytes; at most ${GGUF_MAX_KEY} are allowed`, at);
    }
    const field = `metadata[${i}] ${quote(key)}`;
    if (metadata.has(key)) cur.fail(field, 'the key is there twice', at, { key });
    const type_at = cur.offset;
    const type = valueType(cur, cur.u32(`type of ${field}`), `type of ${field}`, type_at);
    const offset = cur.offset;
    const value = type === 'array' ? readArray(cur, field) : readScalar(cur, type, field);
    metadata.set(key, { value, offset });
  }
  return metadata;
}

function valueType(cur: Cursor, id: number, field: string, at: number): GgufElementType | 'array' {
  return VALUE_TYPES[id] ?? cur.fail(field, `unknown value type ${id}`, at, { value_type: id });
}

function readScalar(cur: Cursor, type: GgufElementType, field: string): GgufValue {
  switch (type) {
    case 'string':
      return { type, value: cur.string(field) };
    case 'bool':
      return { type, value: cur.bool(field) };
    case 'u64':
    case 'i64':
      return { type, value: cur[type](field) };
    default:
      return { type, value: cur[type](field) };
  }
}

function readArray(cur: Cursor, field: string): GgufValue {
  const at = cur.offset;
  const of = valueType(cur, cur.u32(`element type of ${field}`), `element type of ${field}`, at);
  if (of === 'array') cur.fail(`element type of ${field}`, 'arrays of arrays are not supported', at);
  const n = cur.count(`count of ${field}`, VALUE_SIZE[of]);
  return { type: 'array', of, value: readElements(cur, of, n, field) };
}

function readElements(cur: Cursor, of: GgufElementType, n: number, field: string): GgufArray {
  const at = cur.offset;
  const copy = (): ArrayBuffer => cur.copy(n * VALUE_SIZE[of], field);
  switch (of) {
    case 'u8':
      return new Uint8Array(copy());
    case 'i8':
      return new Int8Array(copy());
    case 'u16':
      return new Uint16Array(copy());
    case 'i16':
      return new Int16Array(copy());
    case 'u32':
      return new Uint32Array(copy());
    case 'i32':
      return new Int32Array(copy());
    case 'f32':
      return new Float32Array(copy());
    case 'f64':
      return new Float64Array(copy());
    case 'bool': {
      const bools = new Uint8Array(copy());
      const bad = bools.findIndex((byte) => byte > 1);
      if (bad >= 0) cur.fail(`${field}[${bad}]`, `a bool is 0 or 1, not ${bools[bad]}`, at + bad);
      return bools;
    }
    case 'string':
      return Array.from({ length: n }, (_, i) => cur.string(`${field}[${i}]`));
    case 'u64':
    case 'i64':
      return Array.from({ length: n }, (_, i) => cur[of](`${field}[${i}]`));
  }
}

function readAlignment(cur: Cursor, metadata: ReadonlyMap<string, PlacedValue>): number {
  const placed = metadata.get(GGUF_ALIGNMENT_KEY);
  if (placed === undefined) return GGUF_DEFAULT_ALIGNMENT;
  const { value, offset } = placed;
  if (value.type !== 'u32') return cur.fail(GGUF_ALIGNMENT_KEY, `must be u32, not ${value.type}`, offset);
  if (!isPowerOfTwo(value.value)) {
    cur.fail(GGUF_ALIGNMENT_KEY, `${value.value} is not a power of two`, offset, { alignment: value.value });
  }
  return value.value;
}

function valuesOnly(metadata: ReadonlyMap<string, PlacedValue>): Map<string, GgufValue> {
  const out = new Map<string, GgufValue>();
  for (const [key, { value }] of metadata) out.set(key, value);
  return out;
}

function readTensorEntries(cur: Cursor, n_tensors: number): Map<string, TensorEntry> {
  const entries = new Map<string, TensorEntry>();
  for (let i = 0; i < n_tensors; i++) {
    const at = cur.offset;
    const name = cur.string(`tensor[${i}] name`);
    if (name === '') cur.fail(`tensor[${i}] name`, 'an empty name', at);
    const name_bytes = cur.offset - at - 8;
    if (name_bytes > GGUF_MAX_TENSOR_NAME) {
      cur.fail(`tensor[${i}] name`, `${name_bytes} bytes; at most ${GGUF_MAX_TENSOR_NAME} are allowed`, at);
    }
    const field = `tensor[${i}] ${quote(name)}`;
    if (entries.has(name)) cur.fail(field, 'the name is there twice', at, { tensor: name });
    entries.set(name, readTensorEntry(cur, name, field));
  }
  return entries;
}

function readTensorEntry(cur: Cursor, name: string, field: string): TensorEntry {
  const dims_at = cur.offset;
  const n_dims = cur.u32(`n_dims of ${field}`);
  if (n_dims < 1 || n_dims > GGUF_MAX_DIMS) {
    cur.fail(`n_dims of ${field}`, `${n_dims} dimensions; 1 to ${GGUF_MAX_DIMS} are allowed`, dims_at, {
      n_dims,
    });
  }
  const ne: number[] = [];
  let n_elements = 1;
  for (let d = 0; d < n_dims; d++) {
    const at = cur.offset;
    const n = cur.u64(`ne[${d}] of ${field}`);
    if (n === 0) cur.fail(`ne[${d}] of ${field}`, 'a dimension of 0', at);
    // No element takes less than a byte here, so more elements than the file has bytes cannot be in it. This also
    // keeps the product exact.
    if (typeof n === 'bigint' || n * n_elements > cur.bytes.byteLength) {
      return cur.fail(
        `ne[${d}] of ${field}`,
        `${n} is too large for a file of ${cur.bytes.byteLength} bytes`,
        at,
        {
          ne: String(n),
        },
      );
    }
    ne.push(n);
    n_elements *= n;
  }
  const type_at = cur.offset;
  const type = tensorType(cur, cur.u32(`type of ${field}`), field, type_at);
  const stated_at = cur.offset;
  const data_offset = cur.u64(`offset of ${field}`);
  if (typeof data_offset === 'bigint') {
    return cur.fail(`offset of ${field}`, `${data_offset} is outside the file`, stated_at);
  }
  return {
    field,
    name,
    ne,
    type,
    n_elements,
    n_bytes: n_elements * (type === 'F32' ? 4 : 2),
    data_offset,
    stated_at,
  };
}

function tensorType(cur: Cursor, id: number, field: string, at: number): TensorType {
  if (id === TENSOR_TYPE_IDS.F32) return 'F32';
  if (id === TENSOR_TYPE_IDS.F16) return 'F16';
  return cur.fail(`type of ${field}`, `ggml type ${id} is not supported; F32 (0) and F16 (1) are`, at, {
    ggml_type: id,
  });
}

/** Checks that the data of all tensors lie in the file, aligned and apart, and looks them up. */
function placeTensors(
  cur: Cursor,
  entries: ReadonlyMap<string, TensorEntry>,
  alignment: number,
): Map<string, Tensor> {
  const start = Math.ceil(cur.offset / alignment) * alignment;
  for (const t of entries.values()) {
    const field = `offset of ${t.field}`;
    if (t.data_offset % alignment !== 0) {
      cur.fail(field, `${t.data_offset} is not a multiple of the alignment ${alignment}`, t.stated_at);
    }
    const end = start + t.data_offset + t.n_bytes;
    if (end > cur.bytes.byteLength) {
      cur.fail(
        field,
        `its ${t.n_bytes} bytes of data end at ${end}, but the file ends at ${cur.bytes.byteLength}`,
        t.stated_at,
        { end, file_bytes: cur.bytes.byteLength },
      );
    }
  }
  refuseOverlap(cur, [...entries.values()]);
  const tensors = new Map<string, Tensor>();
  for (const t of entries.values()) {
    const { name, ne, type } = t;
    tensors.set(name, { name, ne, type, data: tensorData(cur.bytes, start + t.data_offset, t) });
  }
  return tensors;
}

function refuseOverlap(cur: Cursor, entries: readonly TensorEntry[]): void {
  const sorted = [...entries].sort((a, b) => a.data_offset - b.data_offset);
  for (let i = 1; i < sorted.length; i++) {
    const before = sorted[i - 1]!;
    const t = sorted[i]!;
    if (before.data_offset + before.n_bytes > t.data_offset) {
      cur.fail(`offset of ${t.field}`, `its data overlap those of ${before.field}`, t.stated_at);
    }
  }
}

function tensorData(bytes: Uint8Array, offset: number, t: TensorEntry): Float32Array | Uint16Array {
  const size = t.type === 'F32' ? 4 : 2;
  const aligned = (bytes.byteOffset + offset) % size === 0;
  // Typed arrays must start at a multiple of their element size, so odd places need a copy.
  const source = aligned ? bytes : Uint8Array.from(bytes.subarray(offset, offset + t.n_bytes));
  const address = aligned ? bytes.byteOffset + offset : source.byteOffset;
  return t.type === 'F32'
    ? new Float32Array(source.buffer, address, t.n_elements)
    : new Uint16Array(source.buffer, address, t.n_elements);
}

/** Names come from the file: quoted, escaped and cut, so that a message stays one readable line. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}

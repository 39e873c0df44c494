/**
 * Writes GGUF version 3, little endian: metadata and tensors in the order given, every tensor padded with zeros to
 * the alignment. What `readGguf` read and nothing else touched is written back byte for byte.
 *
 * Rule: the GGUF specification (ggml). The writer refuses whatever the reader would refuse.
 */
import { IsobatchError } from '../contract/errors.ts';
import {
  GGUF_ALIGNMENT_KEY,
  GGUF_DEFAULT_ALIGNMENT,
  GGUF_MAGIC,
  GGUF_MAX_DIMS,
  GGUF_MAX_KEY,
  GGUF_MAX_TENSOR_NAME,
  type GgufElementType,
  type GgufValue,
  isPowerOfTwo,
  TENSOR_TYPE_IDS,
  VALUE_SIZE,
  VALUE_TYPES,
} from './gguf-types.ts';
import type { Tensor } from './types.ts';

export interface GgufContent {
  readonly metadata: Iterable<readonly [string, GgufValue]>;
  readonly tensors: Iterable<Tensor>;
  /** Default: `general.alignment` of the metadata, else 32. Any other value is added to the metadata as that key. */
  readonly alignment?: number;
}

/** The bytes of a GGUF file. Throws `gguf` for content that no reader could accept. */
export function writeGguf(content: GgufContent): Uint8Array {
  const metadata = new Map<string, GgufValue>();
  for (const [key, value] of content.metadata) {
    if (metadata.has(key)) refuse(`metadata key ${JSON.stringify(key)}`, 'is there twice');
    metadata.set(key, value);
  }
  const alignment = chooseAlignment(metadata, content.alignment);
  const tensors = [...content.tensors];
  checkTensors(tensors);

  const head = new Sink();
  head.u32(GGUF_MAGIC);
  head.u32(3);
  head.u64(tensors.length);
  head.u64(metadata.size);
  for (const [key, value] of metadata) writeEntry(head, key, value);
  let offset = 0;
  for (const t of tensors) {
    head.string(t.name);
    head.u32(t.ne.length);
    for (const n of t.ne) head.u64(n);
    head.u32(TENSOR_TYPE_IDS[t.type]);
    head.u64(offset);
    offset = pad(offset + t.data.byteLength, alignment);
  }
  const start = tensors.length === 0 ? head.length : pad(head.length, alignment);
  const out = new Uint8Array(start + offset);
  out.set(head.bytes());
  let at = start;
  for (const { data } of tensors) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at = pad(at + data.byteLength, alignment);
  }
  return out;
}

function refuse(what: string, why: string): never {
  throw new IsobatchError('gguf', `cannot write GGUF: ${what} ${why}`, { field: what });
}

function pad(n: number, alignment: number): number {
  return Math.ceil(n / alignment) * alignment;
}

/** Adds the key to the metadata if another alignment than the default is asked for. */
function chooseAlignment(metadata: Map<string, GgufValue>, wanted: number | undefined): number {
  const stated = metadata.get(GGUF_ALIGNMENT_KEY);
  if (stated !== undefined && stated.type !== 'u32')
    refuse(GGUF_ALIGNMENT_KEY, `must be u32, not ${stated.type}`);
  const alignment = wanted ?? (stated?.value as number | undefined) ?? GGUF_DEFAULT_ALIGNMENT;
  if (!isPowerOfTwo(alignment)) refuse('alignment', `${alignment} is not a power of two`);
  if (stated !== undefined && stated.value !== alignment) {
    refuse('alignment', `${alignment} contradicts ${GGUF_ALIGNMENT_KEY} ${stated.value}`);
  }
  if (stated === undefined && alignment !== GGUF_DEFAULT_ALIGNMENT) {
    metadata.set(GGUF_ALIGNMENT_KEY, { type: 'u32', value: alignment });
  }
  return alignment;
}

function checkTensors(tensors: readonly Tensor[]): void {
  const names = new Set<string>();
  for (const t of tensors) {
    const what = `tensor ${JSON.stringify(t.name)}`;
    if (names.has(t.name)) refuse(what, 'is there twice');
    names.add(t.name);
    const n_bytes = Buffer.byteLength(t.name);
    if (n_bytes < 1 || n_bytes > GGUF_MAX_TENSOR_NAME) refuse(what, `has a name of ${n_bytes} bytes`);
    if (t.ne.length < 1 || t.ne.length > GGUF_MAX_DIMS) refuse(what, `has ${t.ne.length} dimensions`);
    if (!t.ne.every((n) => Number.isSafeInteger(n) && n > 0))
      refuse(what, `has the shape [${t.ne.join(', ')}]`);
    const wanted = t.ne.reduce((product, n) => product * n, 1);
    if (t.data.length !== wanted) refuse(what, `has ${t.data.length} elements, but its shape says ${wanted}`);
    if (t.data instanceof Float32Array !== (t.type === 'F32'))
      refuse(what, `has data that are not ${t.type}`);
  }
}

function writeEntry(sink: Sink, key: string, value: GgufValue): void {
  const n_bytes = Buffer.byteLength(key);
  if (n_bytes < 1 || n_bytes > GGUF_MAX_KEY) refuse('metadata key', `of ${n_bytes} bytes`);
  sink.string(key);
  sink.u32(VALUE_TYPES.indexOf(value.type));
  if (value.type !== 'array') {
    sink.scalar(value.type, value.value, key);
    return;
  }
  sink.u32(VALUE_TYPES.indexOf(value.of));
  sink.u64(value.value.length);
  const Raw = RAW[value.of];
  if (Raw !== undefined && value.value instanceof Raw) {
    // The bytes as they are: this also keeps the payload of a NaN.
    const { buffer, byteOffset, byteLength } = value.value;
    sink.raw(new Uint8Array(buffer, byteOffset, byteLength));
    return;
  }
  for (const item of value.value) {
    // Arrays of bools are 0 and 1; anything else is left for `scalar` to refuse.
    sink.scalar(value.of, value.of === 'bool' && (item === 0 || item === 1) ? item === 1 : item, key);
  }
}

/** Typed arrays whose bytes are those of the file, on little-endian machines. */
const RAW = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
  bool: undefined,
  string: undefined,
  u64: undefined,
  i64: undefined,
} as const;

/** Smallest and largest value of the integer types. */
const RANGE: Readonly<Partial<Record<GgufElementType, readonly [bigint, bigint]>>> = {
  u8: [0n, 0xffn],
  i8: [-0x80n, 0x7fn],
  u16: [0n, 0xffffn],
  i16: [-0x8000n, 0x7fffn],
  u32: [0n, 0xffffffffn],
  i32: [-0x80000000n, 0x7fffffffn],
  u64: [0n, 0xffffffffffffffffn],
  i64: [-0x8000000000000000n, 0x7fffffffffffffffn],
};

/** Bytes that grow. */
class Sink {
  length = 0;
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);

  /** Room for n bytes. May replace the buffer, so it goes before any use of #bytes and #view in an expression. */
  #take(n: number): number {
    const at = this.length;
    this.length = at + n;
    if (this.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  u32(n: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, n, true);
  }

  u64(n: number): void {
    const at = this.#take(8);
    this.#view.setBigUint64(at, BigInt(n), true);
  }

  string(text: string): void {
    const encoded = Buffer.from(text, 'utf8');
    this.u64(encoded.length);
    this.raw(encoded);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#take(bytes.length);
    this.#bytes.set(bytes, at);
  }

  scalar(type: GgufElementType, value: string | number | bigint | boolean, key: string): void {
    if (type === 'string') {
      if (typeof value !== 'string') refuse(key, `holds ${value}, which is not a string`);
      this.string(value);
    } else if (type === 'bool') {
      if (typeof value !== 'boolean') refuse(key, `holds ${value}, which is not a bool`);
      const at = this.#take(1);
      this.#view.setUint8(at, value ? 1 : 0);
    } else if (type === 'f32' || type === 'f64') {
      if (typeof value !== 'number') refuse(key, `holds ${value}, which is not a number`);
      const at = this.#take(VALUE_SIZE[type]);
      if (type === 'f32') this.#view.setFloat32(at, value, true);
      else this.#view.setFloat64(at, value, true);
    } else {
      this.#integer(type, value, key);
    }
  }

  #integer(type: GgufElementType, value: string | number | bigint | boolean, key: string): void {
    const integer = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
    if (!integer) refuse(key, `holds ${value}, which is not an integer`);
    const [least, most] = RANGE[type]!;
    const n = BigInt(value);
    if (n < least || n > most) refuse(key, `holds ${n}, which does not fit ${type}`);
    const size = VALUE_SIZE[type];
    const at = this.#take(size);
    // Two's complement, low bytes first.
    let bits = BigInt.asUintN(8 * size, n);
    for (let i = 0; i < size; i++) {
      this.#bytes[at + i] = Number(bits & 0xffn);
      bits >>= 8n;
    }
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

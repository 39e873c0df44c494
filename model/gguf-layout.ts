/**
 * Where everything stands in a GGUF file: a second, plain walk over a file that is known to be right, which notes the
 * place of every count, length, type, dimension and offset. For the fuzzer, which changes those places, and for tests
 * of malformed files. Shares no code with the reader, so that it does not inherit its mistakes.
 */
import { buildLlama } from '../golden/recipe-llama.ts';
import { buildMamba } from '../golden/recipe-mamba.ts';
import { readGguf, writeGguf } from './gguf.ts';

export interface Place {
  readonly kind:
    | 'magic'
    | 'version'
    | 'n_tensors'
    | 'n_kv'
    | 'length' // of a key, name or string
    | 'key' // the bytes of a key
    | 'value_type'
    | 'element_type'
    | 'count' // of an array
    | 'value' // a scalar
    | 'text' // the bytes of a string value
    | 'alignment' // the value of general.alignment
    | 'entry' // a whole metadata entry
    | 'name' // the bytes of a tensor's name
    | 'n_dims'
    | 'ne'
    | 'ggml_type'
    | 'data_offset'
    | 'tensor'; // a whole tensor entry
  readonly offset: number;
  readonly size: number;
  /** Key or tensor to which it belongs. */
  readonly of: string;
}

export interface Layout {
  readonly bytes: Uint8Array;
  readonly places: readonly Place[];
  /** Bytes before the padding and the tensor data. */
  readonly head_bytes: number;
}

const SIZES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const STRING = 8;
const ARRAY = 9;

/** The places of a well-formed file. */
export function layoutOf(bytes: Uint8Array): Layout {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const places: Place[] = [];
  let at = 0;
  let of = '';
  const note = (kind: Place['kind'], size: number): number => {
    places.push({ kind, offset: at, size, of });
    at += size;
    return at - size;
  };
  const u32 = (kind: Place['kind']): number => view.getUint32(note(kind, 4), true);
  const u64 = (kind: Place['kind']): number => Number(view.getBigUint64(note(kind, 8), true));
  const text = (kind: 'key' | 'name' | 'text'): void => {
    const n = u64('length');
    if (kind !== 'text') of = Buffer.from(bytes.buffer, bytes.byteOffset + at, n).toString('utf8');
    note(kind, n);
  };
  const value = (type: number): void => {
    if (type === STRING) text('text');
    else note(of === 'general.alignment' ? 'alignment' : 'value', SIZES[type]!);
  };
  u32('magic');
  u32('version');
  const n_tensors = u64('n_tensors');
  const n_kv = u64('n_kv');
  for (let i = 0; i < n_kv; i++) {
    const start = at;
    text('key');
    const type = u32('value_type');
    if (type === ARRAY) {
      const element = u32('element_type');
      const n = u64('count');
      for (let k = 0; k < n; k++) value(element);
    } else value(type);
    places.push({ kind: 'entry', offset: start, size: at - start, of });
  }
  for (let i = 0; i < n_tensors; i++) {
    const start = at;
    text('name');
    const n_dims = u32('n_dims');
    for (let d = 0; d < n_dims; d++) u64('ne');
    u32('ggml_type');
    u64('data_offset');
    places.push({ kind: 'tensor', offset: start, size: at - start, of });
  }
  return { bytes, places, head_bytes: at };
}

/** Small models of a few kilobytes: both architectures, both tensor types, every value type in the metadata. */
export function baseFiles(): Uint8Array[] {
  const llama = {
    n_vocab: 5,
    n_embd: 4,
    n_layer: 1,
    n_head: 2,
    n_head_kv: 1,
    n_embd_head: 2,
    n_ff: 6,
    n_ctx_train: 16,
  };
  const mamba = { n_vocab: 5, n_embd: 2, n_layer: 1, d_conv: 3, d_state: 2, dt_rank: 1, n_ctx_train: 16 };
  return [
    withAllTypes(buildLlama('base-llama', { ...llama, loadable: false }, 'F32')),
    withAllTypes(buildLlama('base-llama', { ...llama, loadable: false }, 'F16')),
    withAllTypes(buildMamba('base-mamba', { ...mamba, loadable: false }, 'F32')),
    withAllTypes(buildMamba('base-mamba', { ...mamba, loadable: false }, 'F16')),
  ];
}

/** The same model with keys of every type that no architecture reads. */
function withAllTypes(bytes: Uint8Array): Uint8Array {
  const { metadata, tensors } = readGguf(bytes, 'base');
  return writeGguf({
    metadata: [
      ...metadata,
      ['general.alignment', { type: 'u32', value: 32 }],
      ['test.u8', { type: 'u8', value: 255 }],
      ['test.i8', { type: 'i8', value: -128 }],
      ['test.u16', { type: 'u16', value: 65535 }],
      ['test.i16', { type: 'i16', value: -32768 }],
      ['test.i32', { type: 'i32', value: -2147483648 }],
      ['test.u64', { type: 'u64', value: 2n ** 64n - 1n }],
      ['test.i64', { type: 'i64', value: -(2n ** 63n) }],
      ['test.f64', { type: 'f64', value: 0.1 }],
      ['test.bool', { type: 'bool', value: true }],
      ['test.text', { type: 'string', value: 'Grüße' }],
      ['test.strings', { type: 'array', of: 'string', value: ['', 'a', 'ß'] }],
      ['test.bools', { type: 'array', of: 'bool', value: Uint8Array.of(0, 1, 1) }],
      ['test.i32s', { type: 'array', of: 'i32', value: Int32Array.of(-1, 2) }],
      ['test.u64s', { type: 'array', of: 'u64', value: [1, 2n ** 63n] }],
      ['test.empty', { type: 'array', of: 'f32', value: new Float32Array(0) }],
    ],
    tensors: tensors.values(),
  });
}

/**
 * What the metadata of a GGUF file can hold, as records: the thirteen value types, with their ids in the file and
 * their sizes. Reader and writer share this table, so that they cannot disagree.
 *
 * Rule: the GGUF specification (ggml), versions 2 and 3, little endian.
 */
import type { Tensor } from './types.ts';

/** Names of the value types; the index is the id in the file. */
export const VALUE_TYPES = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;

export type GgufType = (typeof VALUE_TYPES)[number];
/** Types of which arrays can be made; arrays of arrays are refused, as ggml refuses them. */
export type GgufElementType = Exclude<GgufType, 'array'>;

/** Bytes of one value in the file; of a string only its length field. */
export const VALUE_SIZE: Readonly<Record<GgufElementType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  u64: 8,
  i64: 8,
  f64: 8,
};

/**
 * Elements of an array. Numbers up to 32 bits and floats are typed arrays (bools as Uint8Array of 0 and 1), so that
 * an array never takes more memory than it takes in the file; 64-bit integers are numbers where safe, else bigints.
 */
export type GgufArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | readonly string[]
  | readonly (number | bigint)[];

/** One metadata value with its type in the file. 64-bit integers are numbers where safe, else bigints. */
export type GgufValue =
  | { readonly type: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64'; readonly value: number }
  | { readonly type: 'u64' | 'i64'; readonly value: number | bigint }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'array'; readonly of: GgufElementType; readonly value: GgufArray };

/** A file that was read. Both maps keep the order of the file. */
export interface GgufFile {
  readonly version: number;
  /** Tensor data start at multiples of this many bytes. */
  readonly alignment: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

export const GGUF_MAGIC = 0x46554747; // "GGUF" as a little-endian u32
export const GGUF_ALIGNMENT_KEY = 'general.alignment';
export const GGUF_DEFAULT_ALIGNMENT = 32;
/** ggml keeps names in 64 bytes with a final zero. */
export const GGUF_MAX_TENSOR_NAME = 63;
export const GGUF_MAX_KEY = 65_535;
export const GGUF_MAX_DIMS = 4;

/** ggml's ids of the tensor types that we read. */
export const TENSOR_TYPE_IDS = { F32: 0, F16: 1 } as const;

/** True for 1, 2, 4, ... 2^31. */
export function isPowerOfTwo(n: number): boolean {
  return Number.isInteger(n) && n > 0 && n <= 2 ** 31 && (n & (n - 1)) === 0;
}

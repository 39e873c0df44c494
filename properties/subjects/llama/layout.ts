/**
 * How the structs of libllama lie in memory, by era: the offsets of the fields of `llama_context_params` that are set,
 * and the defaults by which a layout is recognised. Facts: spec: libllama.md 2, measured on nine releases.
 *
 * An era is recognised by what the library's own default function writes, never by a version number, so a build of
 * one's own gets the layout that it has. One that matches none is refused rather than misread.
 */

/** Bytes of `llama_batch` in the oldest release; later ones read a prefix of it. */
export const BATCH_BYTES = 72;
/** Room for every params struct so far, passed by value. */
export const PARAMS_BYTES = 512;

type Kind = 'u32' | 'i32' | 'u8' | 'f32';

/** A field: its offset in bytes and its type. */
export type Field = readonly [offset: number, kind: Kind];

export interface ContextLayout {
  readonly name: string;
  /** Releases that were measured. */
  readonly releases: readonly string[];
  /** Bytes that the default function writes, the last one included. */
  readonly bytes: number;
  readonly fields: Readonly<Partial<Record<ContextField, Field>>>;
}

export type ContextField =
  | 'n_ctx'
  | 'n_batch'
  | 'n_ubatch'
  | 'n_seq_max'
  | 'n_threads'
  | 'n_threads_batch'
  | 'pooling_type'
  | 'flash_attn_type'
  | 'flash_attn'
  | 'type_k'
  | 'type_v'
  | 'embeddings'
  | 'offload_kqv'
  | 'no_perf'
  | 'swa_full'
  | 'kv_unified';

const SIZES = {
  n_ctx: [0, 'u32'],
  n_batch: [4, 'u32'],
  n_ubatch: [8, 'u32'],
  n_seq_max: [12, 'u32'],
} as const satisfies Partial<Record<ContextField, Field>>;

const THREADS_16 = {
  ...SIZES,
  n_threads: [16, 'i32'],
  n_threads_batch: [20, 'i32'],
  pooling_type: [28, 'i32'],
  type_k: [88, 'i32'],
  type_v: [92, 'i32'],
} as const satisfies Partial<Record<ContextField, Field>>;

export const contextLayouts: readonly ContextLayout[] = [
  {
    name: 'logits_all',
    releases: ['b3889', 'b4234', 'b4980'],
    bytes: 120,
    fields: {
      ...THREADS_16,
      embeddings: [97, 'u8'],
      offload_kqv: [98, 'u8'],
      flash_attn: [99, 'u8'],
      no_perf: [100, 'u8'],
    },
  },
  {
    name: 'swa_full',
    releases: ['b5640'],
    bytes: 118,
    fields: {
      ...THREADS_16,
      embeddings: [112, 'u8'],
      offload_kqv: [113, 'u8'],
      flash_attn: [114, 'u8'],
      no_perf: [115, 'u8'],
      swa_full: [117, 'u8'],
    },
  },
  {
    name: 'kv_unified',
    releases: ['b6122'],
    bytes: 119,
    fields: {
      ...THREADS_16,
      embeddings: [112, 'u8'],
      offload_kqv: [113, 'u8'],
      flash_attn: [114, 'u8'],
      no_perf: [115, 'u8'],
      swa_full: [117, 'u8'],
      kv_unified: [118, 'u8'],
    },
  },
  {
    name: 'flash_attn_type',
    releases: ['b6673'],
    bytes: 118,
    fields: {
      ...THREADS_16,
      flash_attn_type: [36, 'i32'],
      embeddings: [112, 'u8'],
      offload_kqv: [113, 'u8'],
      no_perf: [114, 'u8'],
      swa_full: [116, 'u8'],
      kv_unified: [117, 'u8'],
    },
  },
  {
    name: 'samplers',
    releases: ['b8095', 'b8352'],
    bytes: 136,
    fields: {
      ...THREADS_16,
      flash_attn_type: [36, 'i32'],
      embeddings: [112, 'u8'],
      offload_kqv: [113, 'u8'],
      no_perf: [114, 'u8'],
      swa_full: [116, 'u8'],
      kv_unified: [117, 'u8'],
    },
  },
  {
    name: 'n_rs_seq',
    releases: ['v0.5.0'],
    bytes: 160,
    fields: {
      ...SIZES,
      n_threads: [28, 'i32'],
      n_threads_batch: [32, 'i32'],
      pooling_type: [44, 'i32'],
      flash_attn_type: [52, 'i32'],
      type_k: [104, 'i32'],
      type_v: [108, 'i32'],
      embeddings: [128, 'u8'],
      offload_kqv: [129, 'u8'],
      no_perf: [130, 'u8'],
      swa_full: [132, 'u8'],
      kv_unified: [133, 'u8'],
    },
  },
];

/** What the default function of every era puts into these fields. */
export const DEFAULTS: Readonly<Partial<Record<ContextField, readonly number[]>>> = {
  n_ctx: [512],
  n_batch: [2048],
  n_ubatch: [512],
  n_seq_max: [1],
  n_threads: [4],
  n_threads_batch: [4],
  pooling_type: [-1],
  flash_attn_type: [-1],
  flash_attn: [0],
  type_k: [1],
  type_v: [1],
  embeddings: [0],
  offload_kqv: [1],
  no_perf: [0, 1],
  swa_full: [0, 1],
  kv_unified: [0, 1],
};

/** The field's value in a params struct. */
export function readField(struct: DataView, [offset, kind]: Field): number {
  if (kind === 'u8') return struct.getUint8(offset);
  if (kind === 'f32') return struct.getFloat32(offset, true);
  return kind === 'u32' ? struct.getUint32(offset, true) : struct.getInt32(offset, true);
}

export function writeField(struct: DataView, [offset, kind]: Field, value: number): void {
  if (kind === 'u8') struct.setUint8(offset, value);
  else if (kind === 'f32') struct.setFloat32(offset, value, true);
  else if (kind === 'u32') struct.setUint32(offset, value, true);
  else struct.setInt32(offset, value, true);
}

/** Bytes up to the last one that a function wrote, by what it left of two different fillings. */
export function writtenBytes(first: Uint8Array, second: Uint8Array): number {
  for (let i = first.length - 1; i >= 0; i--) if (first[i] === second[i]) return i + 1;
  return 0;
}

/** The layout whose size and defaults these are; undefined if none or several fit. */
export function recogniseLayout(struct: Uint8Array, bytes: number): ContextLayout | undefined {
  const view = new DataView(struct.buffer, struct.byteOffset, struct.byteLength);
  const fits = contextLayouts.filter(
    (layout) =>
      layout.bytes === bytes &&
      Object.entries(layout.fields).every(([name, field]) =>
        DEFAULTS[name as ContextField]!.includes(readField(view, field)),
      ),
  );
  return fits.length === 1 ? fits[0] : undefined;
}

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

/**
 * The fields that are known: type, and what the default function of every era puts there. `yarn_ext_factor` and
 * `op_offload` are never set; they stand where a field that came before them shows.
 */
export const FIELDS = {
  n_ctx: ['u32', 512],
  n_batch: ['u32', 2048],
  n_ubatch: ['u32', 512],
  n_seq_max: ['u32', 1],
  n_rs_seq: ['u32', 0],
  n_threads: ['i32', 4],
  n_threads_batch: ['i32', 4],
  pooling_type: ['i32', -1],
  flash_attn_type: ['i32', -1],
  yarn_ext_factor: ['f32', -1],
  type_k: ['i32', 1],
  type_v: ['i32', 1],
  embeddings: ['u8', 0],
  offload_kqv: ['u8', 1],
  flash_attn: ['u8', 0],
  no_perf: ['u8', 1],
  op_offload: ['u8', 1],
  swa_full: ['u8', 1],
  kv_unified: ['u8', 0],
} as const satisfies Record<string, readonly [Kind, number]>;

export type ContextField = keyof typeof FIELDS;

/** Offsets in bytes of the fields that there are. */
export type Offsets = Readonly<Partial<Record<ContextField, number>>>;

export interface ContextLayout {
  readonly name: string;
  /** Releases that were measured. */
  readonly releases: readonly string[];
  /** Bytes that the default function writes, the last one included. */
  readonly bytes: number;
  readonly fields: Offsets;
}

/** An era as what it changes: fields that moved or are new; null for those that went. */
interface Era extends Omit<ContextLayout, 'fields'> {
  readonly changes: Readonly<Partial<Record<ContextField, number | null>>>;
}

const ERAS: readonly Era[] = [
  {
    name: 'logits_all',
    releases: ['b3889', 'b4234', 'b4980'],
    bytes: 120,
    changes: {
      n_ctx: 0,
      n_batch: 4,
      n_ubatch: 8,
      n_seq_max: 12,
      n_threads: 16,
      n_threads_batch: 20,
      pooling_type: 28,
      yarn_ext_factor: 44,
      type_k: 88,
      type_v: 92,
      embeddings: 97,
      offload_kqv: 98,
      flash_attn: 99,
      no_perf: 100,
    },
  },
  {
    // The flags went to the end.
    name: 'swa_full',
    releases: ['b5640'],
    bytes: 118,
    changes: {
      embeddings: 112,
      offload_kqv: 113,
      flash_attn: 114,
      no_perf: 115,
      op_offload: 116,
      swa_full: 117,
    },
  },
  { name: 'kv_unified', releases: ['b6122'], bytes: 119, changes: { kv_unified: 118 } },
  {
    // A type took the place of a flag.
    name: 'flash_attn_type',
    releases: ['b6673'],
    bytes: 118,
    changes: {
      flash_attn_type: 36,
      yarn_ext_factor: 48,
      flash_attn: null,
      no_perf: 114,
      op_offload: 115,
      swa_full: 116,
      kv_unified: 117,
    },
  },
  { name: 'samplers', releases: ['b8095', 'b8352'], bytes: 136, changes: {} },
  {
    // Four words came before and between the old ones.
    name: 'n_rs_seq',
    releases: ['v0.5.0'],
    bytes: 160,
    changes: {
      n_rs_seq: 16,
      n_threads: 28,
      n_threads_batch: 32,
      pooling_type: 44,
      flash_attn_type: 52,
      yarn_ext_factor: 64,
      type_k: 104,
      type_v: 108,
      embeddings: 128,
      offload_kqv: 129,
      no_perf: 130,
      op_offload: 131,
      swa_full: 132,
      kv_unified: 133,
    },
  },
];

export const contextLayouts: readonly ContextLayout[] = ERAS.map(({ changes: _, ...era }, i) => {
  const fields = Object.assign({}, ...ERAS.slice(0, i + 1).map(({ changes }) => changes)) as Era['changes'];
  const there = fieldsOf(fields as Offsets).filter(([, offset]) => offset !== null);
  return { ...era, fields: Object.fromEntries(there) };
});

/** Names and offsets. */
export function fieldsOf(fields: Offsets): [ContextField, number][] {
  return Object.entries(fields) as [ContextField, number][];
}

/** What stands in the field at this offset of a params struct. */
export function readField(struct: DataView, name: ContextField, offset: number): number {
  switch (FIELDS[name][0]) {
    case 'u8':
      return struct.getUint8(offset);
    case 'u32':
      return struct.getUint32(offset, true);
    case 'i32':
      return struct.getInt32(offset, true);
    case 'f32':
      return struct.getFloat32(offset, true);
  }
}

export function writeField(struct: DataView, name: ContextField, offset: number, value: number): void {
  const [kind] = FIELDS[name];
  if (kind === 'u8') struct.setUint8(offset, value);
  else if (kind === 'f32') struct.setFloat32(offset, value, true);
  else struct.setUint32(offset, value, true);
}

/** Bytes up to the last one that a function wrote, by what it left of two different fillings. */
export function writtenBytes(first: Uint8Array, second: Uint8Array): number {
  for (let i = first.length - 1; i >= 0; i--) if (first[i] === second[i]) return i + 1;
  return 0;
}

/**
 * The layout whose size and defaults these are; or, if there is none, a clause that says what differs from the one
 * that comes nearest.
 */
export function recogniseLayout(struct: Uint8Array, bytes: number): ContextLayout | string {
  const view = new DataView(struct.buffer, struct.byteOffset, struct.byteLength);
  const compared = contextLayouts.map((layout) => {
    const wrong = differences(view, bytes, layout);
    return { layout, wrong, share: wrong.length / Object.keys(layout.fields).length };
  });
  const off = ({ layout }: { layout: ContextLayout }): number => Math.abs(layout.bytes - bytes);
  const [best] = compared.sort((a, b) => a.share - b.share || off(a) - off(b));
  const { layout, wrong } = best!;
  return wrong.length === 0 ? layout : `nearest is ${layout.releases.join(', ')}, but ${wrong.join(', ')}`;
}

/** What a struct of defaults has that the layout has not; empty if it is that of the layout. */
function differences(view: DataView, bytes: number, layout: ContextLayout): string[] {
  const wrong = bytes === layout.bytes ? [] : [`it ends after ${bytes} bytes, not ${layout.bytes}`];
  for (const [name, offset] of fieldsOf(layout.fields)) {
    const [got, want] = [readField(view, name, offset), FIELDS[name][1]];
    if (got !== want) wrong.push(`${name} (byte ${offset}) is ${got}, not ${want}`);
  }
  return wrong;
}

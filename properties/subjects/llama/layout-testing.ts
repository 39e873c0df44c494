/** `llama_context_params` for tests: its members in the order of `llama.h`, laid out by the rules of C. */
import { PARAMS_BYTES } from './layout.ts';

/** Name, bytes, default; whole numbers, or floats where the name is one of `FLOATS`. */
export type Member = readonly [name: string, bytes: number, value: number];

const FLOATS: readonly string[] = [
  'rope_freq_base',
  'rope_freq_scale',
  'yarn_ext_factor',
  'yarn_attn_factor',
  'yarn_beta_fast',
  'yarn_beta_slow',
  'defrag_thold',
];

const words = (names: Readonly<Record<string, number>>): Member[] =>
  Object.entries(names).map(([name, value]) => [name, 4, value]);
const flags = (names: Readonly<Record<string, number>>): Member[] =>
  Object.entries(names).map(([name, value]) => [name, 1, value]);
const pointers = (...names: string[]): Member[] => names.map((name) => [name, 8, 0]);

/** The members of a release that was measured. */
export function membersOf(release: string): readonly Member[] {
  const n = ['b3889', 'b4234', 'b4980', 'b5640', 'b6122', 'b6673', 'b8095', 'b8352', 'v0.5.0'].indexOf(
    release,
  );
  if (n < 0) throw new RangeError(release);
  const [old, typed, newest] = [n < 3, n >= 5, n >= 8];
  const yarn = typed ? { attn: -1, fast: -1, slow: -1 } : { attn: 1, fast: 32, slow: 1 };
  const abort = pointers('abort_callback', 'abort_callback_data');
  const last = [
    ...(old ? flags({ logits_all: 0 }) : []),
    ...flags({ embeddings: 0, offload_kqv: 1, ...(typed ? {} : { flash_attn: 0 }), no_perf: 1 }),
    ...(old ? [] : flags({ op_offload: 1, swa_full: 1 })),
    ...(n >= 4 ? flags({ kv_unified: 0 }) : []),
  ];
  return [
    ...words({ n_ctx: 512, n_batch: 2048, n_ubatch: 512, n_seq_max: 1 }),
    ...(newest ? words({ n_rs_seq: 0, n_outputs_max: 0, n_outputs_per_seq: 1 }) : []),
    ...words({ n_threads: 4, n_threads_batch: 4 }),
    ...(newest ? words({ ctx_type: 0 }) : []),
    ...words({ rope_scaling_type: -1, pooling_type: -1, attention_type: -1 }),
    ...(typed ? words({ flash_attn_type: -1 }) : []),
    ...words({ rope_freq_base: 0, rope_freq_scale: 0, yarn_ext_factor: -1, yarn_attn_factor: yarn.attn }),
    ...words({ yarn_beta_fast: yarn.fast, yarn_beta_slow: yarn.slow, yarn_orig_ctx: 0, defrag_thold: -1 }),
    ...pointers('cb_eval', 'cb_eval_user_data'),
    ...words({ type_k: 1, type_v: 1 }),
    ...(old ? [...last, ...abort] : [...abort, ...last]),
    ...(n >= 6 ? pointers('samplers', 'n_samplers') : []),
    ...(newest ? pointers('ctx_other') : []),
  ];
}

export interface Image {
  /** `PARAMS_BYTES` long; holes and what lies behind the members keep the filling, 0xaa. */
  readonly struct: Uint8Array;
  /** Up to the end of the last member. */
  readonly bytes: number;
  /** Offsets by name. */
  readonly at: ReadonlyMap<string, number>;
}

/** What a default function writes whose struct has these members. */
export function imageOf(members: readonly Member[]): Image {
  const struct = new Uint8Array(PARAMS_BYTES).fill(0xaa);
  const view = new DataView(struct.buffer);
  const at = new Map<string, number>();
  let bytes = 0;
  for (const [name, size, value] of members) {
    bytes = Math.ceil(bytes / size) * size;
    at.set(name, bytes);
    if (size === 1) view.setInt8(bytes, value);
    else if (size === 8) view.setBigInt64(bytes, BigInt(value), true);
    else if (FLOATS.includes(name)) view.setFloat32(bytes, value, true);
    else view.setInt32(bytes, value, true);
    bytes += size;
  }
  return { struct, bytes, at };
}

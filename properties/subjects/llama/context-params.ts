/**
 * From the parameters of a context, as the contract has them, to the fields of `llama_context_params`. The adapter and
 * the exported C programs take the same ones, so that both run the same context.
 */
import type { ContextParams, Pooling } from '../../../contract/subject.ts';
import { type ContextField, fieldsOf, type Offsets, writeField } from './layout.ts';

const GGML_F32 = 0;
const GGML_F16 = 1;

/** enum llama_pooling_type. */
const POOLING_TYPE: Readonly<Record<Pooling, number>> = { none: 0, mean: 1, cls: 2, last: 3 };

export type ContextValues = Partial<Record<ContextField, number>>;

/** Cells beyond those that a history holds at once, so that a whole batch finds a place in one piece. */
const SIDE_BY_SIDE = 256;

/**
 * The values for a build with these fields. Every sequence gets room for n_ctx tokens, whatever the library divides it
 * by. Releases before b6673, whose layout has no flash_attn_type, want free cells side by side, and answer that a
 * fragmented cache is full.
 */
export function contextValues(params: ContextParams, fields: Offsets): ContextValues {
  const { n_seq_max, n_ubatch } = params;
  const n_batch = Math.max(params.n_batch, n_ubatch);
  const unified = params.kv_unified ?? true;
  const divided = fields.kv_unified !== undefined && !unified;
  const spare = fields.flash_attn_type === undefined ? SIDE_BY_SIDE : 0;
  const per_seq = Math.max(params.n_ctx, n_batch) + spare;
  const type = (params.type_kv ?? 'F32') === 'F16' ? GGML_F16 : GGML_F32;
  return {
    n_ctx: divided ? per_seq * n_seq_max : per_seq,
    n_batch,
    n_ubatch,
    n_seq_max,
    n_rs_seq: params.n_rs_seq ?? 0,
    n_threads: params.n_threads ?? 1,
    n_threads_batch: params.n_threads ?? 1,
    type_k: type,
    type_v: type,
    flash_attn: params.flash_attn ? 1 : 0,
    flash_attn_type: params.flash_attn ? 1 : 0,
    embeddings: params.embeddings ? 1 : 0,
    // Without a word on it the library does what the model file says.
    ...(params.embeddings ? { pooling_type: POOLING_TYPE[params.pooling ?? 'none'] } : {}),
    kv_unified: unified ? 1 : 0,
    swa_full: (params.swa_full ?? true) ? 1 : 0,
    no_perf: 1,
  };
}

/** Writes them into a struct of defaults. A field that the build does not have is left out. */
export function setContext(struct: Uint8Array, params: ContextParams, fields: Offsets): void {
  const view = new DataView(struct.buffer, struct.byteOffset, struct.byteLength);
  const values = contextValues(params, fields);
  for (const [name, offset] of fieldsOf(fields)) {
    const value = values[name];
    if (value !== undefined) writeField(view, name, offset, value);
  }
}

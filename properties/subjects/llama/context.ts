/** A context of the real llama.cpp: decodes, memory operations and state. */
import koffi from 'koffi';
import type { Batch } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import {
  type ContextParams,
  type DecodeResult,
  type LegalDifferences,
  type ModelInfo,
  rowWidth,
  type SubjectContext,
} from '../../../contract/subject.ts';
import type { ShownCells } from '../../../contract/white.ts';
import type { Api } from './api.ts';
import { NativeBatch } from './batch.ts';
import type { CellReader } from './cells.ts';
import type { Address } from './library.ts';
import { drives, type Era, legalOf } from './releases.ts';

const NO_ROWS: DecodeResult = { n_outputs: 0, logits: new Float32Array(0) };

/** An encoder begins anew with each batch. */
function fromZero(batch: Batch): readonly number[] {
  if (batch.pos !== undefined) return batch.pos;
  const next = new Map<number, number>();
  return batch.token.map((_, i) => {
    const ids = batch.seq_id?.[i] ?? [0];
    const pos = next.get(ids[0] ?? 0) ?? 0;
    for (const id of ids) next.set(id, pos + 1);
    return pos;
  });
}

export class LlamaContext implements SubjectContext {
  readonly #api: Api;
  readonly #era: Era;
  readonly #ctx: Address;
  readonly #info: ModelInfo;
  readonly #legal: LegalDifferences;
  readonly #params: ContextParams;
  readonly #batch = new NativeBatch();
  readonly #memory: Address;
  /** Bytes of the state of a sequence that holds nothing, where that must tell what the library does not. */
  readonly #sizeOfNothing: number;
  readonly #cells: CellReader;
  #rows = new Float32Array(0);

  constructor(api: Api, era: Era, ctx: Address, info: ModelInfo, params: ContextParams, cells: CellReader) {
    this.#api = api;
    this.#era = era;
    this.#ctx = ctx;
    this.#info = info;
    this.#params = params;
    this.#cells = cells;
    this.#memory =
      api.library.memory === 'llama_memory'
        ? (api.call('void *llama_get_memory(void *ctx)', ctx) as Address)
        : ctx;
    this.#legal = legalOf(era);
    this.#sizeOfNothing = this.#tellsEmpty() || info.memory === 'none' ? 0 : this.#sizeOf(0);
  }

  decode(batch: Batch): DecodeResult {
    return this.#run(batch, 'decode');
  }

  encode(batch: Batch): DecodeResult {
    // BERT is no encoder to the library (`llama_model_has_encoder`): its callers give it to llama_decode, and the oldest
    // releases assert that a batch of llama_encode is T5's.
    return this.#run(batch, this.#info.memory === 'none' ? 'decode' : 'encode');
  }

  #run(batch: Batch, what: 'decode' | 'encode'): DecodeResult {
    const n = batch.token.length;
    for (const name of ['pos', 'seq_id', 'logits'] as const) {
      // The library takes pointers without lengths, so this is the caller's to see.
      if (batch[name] !== undefined && batch[name].length !== n)
        throw new IsobatchError('batch.size', `${name} has ${batch[name].length} entries for ${n} tokens`);
    }
    if (n > this.#params.n_batch)
      throw new IsobatchError('batch.size', `${n} tokens for an n_batch of ${this.#params.n_batch}`);
    const { log } = this.#api.library;
    log.clear();
    this.#batch.fill(batch, what === 'encode' ? fromZero(batch) : this.#positions(batch));
    const rc = this.#api[what](this.#ctx, this.#batch.struct);
    if (rc !== 0) {
      const why = rc === 1 ? 'no room in memory' : 'refused';
      throw new IsobatchError('refused', `llama_${what} answered ${rc} (${why}): ${log.tail()}`, {
        rc,
        mark: `${what} ${rc}: ${log.first()}`,
      });
    }
    // The rows of an encoder are embeddings; without them it only leaves behind what the decoder attends to.
    if (what === 'encode' && this.#params.embeddings !== true) return NO_ROWS;
    return this.#outputs(batch);
  }

  /** Positions: those of the batch; null leaves them to the library where it continues from memory. */
  #positions(batch: Batch): readonly number[] | null {
    if (batch.pos !== undefined) return batch.pos;
    if (drives(this.#era, 'completes_positions')) return null;
    const next = new Map<number, number>();
    return batch.token.map((_, i) => {
      const ids = batch.seq_id?.[i] ?? [0];
      const first = ids[0] ?? 0;
      const pos = next.get(first) ?? this.#last(first) + 1;
      for (const id of ids) next.set(id, pos + 1);
      return pos;
    });
  }

  /** Whether the largest position says if a sequence has tokens. */
  #tellsEmpty(): boolean {
    return this.#legal.pos_of_empty === undefined;
  }

  /**
   * The last position of a sequence, -1 if it has none. Older libraries say 0 for both no token and one token; the state
   * of the sequence is as large as an empty one then, or larger.
   */
  #last(seq: number): number {
    if (this.#info.memory === 'none') return -1;
    const max = this.seqPosMax(seq);
    if (max !== 0 || this.#tellsEmpty()) return max;
    return this.#sizeOf(seq) > this.#sizeOfNothing ? 0 : -1;
  }

  #sizeOf(seq: number): number {
    return Number(
      this.#api.call('size_t llama_state_seq_get_size(void *ctx, int seq)', this.#ctx, seq) as bigint,
    );
  }

  #outputs(batch: Batch): DecodeResult {
    const api = this.#api;
    const n = batch.token.length;
    const embeddings = this.#params.embeddings === true;
    const width = rowWidth(this.#info, this.#params);
    const rows: number[] = [];
    for (let i = 0; i < n; i++) if (batch.logits === undefined ? i === n - 1 : batch.logits[i]) rows.push(i);
    if (this.#rows.length < rows.length * width) this.#rows = new Float32Array(rows.length * width);
    if (rows.length === 0) return { n_outputs: 0, logits: this.#rows.subarray(0, 0) };
    if (embeddings && (this.#params.pooling ?? 'none') !== 'none') return this.#pooled(batch, rows);
    const name = embeddings ? 'llama_get_embeddings_ith' : 'llama_get_logits_ith';
    const at = rows.map((i) => api.call(`void *${name}(void *ctx, int i)`, this.#ctx, i) as Address | null);
    const missing = at.findIndex((address) => !address);
    if (missing >= 0)
      throw new IsobatchError(
        'refused',
        `${name}(${rows[missing]}) answered no row: ${api.library.log.tail()}`,
      );
    // One view over all rows, which lie side by side in one buffer.
    const addresses = at as Address[];
    const sorted = [...addresses].sort((a, b) => (a < b ? -1 : 1));
    const [low, high] = [sorted[0]!, sorted.at(-1)!];
    const floats = new Float32Array(koffi.view(low, Number(high - low) + 4 * width));
    addresses.forEach((address, k) => {
      const from = Number(address - low) / 4;
      this.#rows.set(floats.subarray(from, from + width), k * width);
    });
    return { n_outputs: rows.length, logits: this.#rows.subarray(0, rows.length * width) };
  }

  /** The row of an output is that of its sequence; vectors of sequences lie anywhere. */
  #pooled(batch: Batch, rows: readonly number[]): DecodeResult {
    const width = this.#info.n_embd;
    for (const [k, i] of rows.entries()) {
      const seq = batch.seq_id?.[i]?.[0] ?? 0;
      const at = this.#api.call('void *llama_get_embeddings_seq(void *ctx, int seq)', this.#ctx, seq);
      if (!at)
        throw new IsobatchError('refused', `llama_get_embeddings_seq(${seq}) answered nothing`, {
          mark: 'no embedding of a sequence',
        });
      this.#rows.set(new Float32Array(koffi.view(at as Address, 4 * width)), k * width);
    }
    return { n_outputs: rows.length, logits: this.#rows.subarray(0, rows.length * width) };
  }

  #ops(result: string, name: string, types: string, ...args: unknown[]): unknown {
    const { memory } = this.#api.library;
    return this.#api.call(`${result} ${memory}_${name}(void *memory${types})`, this.#memory, ...args);
  }

  #know(...ids: number[]): void {
    const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= this.#params.n_seq_max);
    // The library does not look; most releases would read past an array.
    if (bad !== undefined)
      throw new IsobatchError('ops.seq_id', `sequence ${bad} of ${this.#params.n_seq_max}`, { seq: bad });
  }

  seqRm(seq: number, p0: number, p1: number): void {
    if (seq !== -1) this.#know(seq);
    const done = this.#ops('bool', 'seq_rm', ', int seq, int p0, int p1', seq, p0, p1);
    if (done !== true)
      throw new IsobatchError('ops.partial', `seq_rm(${seq}, ${p0}, ${p1}) answered false`, { seq, p0, p1 });
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.#know(from, to);
    this.#ops('void', 'seq_cp', ', int from, int to, int p0, int p1', from, to, p0, p1);
  }

  seqKeep(seq: number): void {
    this.#know(seq);
    this.#ops('void', 'seq_keep', ', int seq', seq);
  }

  seqAdd(seq: number, p0: number, p1: number, delta: number): void {
    this.#know(seq);
    this.#ops('void', 'seq_add', ', int seq, int p0, int p1, int delta', seq, p0, p1, delta);
  }

  seqDiv(seq: number, p0: number, p1: number, divisor: number): void {
    this.#know(seq);
    this.#ops('void', 'seq_div', ', int seq, int p0, int p1, int divisor', seq, p0, p1, divisor);
  }

  clear(): void {
    if (this.#api.library.memory === 'llama_memory') this.#ops('void', 'clear', ', bool data', true);
    else this.#ops('void', 'clear', '');
  }

  seqPosMin(seq: number): number {
    if (this.#legal.no_pos_min) return -1;
    return this.#ops('int', 'seq_pos_min', ', int seq', seq) as number;
  }

  seqPosMax(seq: number): number {
    return this.#ops('int', 'seq_pos_max', ', int seq', seq) as number;
  }

  stateGet(seq?: number): Uint8Array {
    const api = this.#api;
    if (seq !== undefined) this.#know(seq);
    const one = seq === undefined ? '' : '_seq';
    const types = seq === undefined ? '' : ', int seq';
    const more = seq === undefined ? [] : [seq];
    const size = Number(api.call(`size_t llama_state${one}_get_size(void *ctx${types})`, this.#ctx, ...more));
    const out = new Uint8Array(size);
    const n = Number(
      api.call(
        `size_t llama_state${one}_get_data(void *ctx, void *out, size_t size${types})`,
        this.#ctx,
        out,
        size,
        ...more,
      ),
    );
    if (n === 0) throw new IsobatchError('refused', `the state was not saved: ${api.library.log.tail()}`);
    // The size that is told is that of what is written (llama.h; spec: batching.md INV-STATE-2).
    if (n !== size)
      throw new IsobatchError('protocol', `${n} bytes of state were written, ${size} were told`, { n, size });
    return out;
  }

  stateSet(bytes: Uint8Array, seq?: number): void {
    const api = this.#api;
    if (seq !== undefined) this.#know(seq);
    api.library.log.clear();
    const one = seq === undefined ? '' : '_seq';
    const types = seq === undefined ? '' : ', int seq';
    const more = seq === undefined ? [] : [seq];
    const n = Number(
      api.call(
        `size_t llama_state${one}_set_data(void *ctx, void *data, size_t size${types})`,
        this.#ctx,
        bytes,
        bytes.length,
        ...more,
      ),
    );
    if (n === 0) throw new IsobatchError('state', `the state was not taken: ${api.library.log.tail()}`);
    // No refusal, which could be what was expected: it claims to have taken the state.
    if (n !== bytes.length)
      throw new IsobatchError('protocol', `${n} of ${bytes.length} bytes of state were read`, {
        n,
        size: bytes.length,
      });
  }

  /** Where the cells of this context are looked for: its memory, in older releases the context itself. */
  get root(): Address {
    return this.#memory;
  }

  async cells(): Promise<ShownCells> {
    const { memory: kind } = this.#info;
    const shown = await this.#cells.read({ kind, root: this.root, n_seq_max: this.#params.n_seq_max });
    // Where the library tells it, its own word counts.
    const count = 'llama_get_kv_cache_used_cells';
    if (kind !== 'recurrent' || !this.#api.library.has(count)) return shown;
    return { ...shown, used: this.#api.call(`int ${count}(void *ctx)`, this.#ctx) as number };
  }

  close(): void {
    this.#batch.free();
    this.#api.call('void llama_free(void *ctx)', this.#ctx);
  }
}

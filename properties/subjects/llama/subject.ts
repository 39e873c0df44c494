/**
 * The real llama.cpp as a subject, in this process: models, contexts, decodes, memory operations and state of one
 * loaded libllama. It is served by `serve-main.ts` in a child process, because an assertion of the library ends the
 * process that it is in.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import type { Batch, CompleteBatch, MemoryKind, SplitOptions } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import type {
  ContextParams,
  DecodeResult,
  ModelInfo,
  Subject,
  SubjectContext,
  SubjectInfo,
  SubjectModel,
} from '../../../contract/subject.ts';
import type { RulesInfo, ShownSplit } from '../../../contract/white.ts';
import { NativeBatch } from './batch.ts';
import { contextValues } from './context-params.ts';
import { type ContextField, PARAMS_BYTES, writeField } from './layout.ts';
import { type Address, BatchStruct, type Library, Params } from './library.ts';
import { type Era, eraOf, legalOf, since } from './releases.ts';
import { type LlamaRules, llamaRules } from './white.ts';

/** Architectures that the recipes cover, with their memory; others are asked of the library. */
const MEMORY: Readonly<Record<string, MemoryKind>> = {
  mamba: 'recurrent',
  mamba2: 'recurrent',
  rwkv6: 'recurrent',
  rwkv7: 'recurrent',
  jamba: 'hybrid',
  'falcon-h1': 'hybrid',
  lfm2: 'hybrid',
  bert: 'none',
};

const WINDOWED: readonly string[] = ['gemma2', 'gemma3', 'llama4'];

type Native = ReturnType<Library['func']>;

/** The functions that are called, by what they do. */
class Api {
  readonly library: Library;
  readonly #known = new Map<string, Native>();

  constructor(library: Library) {
    this.library = library;
  }

  call(prototype: string, ...args: unknown[]): unknown {
    let f = this.#known.get(prototype);
    if (f === undefined) {
      f = this.library.func(prototype);
      this.#known.set(prototype, f);
    }
    return f(...args);
  }

  decode(ctx: Address, batch: BigUint64Array): number {
    return this.call('int llama_decode(void *ctx, IsobatchBatch batch)', ctx, { d: batch }) as number;
  }

  encode(ctx: Address, batch: BigUint64Array): number {
    return this.call('int llama_encode(void *ctx, IsobatchBatch batch)', ctx, { d: batch }) as number;
  }
}

// The types are named in prototypes.
void BatchStruct;
void Params;

/** Its info; the rounding profile is measured, and filled in by whoever serves it. */
export function llamaSubject(library: Library, rounding: Partial<SubjectInfo> = {}): Subject {
  const api = new Api(library);
  const era = eraOf(library);
  const { fields } = library.layout;
  const flash = fields.flash_attn ?? fields.flash_attn_type;
  const info: SubjectInfo = {
    name: 'llama.cpp',
    version: library.files.release ?? versionOf(api) ?? library.files.name,
    protocol: 1,
    architectures: [],
    splits: {},
    isas: [],
    types_kv: era === 'b3889' ? ['F16'] : ['F32', 'F16'],
    bit_invariant: false,
    shared_tokens: true,
    remove_anywhere: true,
    choices: {
      ...(fields.kv_unified === undefined ? {} : { kv_unified: [false, true] }),
      ...(fields.swa_full === undefined ? {} : { swa_full: [false, true] }),
      ...(flash === undefined ? {} : { flash_attn: [false, true] }),
    },
    legal: legalOf(era),
    state: true,
    ...rounding,
  };
  return new LlamaSubject(api, era, info);
}

function versionOf(api: Api): string | undefined {
  if (!api.library.has('llama_version')) return undefined;
  return (api.call('const char *llama_version()') as string | null) ?? undefined;
}

class LlamaSubject implements Subject {
  readonly info: SubjectInfo;
  readonly #api: Api;
  readonly #era: Era;
  #rules: Promise<LlamaRules> | undefined;

  constructor(api: Api, era: Era, info: SubjectInfo) {
    this.#api = api;
    this.#era = era;
    this.info = info;
  }

  load(bytes: Uint8Array, name: string): SubjectModel {
    const dir = mkdtempSync(join(tmpdir(), 'isobatch-'));
    try {
      const path = join(dir, 'model.gguf');
      writeFileSync(path, bytes);
      return this.loadFile(path, name);
    } finally {
      // The library has read or mapped it by now.
      rmSync(dir, { recursive: true, force: true });
    }
  }

  loadFile(path: string, name: string): SubjectModel {
    const { library } = this.#api;
    library.log.clear();
    const params = new Uint8Array(PARAMS_BYTES);
    this.#api.call('void llama_model_default_params(void *out)', params);
    const model = this.#api.call(
      'void *llama_load_model_from_file(const char *path, IsobatchParams params)',
      path,
      { d: new BigUint64Array(params.buffer) },
    ) as Address | null;
    if (!model)
      throw new IsobatchError('model', `${this.info.version} does not load ${name}: ${library.log.tail()}`, {
        name,
      });
    return new LlamaModel(this.#api, this.#era, model);
  }

  async rules(): Promise<RulesInfo> {
    return (await this.#shown()).info;
  }

  async split(batch: CompleteBatch, options: SplitOptions): Promise<ShownSplit> {
    return (await this.#shown()).split(batch, options);
  }

  /** The rules of this library, checked once; they need a vocabulary, so a model is loaded for it. */
  #shown(): Promise<LlamaRules> {
    this.#rules ??= import('../../campaign-models.ts').then(({ modelBytes }) => {
      const name = 'recipe:llama-loadable';
      const vocab = (): Address => (this.load(modelBytes(name), name) as LlamaModel).vocab();
      return llamaRules(this.#api.library, vocab);
    });
    return this.#rules;
  }

  close(): void {
    this.#api.call('void llama_backend_free()');
  }
}

class LlamaModel implements SubjectModel {
  readonly info: ModelInfo;
  readonly #api: Api;
  readonly #era: Era;
  readonly #model: Address;

  constructor(api: Api, era: Era, model: Address) {
    this.#api = api;
    this.#era = era;
    this.#model = model;
    this.info = this.#look();
  }

  #look(): ModelInfo {
    const api = this.#api;
    const { library } = api;
    const number = (...names: string[]): number =>
      Number(api.call(`int64_t ${library.firstOf(names)}(void *model)`, this.#model)) | 0;
    const arch = this.#meta('general.architecture');
    const vocab = library.has('llama_vocab_n_tokens');
    const n_vocab = vocab
      ? api.call(
          'int llama_vocab_n_tokens(void *vocab)',
          api.call('void *llama_model_get_vocab(void *model)', this.#model),
        )
      : api.call('int llama_n_vocab(void *model)', this.#model);
    const has = (what: string): boolean =>
      library.has(what) && api.call(`bool ${what}(void *model)`, this.#model) === true;
    const memory: MemoryKind =
      MEMORY[arch] ??
      (has('llama_model_is_hybrid')
        ? 'hybrid'
        : has('llama_model_is_recurrent')
          ? 'recurrent'
          : has('llama_model_has_encoder') && !has('llama_model_has_decoder')
            ? 'none'
            : 'attention');
    const windowed =
      WINDOWED.includes(arch) ||
      (library.has('llama_model_n_swa') &&
        (api.call('int llama_model_n_swa(void *model)', this.#model) as number) > 0);
    const encoder = memory === 'none' ? 'only' : has('llama_model_has_encoder') ? 'with decoder' : undefined;
    return {
      arch,
      memory,
      n_vocab: n_vocab as number,
      n_embd: number('llama_model_n_embd', 'llama_n_embd'),
      n_layer: number('llama_model_n_layer', 'llama_n_layer'),
      n_params: Number(api.call('uint64_t llama_model_n_params(void *model)', this.#model)),
      ...(windowed ? { windowed } : {}),
      ...(encoder === undefined ? {} : { encoder }),
    };
  }

  vocab(): Address {
    return this.#api.call('void *llama_model_get_vocab(void *model)', this.#model) as Address;
  }

  #meta(key: string): string {
    const out = new Uint8Array(256);
    const n = this.#api.call(
      'int llama_model_meta_val_str(void *model, const char *key, void *out, size_t size)',
      this.#model,
      key,
      out,
      out.length,
    ) as number;
    return new TextDecoder().decode(out.subarray(0, Math.max(0, Math.min(n, out.length - 1))));
  }

  open(params: ContextParams): SubjectContext {
    const { library } = this.#api;
    library.log.clear();
    const struct = library.contextDefaults();
    const view = new DataView(struct.buffer);
    const { fields } = library.layout;
    const values = contextValues(params, fields);
    for (const [name, value] of Object.entries(values)) {
      const field = fields[name as ContextField];
      if (field !== undefined) writeField(view, field, value);
    }
    const ctx = this.#api.call(
      'void *llama_new_context_with_model(void *model, IsobatchParams params)',
      this.#model,
      { d: new BigUint64Array(struct.buffer) },
    ) as Address | null;
    if (!ctx)
      throw new IsobatchError('refused', `the context is refused: ${library.log.tail()}`, {
        params,
        mark: `context: ${library.log.tail(1)}`,
      });
    return new LlamaContext(this.#api, this.#era, ctx, this.info, params);
  }

  close(): void {
    this.#api.call('void llama_free_model(void *model)', this.#model);
  }
}

class LlamaContext implements SubjectContext {
  readonly #api: Api;
  readonly #era: Era;
  readonly #ctx: Address;
  readonly #info: ModelInfo;
  readonly #params: ContextParams;
  readonly #batch = new NativeBatch();
  readonly #memory: Address;
  /** Bytes of the state of a sequence that holds nothing, where that must tell what the library does not. */
  readonly #sizeOfNothing: number;
  #rows = new Float32Array(0);

  constructor(api: Api, era: Era, ctx: Address, info: ModelInfo, params: ContextParams) {
    this.#api = api;
    this.#era = era;
    this.#ctx = ctx;
    this.#info = info;
    this.#params = params;
    this.#memory =
      api.library.memory === 'llama_memory'
        ? (api.call('void *llama_get_memory(void *ctx)', ctx) as Address)
        : ctx;
    this.#sizeOfNothing = since(era, 'b5640') || info.memory === 'none' ? 0 : this.#sizeOf(0);
  }

  decode(batch: Batch): DecodeResult {
    return this.#run(batch, 'decode');
  }

  encode(batch: Batch): DecodeResult {
    // BERT is no encoder to the library (`llama_model_has_encoder`): its callers give it to llama_decode, and the oldest
    // releases assert that a batch of llama_encode is T5's.
    return this.#run(batch, MEMORY[this.#info.arch] === 'none' ? 'decode' : 'encode');
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
    this.#batch.fill(batch, this.#positions(batch));
    const rc = this.#api[what](this.#ctx, this.#batch.struct);
    if (rc !== 0) {
      const why = rc === 1 ? 'no room in memory' : 'refused';
      throw new IsobatchError('refused', `llama_${what} answered ${rc} (${why}): ${log.tail()}`, {
        rc,
        mark: `${what} ${rc}: ${log.first()}`,
      });
    }
    return this.#outputs(batch);
  }

  /** Positions: those of the batch; null leaves them to the library where it continues from memory. */
  #positions(batch: Batch): readonly number[] | null {
    if (batch.pos !== undefined) return batch.pos;
    if (since(this.#era, 'b6122')) return null;
    const next = new Map<number, number>();
    return batch.token.map((_, i) => {
      const ids = batch.seq_id?.[i] ?? [0];
      const first = ids[0] ?? 0;
      const pos = next.get(first) ?? this.#last(first) + 1;
      for (const id of ids) next.set(id, pos + 1);
      return pos;
    });
  }

  /**
   * The last position of a sequence, -1 if it has none. Before b5640 the library says 0 for both no token and one
   * token; the state of the sequence is as large as an empty one then, or larger.
   */
  #last(seq: number): number {
    if (this.#info.memory === 'none') return -1;
    const max = this.seqPosMax(seq);
    if (max !== 0 || since(this.#era, 'b5640')) return max;
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
    const width = embeddings ? this.#info.n_embd : this.#info.n_vocab;
    const rows: number[] = [];
    for (let i = 0; i < n; i++) if (batch.logits === undefined ? i === n - 1 : batch.logits[i]) rows.push(i);
    if (this.#rows.length < rows.length * width) this.#rows = new Float32Array(rows.length * width);
    if (rows.length === 0) return { n_outputs: 0, logits: this.#rows.subarray(0, 0) };
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

  clear(): void {
    if (this.#api.library.memory === 'llama_memory') this.#ops('void', 'clear', ', bool data', true);
    else this.#ops('void', 'clear', '');
  }

  seqPosMin(seq: number): number {
    if (this.#api.library.memory === 'llama_kv_cache' || !since(this.#era, 'b5640')) return -1;
    return this.#ops('int', 'seq_pos_min', ', int seq', seq) as number;
  }

  seqPosMax(seq: number): number {
    return this.#ops('int', 'seq_pos_max', ', int seq', seq) as number;
  }

  stateGet(seq?: number): Uint8Array {
    const api = this.#api;
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
    if (n === 0 || n > size)
      throw new IsobatchError('refused', `the state was not saved: ${api.library.log.tail()}`, { n, size });
    return out.subarray(0, n);
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
  }

  close(): void {
    this.#batch.free();
    this.#api.call('void llama_free(void *ctx)', this.#ctx);
  }
}

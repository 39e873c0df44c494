/** A model of the real llama.cpp: what it says about itself, and its contexts. */
import type { MemoryKind } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import type { ContextParams, ModelInfo, SubjectModel } from '../../../contract/subject.ts';
import type { Api } from './api.ts';
import type { CellReader } from './cells.ts';
import { LlamaContext } from './context.ts';
import { setContext } from './context-params.ts';
import type { Address } from './library.ts';
import type { Era } from './releases.ts';

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

/** Of an architecture that the recipes cover; attention is the rule. */
export function memoryOf(arch: string): MemoryKind {
  return MEMORY[arch] ?? 'attention';
}

const WINDOWED: readonly string[] = ['gemma2', 'gemma3', 'llama4'];

export class LlamaModel implements SubjectModel {
  readonly info: ModelInfo;
  readonly #api: Api;
  readonly #era: Era;
  readonly #model: Address;
  readonly #cells: CellReader;

  constructor(api: Api, era: Era, model: Address, cells: CellReader) {
    this.#api = api;
    this.#era = era;
    this.#model = model;
    this.#cells = cells;
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
      ...(this.#keepsStates(memory) ? { rollback: true } : {}),
      ...(windowed ? { windowed } : {}),
      ...(encoder === undefined ? {} : { encoder }),
    };
  }

  /** Whether a context that asks for kept states gets them: the library knows for which architectures it can. */
  #keepsStates(memory: MemoryKind): boolean {
    const { library } = this.#api;
    if (memory !== 'recurrent' && memory !== 'hybrid') return false;
    if (library.layout.fields.n_rs_seq === undefined || !library.has('llama_n_rs_seq')) return false;
    const ctx = this.#newContext({
      n_ctx: 8,
      n_batch: 8,
      n_ubatch: 8,
      n_seq_max: 1,
      split: 'equal',
      n_rs_seq: 1,
    });
    if (!ctx) return false;
    const kept = this.#api.call('uint32_t llama_n_rs_seq(void *ctx)', ctx) as number;
    this.#api.call('void llama_free(void *ctx)', ctx);
    return kept > 0;
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

  open(params: ContextParams): LlamaContext {
    const { library } = this.#api;
    library.log.clear();
    const ctx = this.#newContext(params);
    if (!ctx)
      throw new IsobatchError('refused', `the context is refused: ${library.log.tail()}`, {
        params,
        mark: `context: ${library.log.tail(1)}`,
      });
    return new LlamaContext(this.#api, this.#era, ctx, this.info, params, this.#cells);
  }

  #newContext(params: ContextParams): Address | null {
    const { library } = this.#api;
    const struct = library.contextDefaults();
    setContext(struct, params, library.layout.fields);
    return this.#api.call(
      'void *llama_new_context_with_model(void *model, IsobatchParams params)',
      this.#model,
      { d: new BigUint64Array(struct.buffer) },
    ) as Address | null;
  }

  close(): void {
    this.#api.call('void llama_free_model(void *model)', this.#model);
  }
}

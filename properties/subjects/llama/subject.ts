/**
 * The real llama.cpp as a subject, in this process: its models, contexts (`model.ts`, `context.ts`), rules of splitting
 * and recurrent cells. It is served by `serve-main.ts` in a child process, because an assertion of the library ends the
 * process that it is in.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CompleteBatch, MemoryKind, SplitOptions } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import type { Subject, SubjectInfo, SubjectModel } from '../../../contract/subject.ts';
import type { RulesInfo, ShownSplit } from '../../../contract/white.ts';
import { Api } from './api.ts';
import type { CellLayout } from './cell-layout.ts';
import { CellReader, type Find, KNOWN_SEQUENCES, type KnownContext, OTHER_SEQUENCES } from './cells.ts';
import type { LlamaContext } from './context.ts';
import { useOnce } from './first-use.ts';
import { PARAMS_BYTES } from './layout.ts';
import type { Address, Library } from './library.ts';
import { LlamaModel } from './model.ts';
import { ownMemory, type ProcessMemory } from './process-memory.ts';
import { FTYPES, quantize } from './quantize.ts';
import { drives, type Era, eraOf, legalOf } from './releases.ts';
import { type LlamaRules, llamaRules } from './white.ts';

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
    types_kv: drives(era, 'v_f32') ? ['F32', 'F16'] : ['F16'],
    bit_invariant: false,
    shared_tokens: true,
    remove_anywhere: true,
    choices: {
      ...(fields.kv_unified === undefined ? {} : { kv_unified: [false, true] }),
      ...(fields.swa_full === undefined
        ? {}
        : { swa_full: drives(era, 'small_windows') ? [false, true] : [true] }),
      ...(flash === undefined ? {} : { flash_attn: [false, true] }),
      n_threads: [1, 2],
      embeddings: [false, true],
      ...(fields.n_rs_seq === undefined ? {} : { n_rs_seq: [0, 1, 2, 4] }),
      pooling: ['none', 'mean', 'cls', 'last'],
    },
    legal: legalOf(era),
    state: true,
    shifts: true,
    quantizes: Object.keys(FTYPES),
    ...rounding,
  };
  return new LlamaSubject(api, era, info);
}

function versionOf(api: Api): string | undefined {
  if (!api.library.has('llama_version')) return undefined;
  return (api.call('const char *llama_version()') as string | null) ?? undefined;
}

/** Models on which the cells are looked for. */
const KNOWN_MODELS: Readonly<Partial<Record<MemoryKind, string>>> = {
  recurrent: 'recipe:mamba-loadable',
  hybrid: 'recipe:jamba',
};

function knownContext(ctx: LlamaContext): KnownContext {
  return {
    root: ctx.root,
    decode(seqs, n) {
      const seq_id = seqs.flatMap((seq) => new Array<number[]>(n).fill([seq]));
      ctx.decode({ token: seq_id.map((_, i) => 5 + i), seq_id });
    },
    copy: (from, to) => ctx.seqCp(from, to, -1, -1),
    remove: (seq) => ctx.seqRm(seq, -1, -1),
  };
}

class LlamaSubject implements Subject {
  readonly info: SubjectInfo;
  readonly #api: Api;
  readonly #era: Era;
  #rules: Promise<LlamaRules> | undefined;
  #memory: ProcessMemory | undefined;
  readonly #cells: CellReader;

  constructor(api: Api, era: Era, info: SubjectInfo) {
    this.#api = api;
    this.#era = era;
    this.info = info;
    this.#cells = new CellReader(
      () => (this.#memory ??= ownMemory()),
      (kind, find) => this.#onKnown(kind, find),
    );
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
    const loaded = new LlamaModel(this.#api, this.#era, model, this.#cells);
    useOnce(loaded, name, this.info.types_kv[0]!);
    return loaded;
  }

  quantize(from: string, to: string, type: string): void {
    quantize(this.#api, from, to, type);
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

  cells(): Promise<readonly MemoryKind[]> {
    return this.#cells.kinds();
  }

  /** The known history of cells, on a small model with this kind of memory. */
  async #onKnown(kind: MemoryKind, find: Find): Promise<CellLayout> {
    const name = KNOWN_MODELS[kind];
    if (name === undefined) throw new IsobatchError('refused', `${kind} memory has no recurrent cells`);
    const { modelBytes } = await import('../../campaign-models.ts');
    const model = this.load(modelBytes(name), name) as LlamaModel;
    const open: LlamaContext[] = [];
    const opened = (n_seq_max: number): LlamaContext => {
      const [n_batch, type_kv] = [32, this.info.types_kv[0]];
      const params = { n_ctx: 256, n_batch, n_ubatch: n_batch, n_seq_max, split: 'equal', type_kv } as const;
      // With a cache a sequence some releases take no batch of two sequences (spec: libllama.md 8).
      const ctx = model.open({ ...params, kv_unified: true });
      open.push(ctx);
      return ctx;
    };
    try {
      const ctx = opened(KNOWN_SEQUENCES);
      const other = { root: opened(OTHER_SEQUENCES).root, n_seq_max: OTHER_SEQUENCES };
      return find(knownContext(ctx), other);
    } finally {
      for (const ctx of open) ctx.close();
      model.close();
    }
  }

  close(): void {
    this.#api.call('void llama_backend_free()');
  }
}

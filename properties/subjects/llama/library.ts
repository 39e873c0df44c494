/**
 * One loaded libllama: its functions under the names of its era, its log, and how its structs lie. Everything that
 * differs between releases and can be seen in the library itself is decided here, by symbols and by layout.
 *
 * The way of passing structs is that of x86-64 SysV: a struct above 16 bytes is passed by copy on the stack and
 * returned through a hidden pointer, so one oversized type serves every release (spec: libllama.md 2).
 */
import koffi, { type LibraryHandle } from 'koffi';
import { IsobatchError } from '../../../contract/errors.ts';
import type { LibFiles } from './fetch.ts';
import { BATCH_BYTES, type ContextLayout, PARAMS_BYTES, recogniseLayout, writtenBytes } from './layout.ts';

/** What is needed of the files of a build. */
export type BuildFiles = Pick<
  LibFiles,
  'name' | 'release' | 'dir' | 'libllama' | 'libggml' | 'libggml_base' | 'libggml_cpu' | 'preload'
>;

/** An address, as koffi gives it. */
export type Address = bigint;

type Native = (...args: unknown[]) => unknown;

/** How the operations on memory are called: with the context, or with its memory. */
export type MemoryApi = 'llama_kv_cache' | 'llama_kv_self' | 'llama_memory';

export const Params = koffi.struct('IsobatchParams', { d: koffi.array('uint64_t', PARAMS_BYTES / 8) });
export const BatchStruct = koffi.struct('IsobatchBatch', { d: koffi.array('uint64_t', BATCH_BYTES / 8) });
const LogCallback = koffi.proto('void IsobatchLog(int level, const char *text, void *user)');

const LOG_LINES = 60;

/** The last lines that a library logged. A refusal is explained by those that came during the call. */
export class Log {
  #lines: string[] = [];
  #open = '';

  push(text: string): void {
    this.#open += text;
    const lines = this.#open.split('\n');
    this.#open = lines.pop()!;
    this.#lines.push(...lines);
    if (this.#lines.length > 2 * LOG_LINES) this.#lines = this.#lines.slice(-LOG_LINES);
  }

  clear(): void {
    this.#lines = [];
    this.#open = '';
  }

  /** The first line since the log was cleared, which says what is wrong; later ones say where it was passed on. */
  first(): string {
    // That a library overrides something is no reason to refuse it.
    return this.#lines.find((line) => line.trim() !== '' && !/-> overriding$/.test(line.trim())) ?? '';
  }

  /** The last lines, newest last. */
  tail(n = 3): string {
    const lines = this.#open === '' ? this.#lines : [...this.#lines, this.#open];
    return lines
      .filter((line) => line.trim() !== '' && !/^\.+$/.test(line.trim()))
      .slice(-n)
      .join('; ');
  }
}

export class Library {
  readonly files: BuildFiles;
  readonly log = new Log();
  readonly layout: ContextLayout;
  readonly memory: MemoryApi;
  readonly #lib: LibraryHandle;
  readonly #defaults: Uint8Array;

  /** Loads the build into this process. Throws `file` if it cannot be, `model` if it is of no known era. */
  constructor(files: BuildFiles, isa?: string) {
    this.files = files;
    for (const path of files.preload) open(path);
    this.#lib = open(files.libllama);
    this.#listen();
    this.#startBackend(isa);
    this.memory = this.#memoryApi();
    [this.layout, this.#defaults] = this.#contextLayout();
  }

  has(name: string): boolean {
    try {
      this.#lib.func(`void ${name}()`);
      return true;
    } catch {
      return false;
    }
  }

  /** A function by its prototype. Throws `model` if the library does not export it. */
  func(prototype: string): Native {
    try {
      return this.#lib.func(prototype) as Native;
    } catch (error) {
      throw this.strange(`it does not export what is needed: ${(error as Error).message}`);
    }
  }

  /** The default context parameters, a fresh copy. */
  contextDefaults(): Uint8Array {
    return this.#defaults.slice();
  }

  /** The first of these names that the library exports. */
  firstOf(names: readonly string[]): string {
    const found = names.find((name) => this.has(name));
    if (found === undefined) throw this.strange(`it exports none of ${names.join(', ')}`);
    return found;
  }

  strange(why: string): IsobatchError {
    return new IsobatchError(
      'model',
      `the build ${this.files.name} is not one that isobatch can drive: ${why}`,
      { path: this.files.libllama },
    );
  }

  #listen(): void {
    const listener = koffi.register(
      (_level: number, text: string) => this.log.push(text),
      koffi.pointer(LogCallback),
    );
    this.func('void llama_log_set(void *callback, void *user)')(listener, null);
  }

  #startBackend(isa: string | undefined): void {
    const { dir, libggml, libggml_cpu } = this.files;
    const loadable = libggml_cpu.filter((cpu) => !cpu.linked);
    const variants = loadable.map((cpu) => cpu.isa);
    if (isa !== undefined && !variants.includes(isa)) {
      throw new IsobatchError(
        'usage',
        `the build ${this.files.name} has no instruction set ${JSON.stringify(isa)}; it has ${variants.join(', ') || 'one that is built in'}`,
        { isa, known: variants },
      );
    }
    if (loadable.length > 0 && libggml !== undefined) {
      const ggml = open(libggml);
      if (isa === undefined) ggml.func('void ggml_backend_load_all_from_path(const char *dir)')(dir);
      else {
        const { path } = loadable[variants.indexOf(isa)]!;
        if (!ggml.func('void *ggml_backend_load(const char *path)')(path))
          throw new IsobatchError('file', `ggml refused to load ${path}: ${this.log.tail()}`, { path });
      }
    }
    this.func('void llama_backend_init()')();
  }

  #memoryApi(): MemoryApi {
    for (const api of ['llama_memory', 'llama_kv_self', 'llama_kv_cache'] as const)
      if (this.has(`${api}_seq_rm`)) return api;
    throw this.strange('it exports no llama_memory_seq_rm, llama_kv_self_seq_rm or llama_kv_cache_seq_rm');
  }

  #contextLayout(): [ContextLayout, Uint8Array] {
    const defaults = this.func('void llama_context_default_params(void *out)');
    const [first, second] = [new Uint8Array(PARAMS_BYTES), new Uint8Array(PARAMS_BYTES)];
    first.fill(0xaa);
    second.fill(0x55);
    defaults(first);
    defaults(second);
    const bytes = writtenBytes(first, second);
    const layout = recogniseLayout(first, bytes);
    if (typeof layout === 'string')
      throw this.strange(`its llama_context_params lie as in no release that is known: ${layout}`);
    first.fill(0, bytes);
    return [layout, first];
  }
}

function open(path: string): LibraryHandle {
  try {
    return koffi.load(path, { global: true });
  } catch (error) {
    throw new IsobatchError('file', `cannot load ${path}: ${(error as Error).message}`, { path });
  }
}

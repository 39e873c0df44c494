/**
 * The named implementations of the kernels: `portable` always, the native ones where a library can be built and the
 * CPU runs them. A run passes one number to C: the address of a record of seven pointers that is filled once for each
 * set of buffers, because turning typed arrays into pointers costs more than a small kernel.
 */

import { createRequire } from 'node:module';
import { IsobatchError } from '../contract/errors.ts';
import { buildNative, type NativeLibrary, type Patch } from './build.ts';
import type { Kernels, Memory } from './plan.ts';
import { portable } from './portable.ts';

export interface LoadKernelsOptions {
  /** Patches of native sources (planted faults); see `buildNative`. */
  readonly patches?: readonly Patch[] | undefined;
  /** A library that was built elsewhere; nothing is compiled. */
  readonly path?: string | undefined;
}

export interface KernelSet {
  /** Names, worst to best; the first is `portable`. */
  readonly isas: readonly string[];
  readonly native: NativeLibrary;
  /** The implementation of that name; throws 'usage' if this machine has none. */
  get(isa: string): Kernels;
  /** Peak rate of fused multiply-adds of a native implementation in GFLOP/s of thread CPU time. */
  fmaPeak(isa: string, seconds: number): number;
  /** CPU seconds of this thread; NaN without a native library. */
  threadSeconds(): number;
  /** The floating-point control word (MXCSR, FPCR) of this thread, for tests; NaN without a native library. */
  floatControl(set?: number): number;
}

const ABI_VERSION = 1;
const ISA_NAMES = ['scalar', 'avx2', 'avx512'];

type Koffi = typeof import('koffi');

/** What the C header declares. */
interface Library {
  runBound(isa: number, n_ops: number, pointers: number): number;
  fmaPeak(isa: number, seconds: number): number;
  threadSeconds(): number;
  readControl(): number;
  writeControl(word: number): void;
  isas: number;
  address(array: ArrayBufferView): bigint;
}

/** Opens a library; koffi is loaded here, so that a machine without it still has `portable`. */
function open(path: string): Library {
  const koffi = createRequire(import.meta.url)('koffi') as Koffi;
  const library = koffi.load(path);
  const version = library.func('int32_t ib_abi_version()')() as number;
  if (version !== ABI_VERSION) {
    throw new IsobatchError('native', `${path} has interface version ${version}, not ${ABI_VERSION}`, {
      version,
    });
  }
  return {
    runBound: library.func('int32_t ib_run_bound(int32_t isa, int32_t n_ops, uintptr_t pointers)'),
    fmaPeak: library.func('double ib_fma_peak(int32_t isa, double seconds)'),
    threadSeconds: library.func('double ib_thread_seconds()'),
    readControl: library.func('uint64_t ib_float_control()'),
    writeControl: library.func('void ib_set_float_control(uint64_t word)'),
    isas: library.func('int32_t ib_isas()')() as number,
    address: (array) => koffi.address(array),
  };
}

/** The pointers of one set of buffers. It holds the buffers, so they outlive the addresses. */
class Bound {
  readonly buffers: readonly ArrayBufferView[];
  readonly #pointers: BigUint64Array;
  readonly at: number;

  constructor(library: Library, buffers: readonly ArrayBufferView[]) {
    for (const view of buffers) void view.buffer; // moves small arrays out of the JS heap, where they could move
    this.buffers = buffers;
    this.#pointers = BigUint64Array.from(buffers, (view) => library.address(view));
    void this.#pointers.buffer;
    this.at = Number(library.address(this.#pointers)); // exact: user addresses have fewer than 53 bits
  }

  holds(plan: Int32Array, dims: Int32Array, m: Memory): boolean {
    const b = this.buffers;
    return (
      b[0] === plan &&
      b[1] === dims &&
      b[2] === m.weights &&
      b[3] === m.act &&
      b[4] === m.cache &&
      b[5] === m.index &&
      b[6] === m.out
    );
  }
}

class NativeKernels implements Kernels {
  readonly isa: string;
  readonly #library: Library;
  readonly #number: number;
  /** Records by plan; a plan seldom runs on more than one memory. */
  readonly #bound = new WeakMap<Int32Array, Bound>();
  #last: Bound | null = null;

  constructor(library: Library, number: number) {
    this.isa = ISA_NAMES[number]!;
    this.#library = library;
    this.#number = number;
  }

  run(plan: Int32Array, n_ops: number, dims: Int32Array, memory: Memory): number {
    let bound = this.#last;
    if (!bound?.holds(plan, dims, memory)) bound = this.#bind(plan, dims, memory);
    return this.#library.runBound(this.#number, n_ops, bound.at);
  }

  #bind(plan: Int32Array, dims: Int32Array, m: Memory): Bound {
    let bound = this.#bound.get(plan);
    if (!bound?.holds(plan, dims, m)) {
      bound = new Bound(this.#library, [plan, dims, m.weights, m.act, m.cache, m.index, m.out]);
      this.#bound.set(plan, bound);
    }
    this.#last = bound;
    return bound;
  }
}

class Loaded implements KernelSet {
  readonly isas: readonly string[];
  readonly native: NativeLibrary;
  readonly #library: Library | null;
  readonly #kernels = new Map<string, Kernels>([['portable', portable]]);

  constructor(native: NativeLibrary, library: Library | null) {
    this.native = native;
    this.#library = library;
    if (library) {
      for (let i = 0; i < ISA_NAMES.length; i++) {
        if ((library.isas >> i) & 1) this.#kernels.set(ISA_NAMES[i]!, new NativeKernels(library, i));
      }
    }
    this.isas = [...this.#kernels.keys()];
  }

  get(isa: string): Kernels {
    const kernels = this.#kernels.get(isa);
    if (!kernels) {
      const why = 'unavailable' in this.native ? ` (no native library: ${this.native.unavailable})` : '';
      throw new IsobatchError('usage', `no kernels named ${isa}; there are ${this.isas.join(', ')}${why}`, {
        isa,
      });
    }
    return kernels;
  }

  fmaPeak(isa: string, seconds: number): number {
    return this.#library?.fmaPeak(ISA_NAMES.indexOf(isa), seconds) ?? Number.NaN;
  }

  threadSeconds(): number {
    return this.#library?.threadSeconds() ?? Number.NaN;
  }

  floatControl(set?: number): number {
    if (set !== undefined) this.#library?.writeControl(set);
    return this.#library?.readControl() ?? Number.NaN;
  }
}

const loaded = new Map<string, KernelSet>();

/**
 * All implementations that run here. The library is built on first use (seconds) and then cached on disk; sets are
 * memoised a library.
 *
 * Throws 'usage' if a patch does not match, 'native' if patches do not compile or a library given by path does not load.
 */
export function loadKernels(options: LoadKernelsOptions = {}): KernelSet {
  const native =
    options.path !== undefined ? { path: options.path } : buildNative({ patches: options.patches });
  // Where healthy kernels run, patched ones that do not compile would hide what was planted.
  if ('unavailable' in native && (options.patches?.length ?? 0) > 0 && 'path' in buildNative())
    throw new IsobatchError('native', `the patched kernels do not compile: ${native.unavailable}`);
  const key = 'path' in native ? native.path : `unavailable: ${native.unavailable}`;
  let set = loaded.get(key);
  if (!set) {
    set = load(native, options.path !== undefined);
    loaded.set(key, set);
  }
  return set;
}

function load(native: NativeLibrary, mustLoad: boolean): KernelSet {
  if ('unavailable' in native) return new Loaded(native, null);
  try {
    return new Loaded(native, open(native.path));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (mustLoad)
      throw new IsobatchError('native', `cannot load ${native.path}: ${message}`, { path: native.path });
    return new Loaded({ unavailable: `cannot load ${native.path}: ${message}` }, null);
  }
}

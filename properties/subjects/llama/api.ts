/** Calls into one libllama: functions are looked up by prototype, once. */
import { type Address, BatchStruct, type Library, Params } from './library.ts';

type Native = ReturnType<Library['func']>;

/** The functions that are called, by what they do. */
export class Api {
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

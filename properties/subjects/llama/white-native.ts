/**
 * The batch splitter of a libllama (`llama_batch_allocr`), an internal C++ class that many builds export: its functions
 * by their mangled names, and the struct that they return read from memory (spec: libllama.md 5).
 *
 * Methods take the object first. A ubatch is too large and not trivial, so it is returned through a hidden pointer
 * that comes before the object. It ends in a shared pointer to its arrays; that one is ours to release.
 */
import koffi from 'koffi';
import type { CompleteBatch, SplitPolicy } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import { NativeBatch } from './batch.ts';
import type { Address, Library } from './library.ts';
import type { Splitter, UbatchRows } from './white.ts';

const CLASS = '_ZN18llama_batch_allocr';
const SYMBOLS = {
  construct: `${CLASS}C1Ej`,
  init: `${CLASS}4initERK11llama_batchRK11llama_vocabPK14llama_memory_ijjb`,
  reset: `${CLASS}11split_resetEv`,
  simple: `${CLASS}12split_simpleEj`,
  equal: `${CLASS}11split_equalEjb`,
  equal_tail: `${CLASS}11split_equalEjbj`,
  sequence: `${CLASS}9split_seqEj`,
  out_ids: `${CLASS}11get_out_idsEv`,
  release: '_ZNSt16_Sp_counted_baseILN9__gnu_cxx12_Lock_policyE2EE10_M_releaseEv',
} as const;

/** Far more than the object has had in any release. */
const OBJECT_BYTES = 8192;
const UBATCH_BYTES = 104;
/** Offsets of `llama_ubatch`: u32, but for the pointers. */
const U = { equal: 0, n_tokens: 4, n_seq_tokens: 8, n_seqs: 12, n_pos: 20 } as const;
const P = { token: 24, embd: 32, pos: 40, n_seq_id: 48, seq_id: 56, output: 80, shared: 96 } as const;

/** Ids of sequences go up to the least compile-time limit of these releases. */
const MOST_SEQ = 64;
/** More rows than that are no ubatch but a layout that is not known. */
const MOST_TOKENS = 1 << 20;

type Native = ReturnType<Library['func']>;

/** Throws `refused` if the library does not export its splitter. `vocab` is called only if it does. */
export function nativeSplitter(library: Library, vocab: () => Address): Splitter {
  const keep_tail = library.has(SYMBOLS.equal_tail);
  const { equal, equal_tail, ...others } = SYMBOLS;
  const missing = Object.values({ ...others, equal: keep_tail ? equal_tail : equal }).filter(
    (name) => !library.has(name),
  );
  if (missing.length > 0)
    throw new IsobatchError('refused', `the build does not export its batch splitter (${missing[0]})`);
  return new NativeSplitter(library, vocab(), keep_tail);
}

class NativeSplitter implements Splitter {
  readonly keep_tail: boolean;
  readonly #library: Library;
  readonly #vocab: Address;
  readonly #call: Readonly<
    Record<'init' | 'reset' | 'simple' | 'equal' | 'sequence' | 'out_ids' | 'release', Native>
  >;
  readonly #batch = new NativeBatch();
  readonly #self: unknown;
  readonly #out = new Uint8Array(UBATCH_BYTES);
  readonly #view = new DataView(this.#out.buffer);

  constructor(library: Library, vocab: Address, keep_tail: boolean) {
    this.keep_tail = keep_tail;
    this.#library = library;
    this.#vocab = vocab;
    const split = (name: string, more = ''): Native =>
      library.func(`void *${name}(void *out, void *self, uint32_t n_ubatch${more})`);
    const tail = keep_tail ? ', uint32_t n_keep_tail' : '';
    this.#call = {
      init: library.func(
        `bool ${SYMBOLS.init}(void *self, void *batch, void *vocab, void *memory, uint32_t n_embd, uint32_t n_seq_max, bool output_all)`,
      ),
      reset: library.func(`void ${SYMBOLS.reset}(void *self)`),
      simple: split(SYMBOLS.simple),
      equal: split(keep_tail ? SYMBOLS.equal_tail : SYMBOLS.equal, `, bool sequential${tail}`),
      sequence: split(SYMBOLS.sequence),
      out_ids: library.func(`void *${SYMBOLS.out_ids}(void *self)`),
      release: library.func(`void ${SYMBOLS.release}(void *shared)`),
    };
    this.#self = koffi.alloc('uint8_t', OBJECT_BYTES);
    new Uint8Array(koffi.view(this.#self, OBJECT_BYTES)).fill(0);
    library.func(`void ${SYMBOLS.construct}(void *self, uint32_t n_pos_per_embd)`)(this.#self, 1);
  }

  init(batch: CompleteBatch): boolean {
    this.#library.log.clear();
    this.#batch.fill(batch, batch.pos);
    const { init, reset } = this.#call;
    if (init(this.#self, this.#batch.struct, this.#vocab, null, 1, MOST_SEQ, false) !== true) return false;
    reset(this.#self);
    return true;
  }

  next(policy: SplitPolicy, n_ubatch: number, n_keep_tail: number): UbatchRows | null {
    const { simple, sequence, equal } = this.#call;
    this.#out.fill(0);
    if (policy === 'simple') simple(this.#out, this.#self, n_ubatch);
    else if (policy === 'sequence') sequence(this.#out, this.#self, n_ubatch);
    else {
      const sequential = policy === 'equal-sequential';
      if (this.keep_tail) equal(this.#out, this.#self, n_ubatch, sequential, n_keep_tail);
      else equal(this.#out, this.#self, n_ubatch, sequential);
    }
    return this.#read();
  }

  #pointer(offset: number): Address {
    return this.#view.getBigUint64(offset, true);
  }

  #read(): UbatchRows | null {
    const number = (offset: number): number => this.#view.getUint32(offset, true);
    const n = number(U.n_tokens);
    if (n === 0) return null;
    const shared = this.#pointer(P.shared);
    const strange = n > MOST_TOKENS || number(U.n_pos) !== 1 || this.#pointer(P.embd) !== 0n;
    if (strange || !this.#pointer(P.token) || !this.#pointer(P.output) || !shared)
      throw new IsobatchError(
        'refused',
        `a ubatch of ${n} tokens does not lie as in any release that is known`,
      );
    const n_seq_id = ints(this.#pointer(P.n_seq_id), n);
    const rows = {
      equal_seqs: this.#out[U.equal] !== 0,
      n_seqs: number(U.n_seqs),
      n_seq_tokens: number(U.n_seq_tokens),
      token: ints(this.#pointer(P.token), n),
      pos: ints(this.#pointer(P.pos), n),
      seq_id: sets(this.#pointer(P.seq_id), n_seq_id),
      output: Array.from(new Uint8Array(koffi.view(this.#pointer(P.output), n)), (flag) => flag !== 0),
    };
    this.#call.release(shared);
    return rows;
  }

  outIds(): number[] {
    // A std::vector: begin, end, end of its room.
    const vector = this.#call.out_ids(this.#self) as Address;
    const [begin = 0n, end = 0n] = new BigUint64Array(koffi.view(vector, 16));
    const n = Number(end - begin) / 4;
    if (!(n >= 0 && n <= MOST_TOKENS)) throw new IsobatchError('refused', `a list of ${n} outputs`);
    return n === 0 ? [] : ints(begin, n);
  }

  log(): string {
    return this.#library.log.tail();
  }
}

function ints(at: Address, n: number): number[] {
  return Array.from(new Int32Array(koffi.view(at, 4 * n)));
}

/** The list of ids of each row, read as one piece: they lie side by side. */
function sets(at: Address, n_seq_id: readonly number[]): number[][] {
  const pointers = new BigUint64Array(koffi.view(at, 8 * n_seq_id.length));
  return n_seq_id.map((n, i) => {
    if (!(n >= 1 && n <= MOST_SEQ) || !pointers[i])
      throw new IsobatchError('refused', `row ${i} of a ubatch belongs to ${n} sequences`);
    return ints(pointers[i], n);
  });
}

/**
 * A subject for tests of measured bounds: an architecture that the oracle does not know, of three tensors, which reads
 * its weights from a GGUF file and adds up in float32 in an order that depends on n_ubatch. It can be told to make a
 * mistake, or to round to F16 on the way. Not part of the product.
 */
import type { Batch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type {
  ContextParams,
  DecodeResult,
  RoundingProfile,
  Subject,
  SubjectContext,
  SubjectModel,
} from '../contract/subject.ts';
import { floatToHalf, halfToFloat } from '../model/f16.ts';
import { readGguf, writeGguf } from '../model/gguf.ts';
import { completeBatch } from '../oracle/batch.ts';
import { oracleWhite } from '../oracle/white.ts';
import { Lists } from './lists.ts';
import { Random } from './random.ts';
import { refusalOf } from './trace.ts';
import type { Call, Env } from './types.ts';

export const N_EMBD = 32;
export const N_VOCAB = 16;

export type MeanFault =
  /** A sequence also sees the token that stands before it in the batch. */
  | 'leak'
  /** After a removal inside, the removed key is still seen. */
  | 'stale'
  /** A row is no number if another sequence stands before it in the batch. */
  | 'nan';

export interface MeanOptions {
  readonly fault?: MeanFault;
  /** What goes into the last product is rounded to F16. */
  readonly half?: boolean;
  /** Counts calls. */
  readonly calls?: { decode: number; load: number };
}

const ANY = { order: 'any' } as const;
const ROUNDING: RoundingProfile = {
  fma: false,
  products: ANY,
  rows: ANY,
  keys: ANY,
  rope: 'F32',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'logistic',
  kv: 'as asked',
};

/** The file: embeddings, a matrix, and the output. */
export function meanModel(): Uint8Array {
  const r = new Random(1, 2, 3);
  const tensor = (name: string, rows: number) => ({
    name,
    ne: [N_EMBD, rows],
    type: 'F32' as const,
    data: Float32Array.from({ length: N_EMBD * rows }, () => r.u32() / 2 ** 31 - 1),
  });
  return writeGguf({
    metadata: [
      ['general.architecture', { type: 'string', value: 'mean' }],
      ['mean.block_count', { type: 'u32', value: 1 }],
    ],
    tensors: [
      tensor('token_embd.weight', N_VOCAB),
      tensor('blk.0.attn_v.weight', N_EMBD),
      tensor('output.weight', N_VOCAB),
    ],
  });
}

const f = Math.fround;

/** Sums of products in float32, first term first or last term first. */
function product(w: Float32Array, at: number, x: Float32Array, backwards: boolean): number {
  const n = x.length;
  let sum = 0;
  for (let k = 0; k < n; k++) {
    const i = backwards ? n - 1 - k : k;
    sum = f(sum + f(w[at + i]! * x[i]!));
  }
  return sum;
}

class MeanContext implements SubjectContext {
  readonly #weights: ReadonlyMap<string, Float32Array>;
  readonly #params: ContextParams;
  readonly #options: MeanOptions;
  readonly #lists: Lists;
  #removed: number[] = [];

  constructor(weights: ReadonlyMap<string, Float32Array>, params: ContextParams, options: MeanOptions) {
    this.#weights = weights;
    this.#params = params;
    this.#options = options;
    this.#lists = new Lists(params.n_seq_max, 'attention');
  }

  decode(batch: Batch): DecodeResult {
    if (this.#options.calls !== undefined) this.#options.calls.decode++;
    this.#check({ op: 'decode', batch });
    const { n_batch, n_seq_max } = this.#params;
    const complete = completeBatch(batch, this.#lists, { n_vocab: N_VOCAB, n_batch, n_seq_max });
    const rows: Float32Array[] = [];
    complete.token.forEach((token, i) => {
      const ids = complete.seq_id[i]!;
      this.#lists.append(token, ids);
      const seen = this.#lists.tokens(ids[0]!);
      const before = complete.seq_id[i - 1];
      if (this.#options.fault === 'leak' && before !== undefined && !before.includes(ids[0]!))
        seen.unshift(complete.token[i - 1]!);
      if (this.#options.fault === 'stale') seen.unshift(...this.#removed);
      if (!complete.logits[i]) return;
      const lost = this.#options.fault === 'nan' && before !== undefined && !before.includes(ids[0]!);
      rows.push(lost ? this.#answer(seen).fill(Number.NaN) : this.#answer(seen));
    });
    const logits = new Float32Array(rows.length * N_VOCAB);
    rows.forEach((row, k) => {
      logits.set(row, k * N_VOCAB);
    });
    return { n_outputs: rows.length, logits };
  }

  /** Older tokens count less; then two products. */
  #answer(seen: readonly number[]): Float32Array {
    const backwards = this.#params.n_ubatch > 1;
    const embd = this.#weights.get('token_embd.weight')!;
    const x = new Float32Array(N_EMBD);
    seen.forEach((token, k) => {
      const share = f(1 / (seen.length - k + 1));
      for (let i = 0; i < N_EMBD; i++) x[i] = f(x[i]! + f(share * embd[token * N_EMBD + i]!));
    });
    const value = this.#weights.get('blk.0.attn_v.weight')!;
    const y = Float32Array.from({ length: N_EMBD }, (_, i) => product(value, i * N_EMBD, x, backwards));
    const z = this.#options.half === true ? y.map((v) => halfToFloat(floatToHalf(v))) : y;
    const output = this.#weights.get('output.weight')!;
    return Float32Array.from({ length: N_VOCAB }, (_, i) => product(output, i * N_EMBD, z, backwards));
  }

  #check(call: Call): void {
    const kind = refusalOf(this.#lists, call, { params: this.#params, calls: [] }, N_VOCAB);
    if (kind !== null) throw new IsobatchError(kind as 'ops.copy', `refused: ${kind}`);
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.#check({ op: 'seqRm', seq, p0, p1 });
    const last = this.#lists.posMax(seq);
    if (seq >= 0 && p1 > 0 && p1 <= last) this.#removed.push(this.#lists.owned(seq)[0]!.token);
    this.#lists.rm(seq, p0, p1);
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.#check({ op: 'seqCp', from, to, p0, p1 });
    if (from !== to) this.#lists.cp(from, to, p0, p1);
  }

  seqKeep(seq: number): void {
    this.#check({ op: 'seqKeep', seq });
    this.#lists.keep(seq);
  }

  clear(): void {
    this.#lists.clear();
    this.#removed = [];
  }

  seqPosMin(seq: number): number {
    return this.#lists.posMin(seq);
  }

  seqPosMax(seq: number): number {
    return this.#lists.posMax(seq);
  }

  close(): void {}
}

export function meanSubject(options: MeanOptions = {}): Subject {
  return {
    info: {
      name: 'mean',
      version: '1',
      protocol: 1,
      architectures: ['mean'],
      splits: {},
      isas: [],
      types_kv: ['F32'],
      bit_invariant: false,
      shared_tokens: true,
      remove_anywhere: true,
      rounding: ROUNDING,
    },
    load(bytes, name): SubjectModel {
      if (options.calls !== undefined) options.calls.load++;
      const { tensors } = readGguf(bytes, name);
      const weights = new Map([...tensors].map(([key, t]) => [key, t.data as Float32Array] as const));
      return {
        info: {
          arch: 'mean',
          memory: 'attention',
          n_vocab: N_VOCAB,
          n_embd: N_EMBD,
          n_layer: 1,
          n_params: 2048,
        },
        open: (params) => new MeanContext(weights, params, options),
        close() {},
      };
    },
    close() {},
  };
}

/** `path` is a file with the bytes of `meanModel`. */
export function meanEnv(path: string, bytes: Uint8Array, options: MeanOptions = {}): Env {
  const subject = meanSubject(options);
  const loaded = subject.load(bytes, path) as SubjectModel;
  return {
    seed: 'noise',
    subject: subject.info,
    model: loaded.info,
    modelName: path,
    loaded,
    load: (copy, name) => subject.load(copy, name),
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

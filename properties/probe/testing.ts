/**
 * What the probes' tests share: random histories of our generators, the oracle as a subject, and subjects that make
 * one mistake. Nothing of the product uses this file.
 */
import type { Batch } from '../../contract/batch.ts';
import type {
  ContextParams,
  DecodeResult,
  Subject,
  SubjectContext,
  SubjectModel,
} from '../../contract/subject.ts';
import { buildRecipe } from '../../golden/recipes.ts';
import { loadModel } from '../../model/load.ts';
import type { Model } from '../../model/types.ts';
import { completeBatch } from '../../oracle/batch.ts';
import { type Entry, Sequences } from '../../oracle/entries.ts';
import { logits } from '../../oracle/forward.ts';
import { oracleWhite } from '../../oracle/white.ts';
import type { Env, Property } from '../types.ts';
import type { Probed } from './candidates.ts';
import type { Load } from './story.ts';

/** An environment for generators: the subject with the fuzz model of an architecture. */
export async function envOf(subject: Subject, arch: 'llama' | 'mamba' | 'rwkv6', seed: string): Promise<Env> {
  const modelName = `recipe:${arch}`;
  const loaded = await subject.load(buildRecipe(arch), modelName);
  return {
    seed,
    subject: subject.info,
    model: loaded.info,
    modelName,
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

/** The first cases of some properties. */
export function casesOf(env: Env, properties: readonly Property[], n: number) {
  return properties.flatMap((property) => Array.from({ length: n }, (_, i) => property.generate(env, i)));
}

/** Models whose histories the tests run on probes. */
export const LLAMA: Probed = { arch: 'llama', memory: 'attention', n_layer: 2 };
export const MAMBA: Probed = { arch: 'mamba', memory: 'recurrent', n_layer: 2 };

export const RWKV6: Probed = { arch: 'rwkv6', memory: 'recurrent', n_layer: 2 };

export function modelOf(memory: 'attention' | 'recurrent'): Probed {
  return memory === 'attention' ? LLAMA : MAMBA;
}

/** What a mistake does to a context: replaces some of its methods. */
export type Mistake = (context: SubjectContext, n_vocab: number) => Partial<SubjectContext>;

/** The subject with a mistake in every context; all its calls answer by promises. */
export function mistaken(subject: Subject, mistake: Mistake): Load {
  return async (bytes, name) => {
    const model: SubjectModel = await subject.load(bytes, name);
    return {
      info: model.info,
      close: async () => model.close(),
      open: async (params) => {
        const context = await model.open(params);
        const own = {
          decode: async (batch: Batch) => context.decode(batch),
          seqRm: async (seq: number, p0: number, p1: number) => context.seqRm(seq, p0, p1),
          seqCp: async (from: number, to: number, p0: number, p1: number) => context.seqCp(from, to, p0, p1),
          seqKeep: async (seq: number) => context.seqKeep(seq),
          seqAdd: async (seq: number, p0: number, p1: number, by: number) => context.seqAdd!(seq, p0, p1, by),
          seqDiv: async (seq: number, p0: number, p1: number, by: number) => context.seqDiv!(seq, p0, p1, by),
          clear: async () => context.clear(),
          seqPosMin: async (seq: number) => context.seqPosMin(seq),
          seqPosMax: async (seq: number) => context.seqPosMax(seq),
          close: async () => context.close(),
        };
        return { ...own, ...mistake(context, model.info.n_vocab) };
      },
    };
  };
}

/** The answer with its rows in another order: row k is the one that was row order[k]. */
export function reordered(result: DecodeResult, order: readonly number[], n_vocab: number): DecodeResult {
  const logits = new Float32Array(result.logits.length);
  order.forEach((from, k) => {
    logits.set(result.logits.subarray(from * n_vocab, (from + 1) * n_vocab), k * n_vocab);
  });
  return { n_outputs: result.n_outputs, logits };
}

/** What an entry becomes before it is evaluated; `i` is its place in its batch. */
export type Twist = (entry: Entry, i: number, batch: readonly Entry[]) => Entry;

/** The oracle as a subject: float64, one entry after the other. `twist` plants a mistake into what is evaluated. */
export function oracleLoad(twist: Twist = (entry) => entry): Load {
  return (bytes, name) => {
    const model = loadModel(bytes, name);
    const { hparams, n_params } = model;
    const { arch, n_vocab, n_embd, n_layer } = hparams;
    return {
      info: {
        arch,
        n_vocab,
        n_embd,
        n_layer,
        n_params,
        memory: arch === 'llama' ? 'attention' : 'recurrent',
      },
      open: (params) => new OracleContext(model, params, twist),
      close: () => undefined,
    };
  };
}

class OracleContext implements SubjectContext {
  readonly #model: Model;
  readonly #params: ContextParams;
  readonly #twist: Twist;
  readonly #memory: Sequences;
  /** What was evaluated instead of an entry. */
  readonly #twisted = new Map<Entry, Entry>();

  constructor(model: Model, params: ContextParams, twist: Twist) {
    this.#model = model;
    this.#params = params;
    this.#twist = twist;
    this.#memory = new Sequences(params.n_seq_max);
  }

  decode(batch: Batch): DecodeResult {
    const { n_vocab } = this.#model.hparams;
    const { n_batch, n_seq_max, type_kv } = this.#params;
    const complete = completeBatch(batch, this.#memory, { n_vocab, n_batch, n_seq_max });
    const entries = this.#memory.decode(complete);
    const evaluated = entries.map((entry, i) => {
      const saw = entry.saw.map((seen) => this.#twisted.get(seen) ?? seen);
      const copy: Entry = { ...entry, saw };
      saw[saw.length - 1] = copy;
      const twisted = this.#twist(copy, i, entries);
      this.#twisted.set(entry, twisted);
      return twisted;
    });
    const rows = evaluated.filter((_, i) => complete.logits[i]);
    const answer = new Float32Array(rows.length * n_vocab);
    logits(this.#model, rows, { type_kv }).forEach((row, k) => {
      answer.set(row, k * n_vocab);
    });
    return { n_outputs: rows.length, logits: answer };
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.#memory.seqRm(seq, p0, p1);
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.#memory.seqCp(from, to, p0, p1);
  }

  seqKeep(seq: number): void {
    this.#memory.seqKeep(seq);
  }

  clear(): void {
    this.#memory.clear();
  }

  seqPosMin(seq: number): number {
    return this.#memory.posMin(seq);
  }

  seqPosMax(seq: number): number {
    return this.#memory.posMax(seq);
  }

  close(): void {}
}

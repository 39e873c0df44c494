/**
 * What the probes' tests share: random histories of our generators, and a subject that wraps another one and makes one
 * mistake. Nothing of the product uses this file.
 */
import type { Batch } from '../../contract/batch.ts';
import type { DecodeResult, Subject, SubjectContext, SubjectModel } from '../../contract/subject.ts';
import { buildRecipe } from '../../golden/recipes.ts';
import { oracleWhite } from '../../oracle/white.ts';
import type { Env, Property } from '../types.ts';
import type { Load } from './story.ts';

/** An environment for generators: the subject with the fuzz model of an architecture. */
export async function envOf(subject: Subject, arch: 'llama' | 'mamba', seed: string): Promise<Env> {
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

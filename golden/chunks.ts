/** Chunk logits for `perplexity`: from any subject (several chunks side by side, if asked), and from the oracle. */
import { IsobatchError } from '../contract/errors.ts';
import type { SubjectModel } from '../contract/subject.ts';
import type { Model } from '../model/types.ts';
import { Sequences } from '../oracle/entries.ts';
import { logits } from '../oracle/forward.ts';
import type { ChunkLogits } from './perplexity.ts';
import { CHUNK_TOKENS } from './tokens.ts';

export interface ChunkOptions {
  readonly n_ubatch?: number;
  readonly isa?: string;
}

/** Each chunk is one decode of a cleared context, all rows flagged; rows are valid until the next chunk. */
export async function subjectChunks(model: SubjectModel, options: ChunkOptions = {}) {
  const { n_vocab, memory } = model.info;
  const context = await model.open({
    n_ctx: CHUNK_TOKENS,
    n_batch: CHUNK_TOKENS,
    n_ubatch: options.n_ubatch ?? CHUNK_TOKENS,
    n_seq_max: 1,
    split: memory === 'attention' ? 'simple' : 'equal',
    isa: options.isa,
  });
  return async (tokens: number[]): Promise<ChunkLogits> => {
    await context.clear();
    const result = await context.decode({ token: tokens, logits: tokens.map(() => true) });
    if (result.n_outputs !== tokens.length) {
      throw new IsobatchError(
        'subject',
        `${result.n_outputs} output rows for ${tokens.length} flagged tokens`,
      );
    }
    return { row: (i) => result.logits.subarray(i * n_vocab, (i + 1) * n_vocab) };
  };
}

/** The oracle's answer for a chunk, in float64. */
export function oracleChunks(model: Model) {
  return (tokens: number[]): ChunkLogits => {
    const sequences = new Sequences(1);
    sequences.decode({
      token: tokens,
      pos: tokens.map((_, i) => i),
      seq_id: tokens.map(() => [0]),
      logits: tokens.map(() => true),
    });
    const rows = logits(model, sequences.list(0));
    return { row: (i) => rows[i]! };
  };
}

/**
 * Perplexity of a text, for anything that gives logits: each chunk is a fresh sequence, and every prediction counts.
 *
 * Rule: models/MODELS.md, "How the perplexities are defined"; spec: batching.md 10. `ppl` is exp(mean) over the
 * predictions of tokens 1 .. C-1 of each chunk; `half` only over tokens C/2+1 .. C-1, which is what llama.cpp's
 * perplexity tool scores. Log-softmax is in float64, sums go chunk by chunk.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { MaybePromise } from '../contract/subject.ts';
import { CHUNK_TOKENS, perplexityChunks } from './tokens.ts';

/** Logits after each token of a chunk: row i predicts token i + 1. */
export interface ChunkLogits {
  row(i: number): ArrayLike<number>;
}

export interface PerplexityOptions {
  /** Only the first so many chunks; default: all whole ones. */
  readonly chunks?: number;
  /** Tokens of a chunk; default 512. */
  readonly n_chunk?: number;
}

export interface Perplexity {
  readonly ppl: number;
  readonly half: number;
  /** Predictions that were scored for `ppl`. */
  readonly n_tokens: number;
  /** Sum of their negative log-likelihoods, in nats. */
  readonly nll_sum: number;
  readonly n_chunks: number;
  /** Predictions that were scored for `half`, and their sum. */
  readonly n_half: number;
  readonly nll_half_sum: number;
}

/**
 * Negative log-likelihood of one token, in nats, in float64: log of the sum of exponentials minus its own logit.
 *
 * Throws `subject` if the row is not finite or too short, so that no NaN ever enters a mean.
 */
export function tokenNll(row: ArrayLike<number>, target: number): number {
  if (target >= row.length) {
    throw new IsobatchError('subject', `a row of ${row.length} logits cannot predict token ${target}`, {
      n_vocab: row.length,
      target,
    });
  }
  let max = -Infinity;
  for (let v = 0; v < row.length; v++) {
    const x = row[v]!;
    if (!Number.isFinite(x))
      throw new IsobatchError('subject', `logit ${v} is ${x}`, { token: v, logit: String(x) });
    if (x > max) max = x;
  }
  let sum = 0;
  for (let v = 0; v < row.length; v++) sum += Math.exp(row[v]! - max);
  return max + Math.log(sum) - row[target]!;
}

/** Scores a text. `chunkLogits` gets the tokens of one chunk, a fresh sequence at positions 0 .. C-1. */
export async function perplexity(
  chunkLogits: (tokens: number[]) => MaybePromise<ChunkLogits>,
  bytes: Uint8Array,
  options: PerplexityOptions = {},
): Promise<Perplexity> {
  const n_chunk = options.n_chunk ?? CHUNK_TOKENS;
  const chunks = perplexityChunks(bytes, n_chunk, options.chunks);
  const first_half = Math.floor(n_chunk / 2); // first row that `half` scores
  let nll_sum = 0;
  let nll_half_sum = 0;
  for (const tokens of chunks) {
    const logits = await chunkLogits(tokens);
    for (let i = 0; i < n_chunk - 1; i++) {
      const nll = tokenNll(logits.row(i), tokens[i + 1]!);
      nll_sum += nll;
      if (i >= first_half) nll_half_sum += nll;
    }
  }
  const n_tokens = chunks.length * (n_chunk - 1);
  const n_half = chunks.length * (n_chunk - 1 - first_half);
  return {
    ppl: Math.exp(nll_sum / n_tokens),
    half: Math.exp(nll_half_sum / n_half),
    n_tokens,
    nll_sum,
    n_chunks: chunks.length,
    n_half,
    nll_half_sum,
  };
}

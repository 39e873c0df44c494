/**
 * Bytes of a text to tokens of the byte vocabulary, and the chunks over which perplexity is defined.
 *
 * Rule: models/MODELS.md, "How the perplexities are defined"; spec: batching.md 10. The list is BOS and then byte + 3;
 * the first token of each chunk is *replaced* by BOS, and the replaced token is never a target.
 */
import { IsobatchError } from '../contract/errors.ts';

/** Beginning of sequence in the byte vocabulary. */
export const BOS = 1;
/** Tokens before those of bytes: <unk>, <s>, </s>. */
export const BYTE_OFFSET = 3;
/** Tokens of a chunk, C. */
export const CHUNK_TOKENS = 512;

/** BOS, then byte + 3. */
export function textTokens(bytes: Uint8Array): number[] {
  return [BOS, ...Array.from(bytes, (byte) => byte + BYTE_OFFSET)];
}

/**
 * The whole chunks of n_chunk tokens at the start of a text, each beginning with BOS; what is left over is dropped.
 *
 * Throws `usage` if the text has not `limit` whole chunks, or, without a limit, not one.
 */
export function perplexityChunks(bytes: Uint8Array, n_chunk = CHUNK_TOKENS, limit?: number): number[][] {
  if (!Number.isInteger(n_chunk) || n_chunk < 4) {
    throw new IsobatchError('usage', `chunks of ${n_chunk} tokens; at least 4 are needed`, { n_chunk });
  }
  const available = Math.floor((bytes.length + 1) / n_chunk);
  const n = limit ?? available;
  if (!Number.isInteger(n) || n < 1 || n > available) {
    throw new IsobatchError(
      'usage',
      `${n} chunks of ${n_chunk} tokens wanted; the text of ${bytes.length} bytes has ${available}`,
      {
        wanted: n,
        available,
        n_chunk,
      },
    );
  }
  const tokens = textTokens(bytes.subarray(0, n * n_chunk - 1));
  return Array.from({ length: n }, (_, c) => [BOS, ...tokens.slice(c * n_chunk + 1, (c + 1) * n_chunk)]);
}

/** Tokens and chunks: the definition of the pinned perplexities. */
import { describe, expect, it } from 'vitest';
import { goldenText } from './assets.ts';
import { BOS, perplexityChunks, textTokens } from './tokens.ts';

describe('tokens', () => {
  it('are BOS and then byte + 3', () => {
    expect(textTokens(Uint8Array.of(0, 65, 255))).toEqual([1, 3, 68, 258]);
    expect(textTokens(new Uint8Array(0))).toEqual([1]);
  });
});

describe('chunks', () => {
  it('replace their first token by BOS, so that chunk c holds bytes cC .. cC + C-2', () => {
    // The list is BOS 0 1 2 3 4 5 6 7 8 (+3); its chunks of 4 are [BOS 0 1 2], [3 4 5 6]; 7 and 8 are left over.
    const chunks = perplexityChunks(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8), 4);
    expect(chunks).toEqual([
      [BOS, 3, 4, 5],
      [BOS, 7, 8, 9],
    ]);
  });

  it('of 64 KiB are 128, each of 511 bytes behind its BOS', () => {
    const bytes = goldenText('recall64k');
    const chunks = perplexityChunks(bytes);
    expect(chunks.length).toBe(128);
    expect(chunks.every((chunk) => chunk.length === 512 && chunk[0] === BOS)).toBe(true);
    // Chunk 77 is row 77 of the text, without the newline that ends it.
    const row = [...bytes.subarray(77 * 512, 77 * 512 + 511)];
    expect(chunks[77]!.slice(1)).toEqual(row.map((byte) => byte + 3));
    expect(bytes[77 * 512 + 511]).toBe(10);
    expect(perplexityChunks(bytes, 512, 3)).toEqual(chunks.slice(0, 3));
  });

  it('that the text does not have are refused', () => {
    expect(() => perplexityChunks(new Uint8Array(510))).toThrow('the text of 510 bytes has 0');
    expect(perplexityChunks(new Uint8Array(511)).length).toBe(1);
    expect(() => perplexityChunks(new Uint8Array(511), 512, 2)).toThrow('2 chunks of 512 tokens wanted');
    expect(() => perplexityChunks(new Uint8Array(511), 512, 0)).toThrow('0 chunks');
    expect(() => perplexityChunks(new Uint8Array(511), 3)).toThrow('at least 4');
  });
});

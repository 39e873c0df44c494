/** Perplexity: hand-made logits with known answers, refused logits, and the trained models through the oracle. */
import { describe, expect, it } from 'vitest';
import { loadModel } from '../model/load.ts';
import { Sequences } from '../oracle/entries.ts';
import { logits } from '../oracle/forward.ts';
import { goldenFigures, goldenModel, goldenModelNames, goldenText } from './assets.ts';
import { perplexity, tokenNll } from './perplexity.ts';

describe('negative log-likelihood', () => {
  it('is that of the softmax, also where exponentials would overflow or vanish', () => {
    expect(tokenNll([0, 0, 0, 0], 2)).toBeCloseTo(Math.log(4), 14);
    expect(tokenNll([Math.log(1), Math.log(2), Math.log(5)], 1)).toBeCloseTo(Math.log(4), 14);
    expect(tokenNll([5000, 5000], 0)).toBeCloseTo(Math.log(2), 12);
    expect(tokenNll([-5000, 0], 0)).toBe(5000);
  });

  it('refuses logits that are not numbers, and rows that are too short', () => {
    expect(() => tokenNll([0, Number.NaN], 0)).toThrow('logit 1 is NaN');
    expect(() => tokenNll([0, -Infinity], 0)).toThrow('logit 1 is -Infinity');
    expect(() => tokenNll([0, 0], 2)).toThrow('a row of 2 logits cannot predict token 2');
  });
});

describe('perplexity', () => {
  it('of a model that knows nothing is the size of the vocabulary', async () => {
    const row = new Float32Array(259);
    const result = await perplexity(() => ({ row: () => row }), goldenText('recall64k'));
    expect(result.ppl).toBeCloseTo(259, 9);
    expect(result.half).toBeCloseTo(259, 9);
    expect(result).toMatchObject({ n_chunks: 128, n_tokens: 128 * 511, n_half: 128 * 255 });
    expect(result.nll_sum).toBeCloseTo(128 * 511 * Math.log(259), 6);
  });

  it('scores row i against token i + 1, rows 0 .. C-2, and for half from row C/2', async () => {
    const asked: number[] = [];
    // Row i is right about the next token with odds of i + 1 to 3; tokens of this text are 3 + their place.
    const chunk = (tokens: number[]) => ({
      row: (i: number) => {
        asked.push(i);
        const row = new Float64Array(16).fill(-1e9);
        row.fill(0, 12, 15); // three wrong ones
        row[tokens[i + 1]!] = Math.log(i + 1);
        return row;
      },
    });
    const result = await perplexity(chunk, Uint8Array.of(0, 1, 2, 3, 4), { n_chunk: 6 });
    expect(asked).toEqual([0, 1, 2, 3, 4]);
    const nll = [0, 1, 2, 3, 4].map((i) => Math.log((i + 4) / (i + 1)));
    expect(result.nll_sum).toBeCloseTo(
      nll.reduce((sum, x) => sum + x, 0),
      12,
    );
    expect(result.nll_half_sum).toBeCloseTo(nll[3]! + nll[4]!, 12);
    expect(result).toMatchObject({ n_tokens: 5, n_half: 2 });
  });

  it('waits for engines that answer by a promise, and gives each chunk as a fresh list beginning with BOS', async () => {
    const firsts: number[] = [];
    const result = await perplexity(
      async (tokens) => {
        firsts.push(tokens[0]!);
        return { row: () => new Float32Array(259) };
      },
      goldenText('prose'),
      { chunks: 3 },
    );
    expect(firsts).toEqual([1, 1, 1]);
    expect(result.n_chunks).toBe(3);
  });

  it.each(goldenModelNames)('%s by the oracle, two chunks', async (name) => {
    const model = loadModel(goldenModel(name), name);
    const oracle = (token: number[]) => {
      const entries = new Sequences(1).decode({
        token,
        pos: token.map((_, i) => i),
        seq_id: token.map(() => [0]),
        logits: token.map(() => true),
      });
      const rows = logits(model, entries);
      return { row: (i: number) => rows[i]! };
    };
    const pinned = goldenFigures().models[name]!.recall64k.first_2_chunks!;
    const { ppl, half } = await perplexity(oracle, goldenText('recall64k'), { chunks: 2 });
    expect(ppl).toBeCloseTo(pinned.ppl, 8);
    expect(half).toBeCloseTo(pinned.half, 8);
  });
});

/** The trained models keep their pinned perplexities in our engine, with the same bits for every ubatch size. */
import { describe, expect, test } from 'vitest';
import { engineSubject } from '../engine/subject.ts';
import { goldenFigures, goldenModel, goldenModelNames, goldenText } from './assets.ts';
import { subjectChunks } from './chunks.ts';
import { perplexity } from './perplexity.ts';

const subject = engineSubject();

describe.each(goldenModelNames)('%s', (name) => {
  const model = subject.load(goldenModel(name), name);
  const figures = goldenFigures().models[name]!.recall64k!;

  test('recall64k, all chunks: six digits of both pinned figures', async () => {
    const result = await perplexity(await subjectChunks(model), goldenText('recall64k'));
    expect(result.n_chunks).toBe(128);
    expect(result.ppl.toPrecision(6)).toBe(figures.ppl.libllama.toPrecision(6));
    expect(result.half.toPrecision(6)).toBe(figures.half.libllama.toPrecision(6));
  });

  test('the sum of negative log-likelihoods has the same bits for ubatches of 512, 100 and 7', async () => {
    const sums = [];
    for (const n_ubatch of [512, 100, 7]) {
      const chunks = await subjectChunks(model, { n_ubatch });
      sums.push((await perplexity(chunks, goldenText('recall64k'), { chunks: 4 })).nll_sum);
    }
    expect(new Set(sums).size).toBe(1);
  });
});

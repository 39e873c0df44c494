/**
 * Engine and oracle answer the same batches: every row of a mixed batch, on every recipe and trained model, for
 * every kernel implementation, within the bound that is derived for each element.
 */
import { describe, expect, test } from 'vitest';
import type { CompleteBatch } from '../contract/batch.ts';
import { engineSubject } from '../engine/subject.ts';
import { goldenModel, goldenModelNames } from '../golden/assets.ts';
import { buildRecipe, engineRecipes } from '../golden/recipes.ts';
import { loadModel } from '../model/load.ts';
import { encodedEntries, Sequences } from '../oracle/entries.ts';
import { carriedLogits } from '../oracle/forward.ts';
import { DEFAULT_P, judge, widthOf } from './verdict.ts';

/** Three shared tokens of sequences 0 and 1 (or none), then 40 ragged ones of three sequences, interleaved. */
function mixedBatch(n_vocab: number, shared: number): CompleteBatch {
  const token: number[] = [];
  const pos: number[] = [];
  const seq_id: number[][] = [];
  const output: boolean[] = [];
  const next = [shared, shared, 0];
  for (let i = 0; i < 40 + shared; i++) {
    const q = (i * i + (i >> 2)) % 3;
    seq_id.push(i < shared ? [0, 1] : [q]);
    pos.push(i < shared ? i : next[q]!++);
    token.push((i * 31 + 7) % n_vocab);
    output.push(i % 3 !== 1);
  }
  return { token, pos, seq_id, logits: output };
}

const models = [
  ...engineRecipes.map((name) => `recipe:${name}`),
  ...goldenModelNames.map((name) => `golden:${name}`),
];
const subject = engineSubject();

describe.each(models)('%s', (name) => {
  const bytes = name.startsWith('golden:') ? goldenModel(name.slice(7)) : buildRecipe(name.slice(7));
  const model = loadModel(bytes, name);
  const loaded = subject.load(bytes, name);
  const encodes = loaded.info.encoder === 'only';
  const batch = mixedBatch(model.hparams.n_vocab, encodes ? 0 : 3);
  const sequences = new Sequences(3);
  sequences.decode(batch);
  const entries = encodes
    ? encodedEntries(batch)
    : batch.token.map((_, i) => sequences.list(batch.seq_id[i]![0]!)[batch.pos[i]!]!);
  const wanted = carriedLogits(
    model,
    entries.filter((_, i) => batch.logits[i]),
    subject.info.rounding!,
  );
  const width = widthOf(DEFAULT_P);

  test.each(subject.info.isas)('%s', async (isa) => {
    const how = encodes
      ? ({ n_ubatch: 20, split: 'whole', embeddings: true } as const)
      : ({ n_ubatch: 5, split: 'equal' } as const);
    const context = loaded.open({ n_ctx: 64, n_batch: 64, n_seq_max: 4, isa, ...how });
    const got = await (encodes ? context.encode(batch) : context.decode(batch));
    expect(got.n_outputs).toBe(wanted.length);
    const counts = { equal: 0, rounding: 0, divergent: 0 };
    wanted.forEach(({ v, s }, r) => {
      v.forEach((x, i) => {
        counts[judge(got.logits[r * v.length + i]!, x, width * Math.sqrt(s[i]!))]++;
      });
    });
    expect(counts.divergent).toBe(0);
    expect(counts.rounding).toBeGreaterThan(0);
  });
});

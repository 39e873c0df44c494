/**
 * Embeddings instead of logits, where a subject offers them: rows are n_embd wide, a mistake in them is seen, and a case
 * that fails with logits as well is told with logits.
 */
import { describe, expect, it } from 'vitest';
import type { ContextParams } from '../contract/subject.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { carriedLogits, logits } from '../oracle/forward.ts';
import { oracleWhite } from '../oracle/white.ts';
import { atomic } from './atomic.ts';
import { choicesOf } from './choices.ts';
import { incremental } from './incremental.ts';
import { entriesAlone, oracleFor } from './oracle-rows.ts';
import { permute } from './permute.ts';
import { probeStory } from './probe/story.ts';
import { recurrentCells } from './recurrent-cells.ts';
import { reference } from './reference.ts';
import { solo } from './solo.ts';
import { plainSubject } from './subjects/plain/subject.ts';
import { type FakeFault, fakeEnv, runCases, shrinkGreedily } from './testing.ts';
import type { Env } from './types.ts';
import { ubatch } from './ubatch.ts';

const OFFERED = { embeddings: [false, true] } as const;

function offering(memory: 'attention' | 'recurrent', fault?: FakeFault): Env {
  const env = fakeEnv(memory, fault);
  return { ...env, subject: { ...env.subject, choices: OFFERED } };
}

/** The plain subject, which rounds; `wrong` changes what it answers. */
function rounding(name: string, wrong?: (row: Float32Array, params: ContextParams) => void): Env {
  const subject = plainSubject();
  const model = subject.load(buildRecipe(name), name);
  return {
    seed: 'embeddings',
    subject: { ...subject.info, choices: OFFERED },
    model: model.info,
    modelName: `recipe:${name}`,
    loaded: {
      info: model.info,
      open(params) {
        const ctx = model.open(params);
        const decode = ctx.decode.bind(ctx);
        ctx.decode = (batch) => {
          const answer = decode(batch);
          wrong?.(answer.logits, params);
          return answer;
        };
        return ctx;
      },
      close() {},
    },
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

describe('embeddings of a subject that promises bits', () => {
  for (const property of [solo, ubatch, permute, incremental, atomic]) {
    it.each(['attention', 'recurrent'] as const)(`${property.name} holds with %s memory`, async (memory) => {
      const env = offering(memory);
      const cases = Array.from({ length: 200 }, (_, i) => property.generate(env, i));
      const with_embeddings = cases.filter((c) => c.script!.params.embeddings === true);
      expect(with_embeddings.length).toBeGreaterThan(10);
      expect(with_embeddings.length).toBeLessThan(50);
      for (const { script, base } of cases)
        if (base !== undefined) expect(base.params.embeddings).toBe(script!.params.embeddings);
      const { failed } = await runCases(property, env, 200);
      expect(failed?.failure?.message).toBeUndefined();
    });
  }

  it('a wrong row of embeddings is seen, and stays a case with embeddings', async () => {
    const env = offering('attention', 'embedding');
    const { failed } = await runCases(solo, env, 200);
    expect(failed?.failure?.message).toMatch(/^solo: embedding of token \d+ of call/);
    expect(failed?.failure?.signature).toBe('solo/llama/16/logits');
    const small = await shrinkGreedily(solo, env, failed!);
    expect(small.failure!.case.script!.params.embeddings).toBe(true);
    expect(small.failure!.case.script!.calls).toHaveLength(1);
  });

  it('a mistake that logits have too is told with logits', async () => {
    const env = offering('attention', 'leak');
    // The first case that fails with embeddings.
    for (let i = 0; i < 200; i++) {
      const c = solo.generate(env, i);
      if (c.script!.params.embeddings !== true) continue;
      const outcome = await solo.run(env, c);
      if (outcome.status !== 'failed') continue;
      const small = await shrinkGreedily(solo, env, outcome);
      expect(small.failure!.case.script!.params.embeddings).toBeFalsy();
      expect(small.failure!.message).toMatch(/^solo: logits of token/);
      return;
    }
    expect.unreachable('no case with embeddings has failed');
  });

  it('is not asked of cells, whose ubatches are other ones then', () => {
    const env = offering('recurrent');
    for (let i = 0; i < 100; i++)
      expect(recurrentCells.generate(env, i).script!.params.embeddings).toBeUndefined();
  });

  it('is not drawn for encoders and large models', () => {
    const env = offering('attention');
    expect(choicesOf(env).embeddings).toEqual([false, true]);
    for (const other of [{ encoder: 'only' }, { n_params: 2 ** 24 }] as const)
      expect(choicesOf({ ...env, model: { ...env.model, ...other } }).embeddings).toBeUndefined();
  });

  it('is not shown to probes, which spell in logits', async () => {
    const { script } = solo.generate(offering('attention'), 0);
    const asked = { ...script!, params: { ...script!.params, embeddings: true } };
    const never = () => Promise.reject(new Error('a probe was loaded'));
    const story = await probeStory(never, asked, { arch: 'llama', memory: 'attention', n_layer: 1 });
    expect(story.sentences).toEqual([]);
    expect(story.note).toContain('embeddings');
  });

  it('NaN in an embedding is told as such', async () => {
    const env = offering('recurrent', 'nan');
    const messages = [];
    for (let i = 0; i < 100; i++) {
      const c = solo.generate(env, i);
      if (c.script!.params.embeddings) messages.push((await solo.run(env, c)).failure?.message);
    }
    expect(messages.find((m) => m !== undefined)).toMatch(/solo: embedding of token .*, element 5: got NaN/);
  });
});

describe.each(['llama', 'mamba'])('embeddings of %s by the oracle', (name) => {
  it('are what the logits are made of, with errors of their own', () => {
    const env = rounding(name);
    const { model, profile } = oracleFor(env, { embeddings: true });
    const entry = entriesAlone([3, 1, 4, 1, 5]).at(-1)!;
    const [row] = logits(model, [entry], { embeddings: true });
    expect(row).toHaveLength(env.model.n_embd);
    const output = model.tensors.get(
      model.tensors.has('output.weight') ? 'output.weight' : 'token_embd.weight',
    )!;
    const [full] = logits(model, [entry]);
    for (const v of [0, 7, env.model.n_vocab - 1]) {
      const sum = row!.reduce((s, x, e) => s + x * Number(output.data[v * row!.length + e]), 0);
      expect(full![v]).toBeCloseTo(sum, 9);
    }
    const [carried] = carriedLogits(model, [entry], profile, { embeddings: true });
    expect([...carried!.v]).toEqual([...row!]);
    expect(carried!.s.every((s) => s > 0)).toBe(true);
  });

  it.each([reference, solo])('$name holds within the bounds of each element', async (property) => {
    const env = rounding(name);
    let compared = 0;
    for (let i = 0; i < 60; i++) {
      const c = property.generate(env, i);
      if (c.script!.params.embeddings !== true) continue;
      const outcome = await property.run(env, c);
      expect(outcome.failure?.message).toBeUndefined();
      compared += outcome.compared;
    }
    expect(compared).toBeGreaterThan(1000);
  });

  it('a deviation of a thousandth is seen by reference, as one of an embedding', async () => {
    const env = rounding(name, (row, params) => {
      if (params.embeddings) row[row.length - 1]! *= 1.001;
    });
    for (let i = 0; i < 60; i++) {
      const outcome = await reference.run(env, reference.generate(env, i));
      if (outcome.status !== 'failed') continue;
      expect(outcome.failure!.message).toMatch(
        /^reference: embedding of token .* derived standard deviations off/,
      );
      expect(outcome.failure!.case.script!.params.embeddings).toBe(true);
      return;
    }
    expect.unreachable('nothing was seen');
  });
});

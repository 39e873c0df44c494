/** `encoder` on an encoder whose rows are hashes of what a token sees: it holds, and each mistake is seen. */
import { describe, expect, it } from 'vitest';
import type { Batch } from '../contract/batch.ts';
import type { ContextParams, SubjectContext, SubjectModel } from '../contract/subject.ts';
import { oracleWhite } from '../oracle/white.ts';
import { missingClasses } from './coverage.ts';
import { encoder } from './encoder.ts';
import { mix32 } from './random.ts';
import { fakeSubject, runCases, shrinkGreedily } from './testing.ts';
import { idsOf, isOutput } from './trace.ts';
import type { Env } from './types.ts';

const FAULTS = [
  /** A token also sees the token before it in the batch, whosever that is. */
  'leak',
  /** What a sequence says depends on its id. */
  'id',
  /** Sequences of earlier batches are seen again. */
  'stale',
  /** Rows depend on the size of an ubatch. */
  'n_ubatch',
  /** Rows are in reverse. */
  'rows',
] as const;
type Fault = (typeof FAULTS)[number];

const N_EMBD = 8;

class HashingContext implements Pick<SubjectContext, 'encode'> {
  readonly #params: ContextParams;
  readonly #fault: Fault | null;
  #before = 0;

  constructor(params: ContextParams, fault: Fault | null) {
    this.#params = params;
    this.#fault = fault;
  }

  encode(batch: Batch) {
    const seen = new Map<number, number>();
    const next = new Map<number, number>();
    const pos = batch.token.map((_, i) => {
      const seq = idsOf(batch, i)[0]!;
      const at = next.get(seq) ?? 0;
      next.set(seq, at + 1);
      return batch.pos?.[i] ?? at;
    });
    batch.token.forEach((token, i) => {
      const seq = idsOf(batch, i)[0]!;
      // A sum: whoever is encoded is seen from both sides.
      seen.set(seq, ((seen.get(seq) ?? 0) + mix32(64 * token + pos[i]!)) >>> 0);
    });
    const outputs = batch.token.map((_, i) => i).filter((i) => isOutput(batch, i));
    const logits = new Float32Array(outputs.length * N_EMBD);
    const order = this.#fault === 'rows' ? outputs.toReversed() : outputs;
    for (const [row, i] of order.entries()) {
      const seq = idsOf(batch, i)[0]!;
      let hash = mix32(seen.get(seq)! ^ mix32(pos[i]!));
      if (this.#fault === 'leak' && i > 0) hash = mix32(hash ^ batch.token[i - 1]!);
      if (this.#fault === 'id' && seq > 1) hash = mix32(hash ^ seq);
      if (this.#fault === 'stale') hash = mix32(hash ^ this.#before);
      if (this.#fault === 'n_ubatch' && this.#params.n_ubatch > 8) hash = mix32(hash);
      for (let e = 0; e < N_EMBD; e++) logits[row * N_EMBD + e] = mix32(hash + e) / 2 ** 32;
    }
    this.#before = batch.token[0]! + 1;
    return { n_outputs: outputs.length, logits };
  }
}

function encoderEnv(fault: Fault | null = null): Env {
  const { info } = fakeSubject('attention');
  const model = {
    arch: 'bert',
    memory: 'none',
    n_vocab: 300,
    n_embd: N_EMBD,
    n_layer: 1,
    n_params: 1,
    encoder: 'only',
  } as const;
  const loaded: SubjectModel = {
    info: model,
    open(params) {
      expect([params.embeddings, params.pooling]).toEqual([true, 'none']);
      const ctx = new HashingContext(params, fault);
      return { encode: (batch: Batch) => ctx.encode(batch), close() {} } as unknown as SubjectContext;
    },
    close() {},
  };
  return {
    seed: 'encoder',
    subject: { ...info, splits: {}, shared_tokens: false },
    model,
    modelName: 'recipe:bert',
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

describe('encoder', () => {
  it('holds where sequences do not see each other, and reaches its classes', async () => {
    const env = encoderEnv();
    const { failed, compared } = await runCases(encoder, env, 300);
    expect(failed?.failure?.message).toBeUndefined();
    expect(compared).toBeGreaterThan(10_000);
    expect(missingClasses(env.coverage, encoder, { subject: env.subject, memory: 'none' })).toEqual([]);
  });

  it.each(FAULTS)('sees: %s', async (fault) => {
    const env = encoderEnv(fault);
    const { failed } = await runCases(encoder, env, 120);
    expect(failed?.failure?.signature).toBe('encoder/bert/300/embedding');
    expect(failed?.failure?.message).toMatch(/^encoder: embedding of token \d+ of call \d+ \(sequence/);
    const small = await shrinkGreedily(encoder, env, failed!, 300);
    const { calls } = small.failure!.case.script!;
    const tokens = calls.reduce((n, call) => n + (call.op === 'decode' ? call.batch.token.length : 0), 0);
    expect(tokens).toBeLessThanOrEqual(fault === 'n_ubatch' ? 10 : 4);
  });

  it('is skipped where there is no encoder', () => {
    const { subject, model } = encoderEnv();
    expect(encoder.skip(subject, model)).toBeNull();
    expect(encoder.skip(subject, { ...model, encoder: undefined })).toContain('no encoder');
    expect(encoder.skip(subject, { ...model, encoder: 'with decoder' })).toBeNull();
  });
});

/** `pooling` on a subject whose pooled rows are sums of hashes: it holds, and each mistake is seen. */
import { describe, expect, it } from 'vitest';
import type { Batch, MemoryKind } from '../contract/batch.ts';
import type { ContextParams, DecodeResult, SubjectContext, SubjectModel } from '../contract/subject.ts';
import { oracleWhite } from '../oracle/white.ts';
import { missingClasses } from './coverage.ts';
import { pooling } from './pooling.ts';
import { mix32 } from './random.ts';
import { fakeSubject, runCases, shrinkGreedily } from './testing.ts';
import { idsOf, isOutput } from './trace.ts';
import type { Env } from './types.ts';

const FAULTS = [
  /** The mean is one over the whole batch. */
  'whole batch',
  /** Sequences of different lengths are cut into ubatches, and the last of them is all that is pooled (kv_unified = 0). */
  'last ubatch',
  /** Vectors are found by the place of a sequence in the batch, not by its id. */
  'by place',
  /** The vector of an earlier batch is not replaced. */
  'kept',
  /** cls is the first token of a sequence in the batch, wherever that sequence begins in a memory that is not empty. */
  'not cleared',
] as const;
type Fault = (typeof FAULTS)[number];

const N_EMBD = 8;

class PoolingContext {
  readonly #params: ContextParams;
  readonly #fault: Fault | null;
  readonly #kept = new Map<number, number>();
  #dirty = 0;

  constructor(params: ContextParams, fault: Fault | null) {
    this.#params = params;
    this.#fault = fault;
  }

  clear(): void {
    if (this.#fault !== 'not cleared') this.#dirty = 0;
  }

  decode(batch: Batch): DecodeResult {
    const rows = new Map<number, number[]>();
    batch.token.forEach((token, i) => {
      const seq = idsOf(batch, i)[0]!;
      const own = rows.get(seq) ?? [];
      rows.set(seq, own);
      own.push(mix32((own.at(-1) ?? this.#dirty) ^ (token + 1)));
    });
    const shortest = Math.min(...[...rows.values()].map((own) => own.length));
    const cut = this.#fault === 'last ubatch' && rows.size > 1;
    const all = [...rows.values()].flat();
    const pooled = new Map<number, number>();
    for (const [seq, own] of rows) {
      const seen = cut && own.length > shortest ? own.slice(shortest) : own;
      const summed = this.#fault === 'whole batch' ? all : seen;
      const vector = { mean: sum(summed), cls: seen[0]!, last: seen.at(-1)!, none: 0 };
      const now = vector[this.#params.pooling!];
      pooled.set(seq, this.#fault === 'kept' ? (this.#kept.get(seq) ?? now) : now);
      this.#kept.set(seq, pooled.get(seq)!);
    }
    this.#dirty = sum(all);
    const places = [...rows.keys()];
    const outputs = batch.token.map((_, i) => i).filter((i) => isOutput(batch, i));
    const logits = new Float32Array(outputs.length * N_EMBD);
    for (const [row, i] of outputs.entries()) {
      const seq = idsOf(batch, i)[0]!;
      const found = this.#fault === 'by place' ? (places[seq] ?? seq) : seq;
      for (let e = 0; e < N_EMBD; e++) logits[row * N_EMBD + e] = mix32(pooled.get(found)! + e) / 2 ** 32;
    }
    return { n_outputs: outputs.length, logits };
  }
}

function sum(rows: readonly number[]): number {
  return rows.reduce((s, x) => (s + x) >>> 0, 0);
}

function poolingEnv(fault: Fault | null = null, memory: MemoryKind = 'attention', below = false): Env {
  const { info } = fakeSubject('attention');
  const model = { arch: 'llama', memory, n_vocab: 64, n_embd: N_EMBD, n_layer: 1, n_params: 1 } as const;
  const loaded: SubjectModel = {
    info: model,
    open(params) {
      expect(params.embeddings).toBe(true);
      const ctx = new PoolingContext(params, fault);
      return {
        decode: (batch: Batch) => ctx.decode(batch),
        clear: () => ctx.clear(),
        close() {},
      } as unknown as SubjectContext;
    },
    close() {},
  };
  return {
    seed: 'pooling',
    subject: {
      ...info,
      splits: {},
      choices: { pooling: ['none', 'mean', 'cls', 'last'] },
      ...(below ? { legal: { pooled_ids_below_tokens: true } } : {}),
    },
    model,
    modelName: 'recipe:llama',
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

describe('pooling', () => {
  it.each(['attention', 'recurrent'] as const)('holds with %s memory, in all classes', async (memory) => {
    const env = poolingEnv(null, memory);
    const { failed, compared } = await runCases(pooling, env, 300);
    expect(failed?.failure?.message).toBeUndefined();
    expect(compared).toBeGreaterThan(5000);
    expect(missingClasses(env.coverage, pooling, { subject: env.subject, memory })).toEqual([]);
  });

  it('asks for whole sequences in one ubatch, one vector each', () => {
    for (let i = 0; i < 100; i++) {
      const { script, pairs } = pooling.generate(poolingEnv(), i);
      const batches = script!.calls.map((call) => (call as { batch: Batch }).batch);
      for (const { token } of batches) expect(token.length).toBeLessThanOrEqual(script!.params.n_ubatch);
      const sequences = batches.map((batch) => new Set(batch.token.map((_, k) => idsOf(batch, k)[0])).size);
      expect(pairs).toHaveLength(sequences.reduce((n, k) => n + k, 0));
    }
  });

  it.each(FAULTS)('sees: %s', async (fault) => {
    const env = poolingEnv(fault);
    const { failed } = await runCases(pooling, env, 200);
    expect(failed?.failure?.signature).toMatch(/^pooling\/llama\/64\/embedding, (mean|cls|last)$/);
    expect(failed?.failure?.message).toMatch(/^pooling: embedding of token \d+ of call \d+ \(sequence/);
    const small = await shrinkGreedily(pooling, env, failed!, 300);
    const { script } = small.failure!.case;
    const tokens = script!.calls.reduce((n, c) => n + ('batch' in c ? c.batch.token.length : 0), 0);
    expect(tokens).toBeLessThanOrEqual(4);
    expect((await pooling.run(poolingEnv(), small.failure!.case)).status).toBe('passed');
  });

  it.each(['attention', 'recurrent'] as const)(
    'keeps ids below the tokens where that is the rule (%s)',
    (memory) => {
      const env = poolingEnv(null, memory, true);
      let several = 0;
      for (let i = 0; i < 200; i++) {
        const { script, base } = pooling.generate(env, i);
        for (const call of [...script!.calls, ...base!.calls]) {
          if (call.op !== 'decode') continue;
          const { batch } = call;
          const ids = batch.token.map((_, k) => idsOf(batch, k)[0]!);
          if (new Set(ids).size > 1) several++;
          for (const id of ids)
            expect(id).toBeLessThan(memory === 'recurrent' ? ids.filter((x) => x === id).length : ids.length);
        }
      }
      expect(several).toBeGreaterThan(40);
    },
  );

  it('is skipped where nothing is pooled', () => {
    const { subject, model } = poolingEnv();
    expect(pooling.skip(subject, model)).toBeNull();
    expect(pooling.skip({ ...subject, choices: {} }, model)).toContain('does not pool');
    expect(pooling.skip(subject, { ...model, encoder: 'with decoder' })).toContain('goes to the decoder');
  });
});

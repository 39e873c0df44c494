/** `cross` on a decoder whose rows are hashes of what a token sees: it holds, and each mistake is seen. */
import { describe, expect, it } from 'vitest';
import type { Batch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams, DecodeResult, SubjectContext, SubjectModel } from '../contract/subject.ts';
import { completeBatch } from '../oracle/batch.ts';
import { oracleWhite } from '../oracle/white.ts';
import { missingClasses } from './coverage.ts';
import { cross } from './cross.ts';
import { isCross } from './generate/cross.ts';
import { Lists } from './lists.ts';
import { mix32 } from './random.ts';
import { solo } from './solo.ts';
import { fakeSubject, runCases, shrinkGreedily } from './testing.ts';
import { idsOf, refusalOf } from './trace.ts';
import type { Call, Env } from './types.ts';

const FAULTS = [
  /** A token of the decoder sees the sources of all sequences. */
  'all sources',
  /** Sequences that were encoded before still own the places of that batch (llama.cpp up to b4234). */
  'stale ids',
  /** The last token of a source is not seen if others are encoded behind it. */
  'cut source',
  /** What is encoded next is seen besides what was encoded before. */
  'both sources',
  /** A second ubatch sees no source. */
  'second ubatch',
  /** The first token of a batch sees the source of a new sequence as it would the one before the memory was cleared. */
  'kept over clear',
] as const;
type Fault = (typeof FAULTS)[number];

const N_VOCAB = 16;

/** A token of a source, and who owns it. */
interface Place {
  readonly ids: Set<number>;
  hash: number;
}

class HashingContext implements SubjectContext {
  readonly #params: ContextParams;
  readonly #fault: Fault | null;
  readonly #lists: Lists;
  readonly #content = new Map<object, number>();
  #places: Place[] = [];
  #before: Place[] = [];
  #cleared = false;

  constructor(params: ContextParams, fault: Fault | null) {
    this.#params = params;
    this.#fault = fault;
    this.#lists = new Lists(params.n_seq_max, 'attention');
  }

  #check(call: Call): void {
    const kind = refusalOf(this.#lists, call, { params: this.#params, calls: [] }, N_VOCAB);
    if (kind !== null) throw new IsobatchError(kind as 'ops.seq_id', `refused: ${kind}`);
  }

  encode(batch: Batch): DecodeResult {
    this.#check({ op: 'encode', batch });
    const n = batch.token.length;
    const whole = new Map<string, number>();
    const owner = (i: number) => idsOf(batch, i).join();
    for (let i = 0; i < n; i++)
      whole.set(owner(i), ((whole.get(owner(i)) ?? 0) + mix32(64 * batch.token[i]! + batch.pos![i]!)) >>> 0);
    const places = batch.token.map((_, i): Place => {
      const ids = new Set(idsOf(batch, i));
      if (this.#fault === 'stale ids') for (const id of this.#places[i]?.ids ?? []) ids.add(id);
      return { ids, hash: mix32(whole.get(owner(i))! + batch.pos![i]!) };
    });
    if (this.#fault === 'cut source')
      for (const [i, place] of places.entries())
        if (i + 1 < n && batch.pos![i]! > 0 && batch.pos![i + 1] === 0) place.ids.clear();
    this.#before = this.#places;
    this.#places = this.#fault === 'both sources' ? [...this.#places, ...places] : places;
    return { n_outputs: 0, logits: new Float32Array(0) };
  }

  decode(batch: Batch): DecodeResult {
    this.#check({ op: 'decode', batch });
    const { n_batch, n_seq_max, n_ubatch } = this.#params;
    const complete = completeBatch(batch, this.#lists, { n_vocab: N_VOCAB, n_batch, n_seq_max });
    const rows: number[] = [];
    complete.token.forEach((token, i) => {
      const seq = complete.seq_id[i]![0]!;
      const stale = this.#fault === 'kept over clear' && this.#cleared && i === 0;
      let source = 0;
      for (const { ids, hash } of stale ? this.#before : this.#places)
        if (this.#fault === 'all sources' || ids.has(seq)) source = (source + hash) >>> 0;
      if (this.#fault === 'second ubatch' && i >= n_ubatch) source = 0;
      let hash = mix32(source);
      for (const entry of this.#lists.owned(seq)) hash = mix32(hash ^ this.#content.get(entry)!);
      hash = mix32(hash ^ (token + 1));
      const entry = this.#lists.append(token, [seq]);
      this.#content.set(entry, hash);
      if (complete.logits[i]) rows.push(hash);
    });
    this.#lists.endBatch();
    this.#cleared = false;
    const logits = Float32Array.from(
      { length: rows.length * N_VOCAB },
      (_, k) => mix32(rows[Math.floor(k / N_VOCAB)]! + (k % N_VOCAB)) / 2 ** 32,
    );
    return { n_outputs: rows.length, logits };
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.#check({ op: 'seqRm', seq, p0, p1 });
    this.#lists.rm(seq, p0, p1);
  }
  seqCp(): void {
    throw new IsobatchError('ops.copy', 'no copies');
  }
  seqKeep(): void {
    throw new IsobatchError('ops.seq_id', 'not asked for');
  }
  clear(): void {
    this.#lists.clear();
    this.#cleared = true;
  }
  seqPosMin(seq: number): number {
    return this.#lists.posMin(seq);
  }
  seqPosMax(seq: number): number {
    return this.#lists.posMax(seq);
  }
  close(): void {}
}

function crossEnv(fault: Fault | null = null): Env {
  const { info } = fakeSubject('attention');
  const model = {
    arch: 't5',
    memory: 'attention',
    n_vocab: N_VOCAB,
    n_embd: 8,
    n_layer: 1,
    n_params: 1,
    encoder: 'with decoder',
  } as const;
  const loaded: SubjectModel = {
    info: model,
    open: (params) => new HashingContext(params, fault),
    close() {},
  };
  return {
    seed: 'cross',
    subject: { ...info, shared_tokens: true },
    model,
    modelName: 'recipe:t5',
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

describe('cross', () => {
  it('holds where sequences see their own source, and reaches its classes', async () => {
    const env = crossEnv();
    const { failed, compared } = await runCases(cross, env, 300);
    expect(failed?.failure?.message).toBeUndefined();
    expect(compared).toBeGreaterThan(20_000);
    expect(missingClasses(env.coverage, cross, { subject: env.subject, memory: 'attention' })).toEqual([]);
  });

  it('compares in six ways, with sources of one and of all sequences, and small ubatches', () => {
    const cases = Array.from({ length: 300 }, (_, i) => cross.generate(crossEnv(), i));
    expect(new Set(cases.map(({ plan }) => (plan as { base: string }).base)).size).toBe(6);
    const batches = cases.flatMap(({ script }) =>
      script!.calls.flatMap((call) => (call.op === 'encode' ? [call.batch] : [])),
    );
    expect(batches.some((batch) => idsOf(batch, 0).length > 1)).toBe(true);
    expect(batches.some((batch) => new Set(batch.seq_id!.map((ids) => ids[0])).size > 2)).toBe(true);
    expect(cases.filter(({ script }) => script!.params.n_ubatch <= 4).length).toBeGreaterThan(20);
    for (const { script } of cases) expect(isCross(script!)).toBe(true);
  });

  it.each(FAULTS)('sees: %s', async (fault) => {
    const env = crossEnv(fault);
    const { failed } = await runCases(cross, env, 200);
    expect(failed?.failure?.signature).toBe('cross/t5/16/logits');
    const small = await shrinkGreedily(cross, env, failed!, 400);
    const { script } = small.failure!.case;
    expect(isCross(script!)).toBe(true);
    const tokens = script!.calls.reduce((n, c) => n + ('batch' in c ? c.batch.token.length : 0), 0);
    expect(tokens).toBeLessThanOrEqual(8);
    // The same case is right where nothing is wrong.
    expect((await cross.run(crossEnv(), small.failure!.case)).status).toBe('passed');
  });

  it('leaves out what has no source, and what it cannot cut', () => {
    const params = { n_ctx: 8, n_batch: 8, n_ubatch: 2, n_seq_max: 2, split: 'simple' } as const;
    const decode = { op: 'decode', batch: { token: [1], seq_id: [[1]] } } as const;
    const encode = { op: 'encode', batch: { token: [1, 2], seq_id: [[0], [0]] } } as const;
    expect(isCross({ params, calls: [decode] })).toBe(false);
    expect(isCross({ params, calls: [encode, decode] })).toBe(false);
    expect(isCross({ params, calls: [encode, { ...decode, batch: { token: [1] } }] })).toBe(true);
    const long = { op: 'encode', batch: { token: [1, 2, 3] } } as const;
    const lists = new Lists(2, 'attention');
    expect(refusalOf(lists, long, { params, calls: [] }, 16)).toBe('batch.size');
    expect(refusalOf(lists, encode, { params, calls: [] }, 16)).toBeNull();
  });

  it('is for encoders with a decoder, and what knows no source is not', () => {
    const { subject, model } = crossEnv();
    expect(cross.skip(subject, model)).toBeNull();
    expect(cross.skip(subject, { ...model, encoder: undefined })).toContain('not an encoder with a decoder');
    expect(solo.skip(subject, model)).toContain('before something was encoded');
    expect(solo.skip(subject, { ...model, encoder: undefined })).toBeNull();
  });
});

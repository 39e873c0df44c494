/**
 * `reference` against the subject itself: rows of any history are those of one token a call; what depends on the batch
 * is found, by bits and by bounds, whatever the bounds are made of.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MeanOptions, meanEnv, meanModel } from './noise-testing.ts';
import { reference } from './reference.ts';
import { selfDemands } from './self-reference.ts';
import { fakeEnv, runCases } from './testing.ts';
import { trace } from './trace.ts';
import type { Env, Outcome, Script } from './types.ts';
import { runCase } from './worker-run.ts';

const bytes = meanModel();
let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'isobatch-self-'));
  path = join(folder, 'mean.gguf');
  writeFileSync(path, bytes);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const selfEnv = (options?: MeanOptions): Env => ({ ...meanEnv(path, bytes, options), reference: 'self' });

async function firstFailure(env: Env, n: number): Promise<{ failed: Outcome | null; rounding: number }> {
  let rounding = 0;
  for (let i = 0; i < n; i++) {
    const outcome = await runCase(reference, env, reference.generate(env, i));
    rounding += outcome.rounding;
    if (outcome.status === 'failed') return { failed: outcome, rounding };
  }
  return { failed: null, rounding };
}

describe('what is compared', () => {
  const params = { n_ctx: 9, n_batch: 4, n_ubatch: 4, n_seq_max: 2, split: 'equal' } as const;
  const script: Script = {
    params,
    calls: [
      { op: 'decode', batch: { token: [1, 2, 3], seq_id: [[0], [0], [1]], logits: [true, true, true] } },
      { op: 'seqKeep', seq: 7, refused: 'ops.seq_id' },
      { op: 'seqRm', seq: 0, p0: 0, p1: 1 },
      { op: 'decode', batch: { token: [4, 5], seq_id: [[1], [0]], logits: [true, true] } },
    ],
  };

  it('is the list alone where it is plain, else the history with one token a call', () => {
    const { alone, base, pairs } = selfDemands(script, { model: fakeEnv().model });
    expect(alone).toEqual([
      { call: 0, index: 0, tokens: [1] },
      { call: 0, index: 1, tokens: [1, 2] },
      { call: 0, index: 2, tokens: [3] },
      { call: 3, index: 0, tokens: [3, 4] },
    ]);
    expect(pairs).toEqual([[3, 1, 5, 0]]);
    expect(base!.params.n_ubatch).toBe(1);
    expect(base!.calls.map((call) => (call.op === 'decode' ? call.batch.token : call.op))).toEqual([
      [1],
      [2],
      [3],
      'seqRm',
      [4],
      [5],
    ]);
    // The same entries: what a row has seen is the same in both.
    const [a, b] = [script, base!].map((s) => trace(s, 'attention'));
    expect(b!.calls[5]!.tokens[0]!.pos).toBe(a!.calls[3]!.tokens[1]!.pos);
  });
});

it('is skipped without it where there is no oracle, and says what would help', () => {
  const { subject, model } = selfEnv();
  expect(reference.skip(subject, model)).toMatch(/no forward pass for mean yet; --reference self/);
  expect(reference.skip(subject, model, { reference: 'self' })).toBeNull();
  const large = { ...model, arch: 'llama', n_params: 2 ** 24 };
  expect(reference.skip(subject, large)).toMatch(/too many for the oracle; --reference self/);
  expect(reference.skip(subject, large, { reference: 'self' })).toBeNull();
});

describe('a subject that promises bits', () => {
  for (const memory of ['attention', 'recurrent'] as const) {
    it(`is right with ${memory} memory`, async () => {
      const { failed, compared } = await runCases(reference, { ...fakeEnv(memory), reference: 'self' }, 60);
      expect(failed).toBeNull();
      expect(compared).toBeGreaterThan(1000);
    });
    it(`is found where an answer depends on the batch (${memory})`, async () => {
      const env = { ...fakeEnv(memory, 'ubatch-edge'), reference: 'self' } as const;
      const { failed } = await runCases(reference, env, 100);
      expect(failed!.failure!.signature).toMatch(/^reference\/.*\/logits$/);
      // The case is the one that was given, so that it can be made smaller and kept.
      expect(failed!.failure!.case.alone).toBeUndefined();
    });
  }
});

describe('a subject that rounds', () => {
  it('is right within bounds, also after removals inside', async () => {
    const { failed, rounding } = await firstFailure(selfEnv(), 60);
    expect(failed).toBeNull();
    expect(rounding).toBeGreaterThan(100);
  });

  for (const fault of ['leak', 'stale'] as const) {
    it(`is found with the fault ${fault}`, async () => {
      const { failed } = await firstFailure(selfEnv({ fault }), 80);
      expect(failed!.failure!.signature).toMatch(/^reference\/mean\/.*logits$/);
      expect(failed!.failure!.difference.missed!.sigmas).toBeGreaterThan(1e3);
    });
  }
});

/** Cuts: what two blocks balance between them goes together, and n_ubatch with it; engines that promise bits have none. */
import { expect, test } from 'vitest';
import { tokensOf } from './shrink-model.ts';
import { shrinkCase } from './shrinker.ts';
import { solo } from './solo.ts';
import { fakeEnv } from './testing.ts';
import { idsOf } from './trace.ts';
import type { Call, Case, Env, Failure, Outcome } from './types.ts';

const engine = fakeEnv();
/** A subject that makes no promise of bits, but no noise either: every verdict is given by a predicate. */
const other: Env = { ...engine, subject: { ...engine.subject, bit_invariant: false } };

const NOTHING = { compared: 1, equal: 1, rounding: 0, divergent: 0, tokens: 0 };
const failureOf = (c: Case): Failure => ({
  case: c,
  message: 'different',
  difference: { what: 'a row' },
  signature: 'solo/llama/16/logits',
});

/** Tokens of a sequence in the decodes before and after the first removal. */
function count(c: Case, seq: number, after: boolean): number {
  const { calls } = c.script!;
  const rm = calls.findIndex(({ op }) => op === 'seqRm');
  let n = 0;
  calls.forEach((call, at) => {
    if (call.op !== 'decode' || at > rm !== after) return;
    for (let i = 0; i < call.batch.token.length; i++) if (idsOf(call.batch, i).includes(seq)) n++;
  });
  return rm < 0 ? -1 : n;
}

/** What is freed is filled again exactly, and is twice n_ubatch: three things get smaller together, or none. Six at least. */
const balanced = (c: Case): boolean =>
  count(c, 0, false) >= 6 &&
  count(c, 0, false) === count(c, 1, true) &&
  count(c, 0, false) === 2 * c.script!.params.n_ubatch;

function start(env: Env): Case {
  const seqs = (n: number, seq: number) => Array.from({ length: n }, () => [seq]);
  const decode = (...seq_id: number[][]): Call => ({
    op: 'decode',
    batch: { token: seq_id.map((_, i) => i % 16), seq_id, logits: seq_id.map(() => true) },
  });
  const calls: Call[] = [
    decode(...seqs(16, 0), ...seqs(6, 2)),
    { op: 'seqRm', seq: 0, p0: 0, p1: -1 },
    decode(...seqs(16, 1), ...seqs(3, 2)),
  ];
  const params = { n_ctx: 64, n_batch: 32, n_ubatch: 8, n_seq_max: 3, split: 'simple' } as const;
  const c = solo.rebuild!(env, solo.generate(env, 0), { script: { params, calls } });
  expect(c).not.toBeNull();
  expect(balanced(c!)).toBe(true);
  return c!;
}

async function shrunk(env: Env, looks = true): Promise<{ c: Case; tried: number }> {
  const run = async (c: Case): Promise<Outcome> =>
    balanced(c) ? { status: 'failed', ...NOTHING, failure: failureOf(c) } : { status: 'passed', ...NOTHING };
  const { failure, tried } = await shrinkCase(solo, env, failureOf(start(env)), {
    deadline: Date.now() + 20_000,
    run,
    ...(looks ? { look: run } : {}),
  });
  return { c: failure.case, tried };
}

test('blocks that balance each other get shorter together, and n_ubatch with them', async () => {
  const { c, tried } = await shrunk(other);
  expect(balanced(c)).toBe(true);
  expect(tokensOf(c.script!.calls)).toHaveLength(12);
  expect(c.script!.params.n_ubatch).toBe(3);
  expect(tried).toBeLessThan(400);
  // The same in the same time, whoever is asked.
  expect(await shrunk(other)).toEqual({ c, tried });
});

test('a subject that promises bits is shrunk by the search alone, in as many tries as without looks', async () => {
  const with_looks = await shrunk(engine);
  expect(await shrunk(engine, false)).toEqual(with_looks);
  expect(tokensOf(with_looks.c.script!.calls).length).toBeGreaterThan(12);
});

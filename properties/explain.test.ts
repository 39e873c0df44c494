/** Explanations: facts that are known beforehand, by predicates and by planted faults; budgets and their end. */
import { describe, expect, test } from 'vitest';
import { explainFailure } from './explain.ts';
import { operations } from './operations.ts';
import { shrinkCase } from './shrinker.ts';
import { solo } from './solo.ts';
import { fakeEnv, runCases } from './testing.ts';
import { idsOf } from './trace.ts';
import type { Call, Case, Explanation, Failure, Outcome, Property, Script } from './types.ts';
import { ubatch } from './ubatch.ts';

const NOTHING = { compared: 1, equal: 1, rounding: 0, divergent: 0, tokens: 0 };
const env = fakeEnv();

function failureOf(c: Case, signature = 'solo/llama/16/logits'): Failure {
  return { case: c, message: 'different', difference: { what: 'a row' }, signature };
}

function soloCase(script: Script): Case {
  const c = solo.rebuild!(env, solo.generate(env, 0), { script });
  expect(c).not.toBeNull();
  return c!;
}

const PARAMS = { n_ctx: 8, n_batch: 4, n_ubatch: 2, n_seq_max: 3, split: 'equal', isa: 'fast' } as const;

/** Sequence 0 has two tokens and is removed, then 1 and 2 come; all fields given. */
const CALLS: readonly Call[] = [
  { op: 'decode', batch: { token: [1, 2], pos: [0, 1], seq_id: [[0], [0]], logits: [false, true] } },
  { op: 'seqRm', seq: 0, p0: 0, p1: -1 },
  {
    op: 'decode',
    batch: { token: [3, 4, 5], pos: [0, 0, 1], seq_id: [[1], [2], [1]], logits: [true, true, true] },
  },
];

async function explainBy(fails: (c: Case) => boolean, deadline = Date.now() + 5000): Promise<Explanation> {
  const run = async (c: Case): Promise<Outcome> =>
    fails(c) ? { status: 'failed', ...NOTHING, failure: failureOf(c) } : { status: 'passed', ...NOTHING };
  const c = soloCase({ params: PARAMS, calls: CALLS });
  return explainFailure(solo, env, failureOf(c), { deadline, run });
}

const fact = (e: Explanation, what: string) => e.facts.find((f) => f.what.startsWith(what))?.verdict;

const sequencesIn = (c: Case): Set<number> =>
  new Set(
    c.script!.calls.flatMap((k) =>
      k.op === 'decode' ? k.batch.token.flatMap((_, i) => idsOf(k.batch, i)) : [],
    ),
  );

describe('facts of a known predicate', () => {
  test('n_ubatch at most 3 and sequence 1', async () => {
    const e = await explainBy((c) => c.script!.params.n_ubatch <= 3 && sequencesIn(c).has(1));
    expect(fact(e, 'n_ubatch')).toBe('fails only up to 3');
    expect(fact(e, 'sequence 0')).toBe('does not matter');
    expect(fact(e, 'sequence 1')).toBe('must be there');
    expect(fact(e, 'sequence 2')).toBe('does not matter');
    expect(fact(e, 'call 1 (remove sequence 0)')).toBe('does not matter');
    expect(fact(e, 'split policy')).toMatch(/^any value fails \(equal, simple/);
    expect(fact(e, 'order')).toBe('does not matter');
    expect(fact(e, 'instruction set')).toBe('any value fails (fast, portable, slow)');
    expect(e.sentence).toMatch(
      /^n_ubatch above 3 hides it; sequence 1 must be there; call 1 \(remove sequence 0\), .* do not matter\.$/,
    );
    expect(e.cut).toBe(false);
    expect(e.runs).toBe(1 + e.facts.reduce((n, f) => n + f.runs, 0));
  });

  test('an operation, a policy, an instruction set, F16', async () => {
    const e = await explainBy((c) => {
      const { split, isa, type_kv } = c.script!.params;
      const removed = c.script!.calls.some((call) => call.op === 'seqRm');
      return removed && split !== 'simple' && isa === 'fast' && type_kv !== 'F16';
    });
    expect(fact(e, 'call 1')).toBe('must be there');
    expect(fact(e, 'split policy')).toMatch(/^fails only with equal, /);
    expect(fact(e, 'split policy')).not.toMatch(/simple/);
    expect(fact(e, 'instruction set')).toBe('fails only with fast');
    expect(fact(e, 'type of K and V')).toBe('fails only with F32');
    // Three clauses, the most telling ones; sequence 0 is named by its removal.
    expect(e.sentence).toMatch(
      /^Call 1 \(remove sequence 0\) must be there; split policy simple hides it; .*n_ubatch.* do not matter\.$/,
    );
    expect(e.sentence.split(';')).toHaveLength(3);
  });

  test('numbers of tokens and the order', async () => {
    const own = (c: Case, seq: number) => {
      const last = c.script!.calls.at(-1)!;
      return last.op === 'decode' ? last.batch.token.filter((_, i) => idsOf(last.batch, i)[0] === seq) : [];
    };
    const e = await explainBy((c) => {
      const last = c.script!.calls.at(-1)!;
      const first = last.op === 'decode' ? idsOf(last.batch, 0)[0] : undefined;
      return own(c, 1).length >= 2 && own(c, 2).length <= 1 && first === 1;
    });
    expect(fact(e, 'tokens of sequence 1 in call 2')).toBe('fails only from 2 on');
    expect(fact(e, 'tokens of sequence 2 in call 2')).toBe('fails only up to 1');
    expect(fact(e, 'tokens of sequence 0 in call 0')).toBe('any value fails (1 to 4)');
    expect(fact(e, 'order')).toMatch(/^matters: [12] of \d others hide it/);
    expect(e.sentence).toMatch(
      /^The order of the tokens matters; sequence 1 must have at least 2 tokens in call 2; /,
    );
  });

  test('a value between two that fail', async () => {
    const e = await explainBy((c) => c.script!.params.n_ubatch % 2 === 0);
    expect(fact(e, 'n_ubatch')).toBe('fails only at 2, 4');
    expect(e.sentence).toMatch(/^n_ubatch must be 2 or 4; /);
  });

  test('nothing hides it', async () => {
    const e = await explainBy(() => true);
    expect(e.sentence).toMatch(/^Nothing that was tried hides it: .* do not matter\.$/);
  });
});

describe('the budget', () => {
  test('an early end still has a run of the important questions, and claims nothing else', async () => {
    let left = 8;
    // The deadline passes with the ninth run, whatever the clock does.
    const deadline = Date.now() + 60_000;
    const c = soloCase({ params: PARAMS, calls: CALLS });
    const now = Date.now;
    try {
      const e = await explainFailure(solo, env, failureOf(c), {
        deadline,
        run: async (x) => {
          if (--left === 0) Date.now = () => deadline;
          return { status: 'failed', ...NOTHING, failure: failureOf(x) };
        },
      });
      expect([e.cut, e.runs]).toEqual([true, 8]);
      expect(e.facts.map((f) => f.what)).toEqual(
        expect.arrayContaining(['call 1 (remove sequence 0)', 'sequence 1', 'n_ubatch']),
      );
      expect(fact(e, 'n_ubatch')).toMatch(/\(not all were tried\)$/);
      expect(e.sentence).not.toMatch(/n_ubatch|instruction/);
    } finally {
      Date.now = now;
    }
  });

  test('what is known so far is told on the way', async () => {
    const told: Explanation[] = [];
    const c = soloCase({ params: PARAMS, calls: CALLS });
    await explainFailure(solo, env, failureOf(c), {
      deadline: Date.now() + 5000,
      run: async (x) => ({ status: 'failed', ...NOTHING, failure: failureOf(x) }),
      progress: (e) => told.push(e),
    });
    expect(told.length).toBeGreaterThan(2);
    expect(told.every((e) => e.cut)).toBe(true);
  });
});

describe('what is not varied', () => {
  const answer = (run: (c: Case) => Promise<Outcome>, failure: Failure) =>
    explainFailure(solo, env, failure, { deadline: Date.now() + 5000, run });

  test('a death: nothing is run', async () => {
    const run = async (): Promise<Outcome> => {
      throw new Error('must not run');
    };
    const e = await answer(
      run,
      failureOf(soloCase({ params: PARAMS, calls: CALLS }), 'solo/llama/died: signal SIGSEGV'),
    );
    expect(e).toMatchObject({ runs: 0, facts: [], sentence: expect.stringMatching(/^The process ends/) });
  });

  test('a case that does not fail again, or fails otherwise', async () => {
    const c = soloCase({ params: PARAMS, calls: CALLS });
    const passed = await answer(async () => ({ status: 'passed', ...NOTHING }), failureOf(c));
    expect(passed.sentence).toBe(
      'Run alone, the case does not fail: what ran before it in the same process matters.',
    );
    const other = failureOf(c, 'solo/llama/16/rows');
    const slipped = await answer(
      async () => ({ status: 'failed', ...NOTHING, failure: other }),
      failureOf(c),
    );
    expect(slipped.sentence).toBe(passed.sentence);
  });

  test('white-box: the ubatch size of a split; a history of cells only says that it fails', async () => {
    const white = { ...solo, white: true, rebuild: undefined } as Property;
    const c: Case = {
      version: 1,
      property: 'split',
      model: 'rules',
      seed: 's',
      index: 0,
      white: { batch: {}, options: { policy: 'equal', n_ubatch: 2 } },
    };
    const run = async (x: Case): Promise<Outcome> => {
      const { n_ubatch } = (x.white as { options: { n_ubatch: number } }).options;
      return n_ubatch > 2
        ? { status: 'passed', ...NOTHING }
        : { status: 'failed', ...NOTHING, failure: failureOf(x, 'split/rules/INV-SPLIT-1') };
    };
    const options = { deadline: Date.now() + 5000, run };
    const e = await explainFailure(white, env, failureOf(c, 'split/rules/INV-SPLIT-1'), options);
    expect(e.sentence).toBe('n_ubatch above 2 hides it.');
    const steps = { ...c, white: { n_cells: 2, steps: [] } };
    const found = failureOf(steps, 'cells/rules/INV-KV-1');
    const always = async (x: Case): Promise<Outcome> => ({
      status: 'failed',
      ...NOTHING,
      failure: failureOf(x, 'cells/rules/INV-KV-1'),
    });
    const short = await explainFailure(white, env, found, { deadline: Date.now() + 5000, run: always });
    expect(short).toMatchObject({ runs: 1, facts: [] });
  });
});

test('a planted fault: what is left behind by a removal', async () => {
  const stale = fakeEnv('recurrent', 'stale');
  const run = async (c: Case) => operations.run(stale, c);
  const { failed } = await runCases(operations, stale, 200);
  const { failure } = await shrinkCase(operations, stale, failed!.failure!, {
    deadline: Date.now() + 10_000,
    run,
  });
  const e = await explainFailure(operations, stale, failure, { deadline: Date.now() + 5000, run });
  expect(e.facts.filter((f) => f.verdict === 'must be there').map((f) => f.what)).toContainEqual(
    expect.stringMatching(/^call 1 \(remove sequence 0\)$/),
  );
  expect(e.sentence).toMatch(/^Call 1 \(remove sequence 0\) must be there; /);
  expect(fact(e, 'n_ubatch')).toMatch(/^any value fails/);
});

test('two contexts with parameters of their own are asked one by one', async () => {
  const base = { params: { ...PARAMS, n_ubatch: 4 }, calls: CALLS };
  const c = ubatch.rebuild!(env, ubatch.generate(env, 0), {
    script: { params: PARAMS, calls: CALLS },
    base,
  })!;
  const signature = 'ubatch/llama/16/logits';
  // Only the other context is at fault: it must cut in ubatches of 3 or more.
  const run = async (v: Case): Promise<Outcome> =>
    v.base!.params.n_ubatch >= 3
      ? { status: 'failed', ...NOTHING, failure: failureOf(v, signature) }
      : { status: 'passed', ...NOTHING };
  const deadline = Date.now() + 5000;
  const e = await explainFailure(ubatch, env, failureOf(c, signature), { deadline, run });
  expect(fact(e, 'n_ubatch of the first context')).toMatch(/^any value fails/);
  expect(fact(e, 'n_ubatch of the other context')).toBe('fails only from 3 on');
  expect(fact(e, 'split policy of the other context')).toMatch(/^any value fails/);
});

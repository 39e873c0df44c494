/**
 * Rules of a libllama behind the check: a splitter that stands for the library, honest or with one planted fault, judged
 * by the very properties of a campaign; and the library itself, where one is in the cache.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { CompleteBatch, SplitOptions } from '../../../contract/batch.ts';
import type { ShownRules } from '../../../contract/white.ts';
import { split as oracleSplit } from '../../../oracle/split.ts';
import { missingClasses } from '../../coverage.ts';
import { fakeEnv, runCases, shrinkGreedily } from '../../testing.ts';
import type { Env } from '../../types.ts';
import { outputs } from '../../white/outputs.ts';
import { split } from '../../white/split.ts';
import { remoteSubject } from '../remote.ts';
import { shownRules } from '../shown.ts';
import { cachedRelease } from './cache.ts';
import { checkedRules, type Splitter, type UbatchRows } from './white.ts';

/** What a fault does to the ubatches of one batch, and to the batch indices of its outputs. */
interface Fault {
  readonly options?: (options: SplitOptions) => SplitOptions;
  readonly rows?: (rows: UbatchRows, u: number) => UbatchRows | null;
  readonly out_ids?: (ids: number[]) => number[];
}

/** Splits as the oracle does, in the form in which a library answers. */
class OracleSplitter implements Splitter {
  readonly keep_tail = true;
  fault: Fault = {};
  #batch!: CompleteBatch;
  #left: UbatchRows[] | undefined;
  #out_ids: number[] = [];
  #log = '';

  init(batch: CompleteBatch): boolean {
    this.#batch = batch;
    this.#left = undefined;
    this.#out_ids = [];
    this.#log = '';
    return true;
  }

  #cut(options: SplitOptions): UbatchRows[] {
    const { token, pos, seq_id, logits } = this.#batch;
    const rows: UbatchRows[] = [];
    oracleSplit(this.#batch, { ...options, quirks: 'upstream' }).forEach(({ index, ...shape }, u) => {
      this.#out_ids.push(...index.filter((i) => logits[i]));
      const of = <T>(list: readonly T[]): T[] => index.map((i) => list[i]!);
      const honest = { ...shape, token: of(token), pos: of(pos), seq_id: of(seq_id), output: of(logits) };
      const row = this.fault.rows === undefined ? honest : this.fault.rows(honest, u);
      if (row !== null) rows.push(row);
    });
    return rows;
  }

  next(policy: SplitOptions['policy'], n_ubatch: number, n_keep_tail: number): UbatchRows | null {
    if (policy === 'equal-sequential' && this.#batch.seq_id.some((ids) => ids.length > 1)) {
      this.#log = 'split_equal: not supported when there are coupled sequences in the input batch';
      return null;
    }
    const asked: SplitOptions = { policy, n_ubatch, n_keep_tail };
    this.#left ??= this.#cut(this.fault.options?.(asked) ?? asked);
    return this.#left.shift() ?? null;
  }

  outIds(): number[] {
    return this.fault.out_ids?.(this.#out_ids) ?? this.#out_ids;
  }

  log(): string {
    return this.#log;
  }
}

/** Passes the check first; the fault begins afterwards. */
function envWith(fault: Fault): Env {
  const splitter = new OracleSplitter();
  const rules = checkedRules(splitter);
  splitter.fault = fault;
  const shown: ShownRules = { ...rules.info, split: async (batch, options) => rules.split(batch, options) };
  return { ...fakeEnv(), white: undefined, shown };
}

/** The rows of a ubatch with two of them exchanged. */
function exchanged(rows: UbatchRows, a: number, b: number): UbatchRows {
  const swap = <T>(list: readonly T[]): T[] => list.with(a, list[b]!).with(b, list[a]!);
  const { token, pos, seq_id, output } = rows;
  return { ...rows, token: swap(token), pos: swap(pos), seq_id: swap(seq_id), output: swap(output) };
}

const FAULTS: readonly (readonly [string, typeof split, RegExp, Fault])[] = [
  [
    'two tokens of a ubatch exchanged',
    split,
    /INV-SPLIT-(6|7)/,
    { rows: (rows) => (rows.token.length === 3 ? exchanged(rows, 1, 2) : rows) },
  ],
  [
    'a ubatch that is a token too long',
    split,
    /INV-SPLIT-2/,
    { options: (options) => ({ ...options, n_ubatch: options.n_ubatch + 1 }) },
  ],
  [
    'a ubatch of one token lost',
    split,
    /INV-SPLIT-1/,
    { rows: (rows, u) => (u > 0 && rows.token.length === 1 ? null : rows) },
  ],
  [
    'a row with the token of another',
    split,
    /INV-SPLIT-1/,
    { rows: (rows, u) => (u === 1 ? { ...rows, token: rows.token.with(0, 99) } : rows) },
  ],
  [
    'the tail rule forgotten',
    split,
    /INV-SPLIT-11/,
    { options: (options) => ({ ...options, n_keep_tail: 0 }) },
  ],
  [
    'two outputs exchanged',
    outputs,
    /INV-OUT-1/,
    { out_ids: (ids) => (ids.length === 3 ? ids.with(0, ids[1]!).with(1, ids[0]!) : ids) },
  ],
  ['an output lost', outputs, /INV-OUT-1/, { out_ids: (ids) => ids.slice(1) }],
];

describe('a splitter that stands for a library', () => {
  for (const property of [split, outputs])
    it(`holds ${property.name}, and reaches every class that it can be asked for`, async () => {
      const env = envWith({});
      const { failed, compared } = await runCases(property, env, 1200);
      expect(failed?.failure?.message).toBeUndefined();
      expect(compared).toBeGreaterThan(1200);
      expect(missingClasses(env.coverage, property, undefined, env.shown)).toEqual([]);
    });

  it.each(FAULTS)('%s: found and shrunk', async (_, property, rule, fault) => {
    const env = envWith(fault);
    const { failed } = await runCases(property, env, 600);
    expect(failed?.failure?.signature).toMatch(rule);
    const small = await shrinkGreedily(property, env, failed!);
    const { batch } = small.failure!.case.white as { batch: CompleteBatch };
    expect(batch.token.length).toBeLessThanOrEqual(10);
  });

  it('is asked for one policy if a campaign is restricted to it', () => {
    const env = { ...envWith({}), restrict: { split: 'sequence' as const } };
    for (let i = 0; i < 20; i++)
      expect(split.generate(env, i).white).toMatchObject({ options: { policy: 'sequence' } });
  });

  it('skips what it cannot be asked, with the reason', async () => {
    const env = envWith({});
    const c = split.generate(env, 0);
    const { batch } = c.white as { batch: CompleteBatch };
    const outcome = await split.run(env, {
      ...c,
      white: { batch, options: { policy: 'whole', n_ubatch: 512 } },
    });
    expect([outcome.status, outcome.reason]).toEqual([
      'skipped',
      'the subject does not show a split by whole',
    ]);
  });

  it('may choose a set more than n_ubatch, as the releases do, and no other', async () => {
    const batch = { token: [1, 2, 3], pos: [0, 0, 0], seq_id: [[0], [1], [2]], logits: [true, true, true] };
    const env = envWith({});
    const c = {
      ...split.generate(env, 0),
      white: { batch, options: { policy: 'equal-batch', n_ubatch: 2 } },
    };
    expect((await split.run(env, c)).status).toBe('passed');
    const strict = { ...env, shown: { ...env.shown!, quirks: 'none' as const } };
    expect((await split.run(strict, c)).failure?.signature).toMatch(/INV-SPLIT-2/);
  });
});

describe('the check before the first use', () => {
  const refusal = (fault: Fault): string => {
    const splitter = new OracleSplitter();
    splitter.fault = fault;
    try {
      checkedRules(splitter);
    } catch (error) {
      return (error as Error).message;
    }
    return 'passed';
  };

  it('passes for what is known', () => expect(refusal({})).toBe('passed'));

  it.each<[string, Fault]>([
    [
      'shapes lie elsewhere',
      { rows: (rows) => ({ ...rows, n_seqs: rows.n_seq_tokens, n_seq_tokens: rows.n_seqs }) },
    ],
    ['positions lie elsewhere', { rows: (rows) => ({ ...rows, pos: rows.pos.map(() => 0) }) }],
    ['flags lie elsewhere', { rows: (rows) => ({ ...rows, output: rows.output.map((flag) => !flag) }) }],
    ['the list of outputs lies elsewhere', { out_ids: () => [] }],
    ['there are no rows', { rows: () => null }],
  ])('refuses a build in which %s', (_, fault) => {
    expect(refusal(fault)).toMatch(/a known batch comes out otherwise, so its layout is not known/);
  });
});

const SHOWN = ['v0.5.0', 'b8352', 'b8095', 'b6673', 'b6122'];
const cached = SHOWN.find((name) => cachedRelease(name) !== null);
const main = fileURLToPath(new URL('../../../dist/properties/subjects/llama/serve-main.js', import.meta.url));

describe('the library itself', () => {
  it.skipIf(cached === undefined)(
    `${cached ?? 'skipped, none of the releases that show their splits is in the cache'}: splits as the oracle says`,
    async () => {
      const files = cachedRelease(cached!);
      const subject = await remoteSubject({
        name: cached!,
        file: process.execPath,
        args: [main, JSON.stringify({ files })],
        env: { ...process.env, GGML_NO_BACKTRACE: '1' },
      });
      try {
        const shown = await shownRules(subject);
        if ('none' in shown) throw new Error(shown.none);
        const env = { ...fakeEnv(), white: undefined, shown };
        for (const property of [split, outputs]) {
          const { failed, compared } = await runCases(property, env, 150);
          expect(failed?.failure?.message).toBeUndefined();
          expect(compared).toBeGreaterThan(5000);
        }
      } finally {
        await subject.close();
      }
    },
    60_000,
  );
});

/** Rows put together by hand, held against a history: what is right gives no sentence, each fault gives its own. */
import { describe, expect, test } from 'vitest';
import { hybridProbes, rwkvProbes, windowProbes } from '../../golden/probes/registry.ts';
import { hybridRow, type Ids, rwkvRow, windowRow } from '../../golden/probes/testing.ts';
import type { Probe, Row } from '../../golden/probes/types.ts';
import type { Call, Script } from '../types.ts';
import { Judge } from './findings.ts';
import { historyOf } from './history.ts';

const decode = (...seqs: number[]): Call => {
  const seq_id = seqs.map((seq) => [seq]);
  return { op: 'decode', batch: { token: seqs.map(() => 5), seq_id } };
};

/** Five tokens of sequence 0 and ten of sequence 1, whose ids are 5 to 14; then sequence 1 starts anew with id 15. What has a
 * name twice is told with its call. */
const CALLS: Call[] = [
  decode(0, 0, 0, 0, 0),
  decode(1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
  { op: 'seqRm', seq: 1, p0: 0, p1: -1 },
  decode(1),
];
const params: Script['params'] = { n_ctx: 64, n_batch: 64, n_ubatch: 8, n_seq_max: 2, split: 'equal' };

/** The sentence about the row of an event; null if nothing is wrong. */
function said(probe: Probe, id: number, row: Row): string | null {
  const memory = probe.memory === 'none' ? 'attention' : probe.memory;
  const history = historyOf({ params, calls: CALLS }, memory, probe.n_ids);
  const query = history.queries.flatMap((some) => some ?? []).find(({ event }) => event.id === id)!;
  const judge = new Judge(history, probe.reads === 'window' ? probe.window : undefined);
  return judge.judge(query, probe.read(row))?.text ?? null;
}

const from = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe.each(windowProbes)('$name: sequence 1, position 9', (probe) => {
  const window = from(7, 14);
  const all = from(5, 14);
  const about = (local: Ids, global: Ids, own = 14) => said(probe, 14, windowRow(probe, own, local, global));
  const without = (ids: Ids, ...gone: number[]) => ids.filter((id) => !gone.includes(id));

  test('saw what it must', () => {
    expect(about(window, all)).toBeNull();
  });

  test.each([
    [
      'keys missing and a foreign one in the window',
      [4, ...without(window, 8, 9, 10)],
      all,
      'sequence 1, position 9 did not see positions 3..5 of its own window; it saw position 4 of sequence 0 (layer with the window)',
    ],
    [
      'a key too many: one before the window',
      [6, ...window],
      all,
      'sequence 1, position 9 saw position 1 of its own sequence, before its window (layer with the window)',
    ],
    [
      'a window that is one too small',
      without(window, 7),
      all,
      'sequence 1, position 9 did not see position 2 of its own window',
    ],
    [
      'a layer without window that forgets what a window would',
      window,
      window,
      'sequence 1, position 9 did not see positions 0..1 of its own sequence (layer without window)',
    ],
    [
      'a key that both layers lack, and one that both must not see',
      [0, ...without(window, 10)],
      [0, ...without(all, 10)],
      'sequence 1, position 9 did not see position 5 of its own window (both layers); it saw position 0 of sequence 0 (both layers)',
    ],
    [
      'a key that is seen twice',
      [...window, 12],
      all,
      'sequence 1, position 9 saw position 7 of its own sequence twice (layer with the window)',
    ],
    ['nothing', [], all, 'sequence 1, position 9 saw nothing (layer with the window)'],
  ])('%s', (_, local, global, want) => {
    expect(about(local, global)).toBe(want);
  });

  test('a key that was removed', () => {
    expect(said(probe, 15, windowRow(probe, 15, [14, 15], [15]))).toBe(
      'sequence 1, position 0 saw position 9 of its own sequence (removed) (layer with the window)',
    );
  });

  test('the row of another token', () => {
    expect(about(from(6, 13), from(5, 13), 13)).toBe(
      'row of 1@9 is the answer of 1@8 (output rows are mixed up)',
    );
  });
});

describe('jamba: query 1@3', () => {
  const probe = hybridProbes[0]!;
  const right = { ids: from(5, 8) };
  const about = (set: Ids, state: Parameters<typeof hybridRow>[3]) =>
    said(probe, 8, hybridRow(probe, 8, set, state));

  test('saw what it must', () => {
    expect(about(from(5, 8), right)).toBeNull();
  });

  test.each([
    [
      'a foreign key of attention',
      [2, ...from(5, 8)],
      right,
      'query 1@3: attention saw 0@2, which it must not',
    ],
    ['a key of attention missing', [5, 6, 8], right, 'query 1@3: attention did not see 1@2'],
    [
      'a state that was taken over',
      from(5, 8),
      { ids: [0, 1, ...from(5, 8)] },
      'query 1@3: state holds 0@0 0@1, which it must not; ages 5 4',
    ],
    [
      'a state out of order',
      from(5, 8),
      { ids: from(5, 8), ages: [2, 3, 1, 0] },
      'query 1@3: state has 1@0 of call 1 at age 2, must be 3; state has 1@1 at age 3, must be 2',
    ],
    [
      'both parts',
      [6, 7, 8],
      { ids: from(6, 8), lags: [8, 7, 6] },
      'query 1@3: attention did not see 1@0 of call 1; state lacks 1@0 of call 1; convolution lacks 1@0 of call 1 at lag 3',
    ],
  ])('%s', (_, set, state, want) => {
    expect(about(set, state)).toBe(want);
  });
});

describe('rwkv6: query 1@3', () => {
  const probe = rwkvProbes[0]!;
  const right = { ids: from(5, 8) };
  const about = (...row: [Parameters<typeof rwkvRow>[2], Parameters<typeof rwkvRow>[3]?]) =>
    said(probe, 8, rwkvRow(probe, 8, ...row));

  test('holds what it must', () => {
    expect(about(right)).toBeNull();
  });

  test.each([
    [
      'a foreign token',
      { ids: [3, ...from(5, 8)] },
      {},
      'query 1@3: state holds 0@3, which it must not; age 4',
    ],
    ['a token missing', { ids: [5, 7, 8] }, {}, 'query 1@3: state lacks 1@1'],
    [
      'two steps out of order',
      { ids: from(5, 8), ages: [3, 1, 2, 0] },
      {},
      'query 1@3: state has 1@1 at age 1, must be 2; state has 1@2 at age 2, must be 1',
    ],
    [
      'a step that decayed away',
      { ids: from(5, 8), ages: [20, 2, 1, 0] },
      {},
      'query 1@3: state has 1@0 of call 1 at an age beyond 14, must be 3',
    ],
    [
      'the token shift of another sequence',
      right,
      { time: [4] },
      'query 1@3: token shift of the time mix holds 0@4, must be 1@2',
    ],
    [
      'an empty token shift',
      right,
      { channel: [] },
      'query 1@3: token shift of the channel mix holds nothing, must be 1@2',
    ],
  ])('%s', (_, state, shifts, want) => {
    expect(about(state, shifts)).toBe(want);
  });
});

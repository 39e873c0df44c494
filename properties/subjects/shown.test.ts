/** The verbs `rules`, `split` and `cells` of the protocol, both ends. */
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../../contract/errors.ts';
import type { Subject } from '../../contract/subject.ts';
import { encodeFrame, FrameDecoder } from '../frames.ts';
import { cellKindsOf, rulesInfoOf, shownCellsOf, shownSplitOf } from '../protocol.ts';
import { remoteSubject } from './remote.ts';
import { serveSubject } from './serve.ts';
import { NO_CELLS, NO_RULES, shownKinds, shownRules } from './shown.ts';

const INFO = { policies: ['simple'], keep_tail: false, quirks: 'upstream' } as const;
const BATCH = { token: [5], pos: [0], seq_id: [[0]], logits: [true] };
const SPLIT = {
  ubatches: [{ equal_seqs: false, n_seqs: 1, n_seq_tokens: 1, index: [0] }],
  out_ids: [0],
};

const CELLS = {
  cells: [
    { pos: 1, seq: [1], src: 0 },
    { pos: -1, seq: [], src: -1 },
  ],
  tail: [-1, 0],
  used: 1,
  last: { head: 0, n: 1, src0: [-1] },
};

/** What a subject that shows its inside answers to these requests. */
async function answersTo(...requests: object[]): Promise<Record<string, unknown>[]> {
  const asked: unknown[] = [];
  const subject = {
    info: {},
    close: () => undefined,
    rules: () => INFO,
    cells: () => ['recurrent'],
    load: () => ({
      info: {},
      open: () => ({ cells: () => CELLS, close: () => undefined }),
      close: () => undefined,
    }),
    split: (batch: unknown, options: { policy: string }) => {
      asked.push([batch, options]);
      if (options.policy === 'equal-sequential') throw new IsobatchError('batch.coupled', 'coupled');
      return SPLIT;
    },
  } as unknown as Subject;
  const input = new PassThrough();
  for (const request of requests) input.write(encodeFrame({ id: 1, ...request }));
  input.end();
  const decoder = new FrameDecoder();
  const answers: Record<string, unknown>[] = [];
  await serveSubject(subject, input, (header, payload) => {
    for (const frame of decoder.push(encodeFrame(header, payload))) answers.push(frame.header);
  });
  return answers;
}

describe('a subject that shows its rules', () => {
  it('says which, and how it splits', async () => {
    const [rules, split] = await answersTo(
      { verb: 'rules' },
      { verb: 'split', batch: BATCH, policy: 'simple', n_ubatch: 4 },
    );
    expect(rulesInfoOf(rules!.rules as never)).toEqual(INFO);
    expect(shownSplitOf(split!)).toEqual(SPLIT);
  });

  it('shows cells: of which memory, and as they lie', async () => {
    const params = { n_ctx: 8, n_batch: 8, n_ubatch: 8, n_seq_max: 2, split: 'equal' };
    const [kinds, , , cells, none] = await answersTo(
      { verb: 'cells' },
      { verb: 'load', name: 'model' },
      { verb: 'open', model: 1, params },
      { verb: 'cells', context: 2 },
      { verb: 'cells', context: 3 },
    );
    expect(cellKindsOf(kinds!)).toEqual(['recurrent']);
    expect(shownCellsOf(cells!)).toMatchObject(CELLS);
    expect((none!.error as { kind: string }).kind).toBe('protocol');
  });

  it('refuses by kind, and what it cannot understand by protocol', async () => {
    const request = { verb: 'split', batch: BATCH, policy: 'simple', n_ubatch: 4 };
    const errors = await answersTo(
      { ...request, policy: 'equal-sequential' },
      { ...request, policy: 'best' },
      { ...request, batch: { token: [5] } },
      { ...request, n_ubatch: 'four' },
    );
    const kinds = errors.map(({ error }) => (error as { kind: string }).kind);
    expect(kinds).toEqual(['batch.coupled', 'protocol', 'protocol', 'protocol']);
  });
});

describe('the answers of a subject are checked', () => {
  it.each([
    [{ ...INFO, policies: ['best'] }, /policies/],
    [{ ...INFO, quirks: 'many' }, /rules\.quirks/],
  ])('rules %j', (info, field) => expect(() => rulesInfoOf(info)).toThrow(field));

  it.each([
    [{ out_ids: [] }, /ubatches/],
    [{ ...SPLIT, out_ids: ['0'] }, /out_ids/],
    [{ ...SPLIT, ubatches: [{ ...SPLIT.ubatches[0], index: null }] }, /index/],
  ])('split %j', (answer, field) => expect(() => shownSplitOf(answer)).toThrow(field));
});

describe('cells are checked', () => {
  it.each([
    [{ ...CELLS, cells: undefined }, /cells/],
    [{ ...CELLS, cells: [{ pos: 0, seq: 1 }] }, /seq/],
    [{ ...CELLS, cells: [{ seq: [1] }] }, /pos/],
    [{ ...CELLS, cells: [{ pos: 0, seq: [1], src: '0' }] }, /src/],
    [{ ...CELLS, tail: [null] }, /tail/],
    [{ ...CELLS, used: 'one' }, /used/],
    [{ ...CELLS, last: { head: 0 } }, /n must be/],
    [{ ...CELLS, last: { head: 0, n: 1, src0: 0 } }, /src0/],
  ])('%j', (answer, field) => expect(() => shownCellsOf(answer)).toThrow(field));

  it('and the kinds of memory', () => {
    expect(() => cellKindsOf({ memory: ['cache'] })).toThrow(/memory/);
  });
});

describe('a subject that shows none', () => {
  it('says so through the process border', async () => {
    const serve = fileURLToPath(new URL('../fixtures/fake-serve.mjs', import.meta.url));
    const subject = await remoteSubject(`"${process.execPath}" "${serve}"`, { timeout_s: 5 });
    expect(await shownRules(subject)).toEqual({ none: NO_RULES });
    expect(await shownKinds(subject)).toEqual({ none: NO_CELLS });
    await subject.close();
  });

  it('of an older protocol does not know the verb; one that dies gives its end as the reason', async () => {
    const failing = (kind: 'protocol' | 'subject', message: string) => ({
      rules: () => Promise.reject(new IsobatchError(kind, message)),
      split: () => Promise.reject(new Error('not asked')),
    });
    expect(await shownRules(failing('protocol', 'unknown verb "rules"'))).toEqual({ none: NO_RULES });
    const hidden = (kind: 'protocol' | 'refused', message: string) => ({
      cells: () => Promise.reject(new IsobatchError(kind, message)),
    });
    expect(await shownKinds({})).toEqual({ none: NO_CELLS });
    expect(await shownKinds(hidden('protocol', 'unknown verb "cells"'))).toEqual({ none: NO_CELLS });
    expect(await shownKinds(hidden('refused', 'not found'))).toEqual({ none: 'not found' });
    expect(await shownRules(failing('subject', 'the subject ended by SIGSEGV'))).toEqual({
      none: 'the subject ended by SIGSEGV',
    });
  });
});

/** Decoders by themselves: rows that are put together by hand, with noise, and rows that spell nothing. */
import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { dimOf, idsOf, weightOf } from './codes.ts';
import { attentionFrame } from './llama-set.ts';
import { hybridProbes, probes, rwkvProbes, setProbes, windowProbes } from './registry.ts';
import { hybridRow, rwkvRow, windowRow } from './testing.ts';
import type { Row, SetProbe } from './types.ts';

const below = (random: Random, n: number): number => Math.floor(random.uniform() * n);

/** A row whose readers show a token's own code and the mean of what attention saw, weights off by `noise`. */
function setRow(probe: SetProbe, own: number, counts: ReadonlyMap<number, number>, noise: () => number): Row {
  const n_embd = probe.n_ids === 155 ? 64 : 128;
  const { code } = attentionFrame(n_embd, 5);
  const row = new Float64Array(probe.n_vocab);
  const at = (d: number) => row.length - n_embd + d;
  row[at(dimOf(code, own))] = weightOf(code, own);
  let n = 0;
  for (const count of counts.values()) n += count;
  for (const [id, count] of counts)
    row[at(code.n_dims + dimOf(code, id))]! += ((count * weightOf(code, id)) / n) * (1 + noise());
  row[at(2 * code.n_dims)] = 1;
  row[at(n_embd - 1)] = Math.sqrt(n_embd);
  expect(idsOf(code)).toBe(probe.n_ids);
  return row;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

describe.each(setProbes)('$name', (probe) => {
  test('1,000 random multisets with noise of 1e-7: each is read, none wrongly', () => {
    const random = new Random(probe.name);
    let read = 0;
    for (let k = 0; k < 1000; k++) {
      const counts = new Map<number, number>();
      const n = 1 + below(random, 1 + below(random, 120));
      for (let i = 0; i < n; i++)
        counts.set(below(random, probe.n_ids), random.uniform() < 0.8 ? 1 : 1 + below(random, 3));
      // Where all keys are seen k times the softmax is that of all keys once, in any model.
      if ([...counts.values()].reduce(gcd) > 1) continue;
      const own = below(random, probe.n_ids);
      const reading = probe.read(setRow(probe, own, counts, () => (random.uniform() - 0.5) * 2e-7));
      expect(reading).toMatchObject({ kind: 'set', own });
      if (reading.kind === 'set')
        expect([...reading.counts].sort(([a], [b]) => a - b)).toEqual([...counts].sort(([a], [b]) => a - b));
      read++;
    }
    expect(read).toBeGreaterThan(900);
  });

  test('weights that are not equal are no set', () => {
    const seen = new Map(Array.from({ length: 12 }, (_, id) => [id, 1]));
    const random = new Random('unequal');
    const row = setRow(probe, 3, seen, () => random.uniform() / 10);
    expect(probe.read(row)).toMatchObject({
      kind: 'unreadable',
      reason: expect.stringMatching(/not a mean of keys/),
    });
  });

  test('a cell without content takes its part of the mass, and the set stays', () => {
    const seen = new Map([
      [0, 1],
      [1, 1],
    ]);
    const row = setRow(probe, 0, seen, () => 0);
    const n_embd = probe.n_ids === 155 ? 64 : 128;
    const { n_dims } = attentionFrame(n_embd, 5).code;
    for (let d = n_dims; d <= 2 * n_dims; d++) row[row.length - n_embd + d]! *= 2 / 3;
    const reading = probe.read(row);
    expect(reading).toMatchObject({ kind: 'set', counts: seen });
    if (reading.kind === 'set') expect(reading.mass).toBeCloseTo(2 / 3, 12);
  });
});

describe.each(probes)('$name', (probe) => {
  const row = () => new Float32Array(probe.n_vocab);
  test('a row of zeros is blank; a row of anything is not read', () => {
    expect(probe.read(row())).toMatchObject({ kind: 'unreadable', blank: true });
    const random = new Random('noise');
    for (let k = 0; k < 200; k++) {
      const noise = row().map(() => random.normal());
      expect(probe.read(noise)).toMatchObject({ kind: 'unreadable', blank: false });
    }
    expect(probe.read(new Float32Array(7))).toMatchObject({ kind: 'unreadable' });
    expect(probe.read(row().fill(Number.NaN))).toMatchObject({ kind: 'unreadable' });
  });

  test('a token that is none of the history is not read', () => {
    const bare = row();
    bare[bare.length - 1] = probe.arch === 'rwkv6' ? -16 : 16;
    if (probe.arch === 'rwkv6') bare[bare.length - 2] = 16;
    expect(probe.read(bare)).toMatchObject({
      kind: 'unreadable',
      reason: expect.stringMatching(/no token of the history/),
    });
  });
});

/** Counts as a list of ids, each as often as it was seen. */
const listOf = (counts: ReadonlyMap<number, number>): number[] =>
  [...counts].flatMap(([id, n]) => new Array<number>(n).fill(id)).sort((a, b) => a - b);

describe.each(windowProbes)('rows of $name', (probe) => {
  test('a window and all keys, one of them twice', () => {
    const reading = probe.read(windowRow(probe, 204, [7, 9, 204], [3, 7, 7, 9, 130, 204]));
    if (reading.kind === 'unreadable') throw new Error(reading.reason);
    expect(reading.own).toBe(204);
    expect(listOf(reading.local.counts)).toEqual([7, 9, 204]);
    expect(listOf(reading.global.counts)).toEqual([3, 7, 7, 9, 130, 204]);
  });

  test('an unreadable layer is named', () => {
    const row = windowRow(probe, 1, [1], [0, 1]);
    row[row.length - 128 + 83 + 20]! += 0.1;
    expect(probe.read(row)).toMatchObject({
      kind: 'unreadable',
      reason: expect.stringMatching(/^global layer: .*not a mean/),
    });
  });
});

describe('rows of jamba', () => {
  const probe = hybridProbes[0]!;
  test('state and attention', () => {
    const reading = probe.read(hybridRow(probe, 4, [0, 2, 4], { ids: [0, 1, 2, 3, 4] }));
    if (reading.kind === 'unreadable') throw new Error(reading.reason);
    expect(reading.own).toBe(4);
    expect(listOf(reading.set.counts)).toEqual([0, 2, 4]);
    expect(listOf(reading.state.counts)).toEqual([0, 1, 2, 3, 4]);
    expect([...reading.state.ages!]).toEqual([4, 3, 2, 1, 0].map((age, id) => [id, age]));
    expect([...reading.state.lags!]).toEqual([3, 2, 1, 0].map((lag, k) => [k + 1, [lag]]));
  });
});

describe('rows of rwkv6', () => {
  const probe = rwkvProbes[0]!;
  const read = (row: Row) => {
    const reading = probe.read(row);
    if (reading.kind === 'unreadable') throw new Error(reading.reason);
    return reading;
  };

  test('count, order and token shifts', () => {
    const reading = read(rwkvRow(probe, 5, { ids: [3, 60, 1, 5] }));
    expect(reading.own).toBe(5);
    expect(listOf(reading.counts)).toEqual([1, 3, 5, 60]);
    expect(reading.ages).toEqual(
      new Map([
        [3, 3],
        [60, 2],
        [1, 1],
        [5, 0],
      ]),
    );
    expect(reading.shifts).toEqual(
      new Map([
        ['time mix', [1]],
        ['channel mix', [1]],
      ]),
    );
  });

  test('of a long history the last ages, and all counts', () => {
    const ids = Array.from({ length: 40 }, (_, i) => i);
    const { counts, ages, oldest } = read(rwkvRow(probe, 39, { ids }));
    expect(listOf(counts)).toEqual(ids);
    expect([...ages!]).toEqual(ids.slice(-1 - oldest).map((id) => [id, 39 - id]));
  });

  test('the first token has none before it', () => {
    const reading = read(rwkvRow(probe, 0, { ids: [0] }));
    expect([...reading.shifts!.values()]).toEqual([[], []]);
  });

  test('an order of a token that was not counted, or half a token in a shift, is not read', () => {
    const row = rwkvRow(probe, 1, { ids: [0, 1] });
    row[row.length - 320 + 126 + 7]! += 2 ** -16;
    expect(probe.read(row)).toMatchObject({ reason: expect.stringMatching(/an order, but no count/) });
    const shifted = rwkvRow(probe, 1, { ids: [0, 1] });
    shifted[shifted.length - 320 + 252 + 7]! += 2 ** -17;
    expect(probe.read(shifted)).toMatchObject({
      reason: expect.stringMatching(/token shift of its channel/),
    });
  });
});

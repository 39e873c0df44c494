/** Decoders by themselves: rows that are put together by hand, with noise, and rows that spell nothing. */
import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { dimOf, idsOf, weightOf } from './codes.ts';
import { attentionFrame } from './llama-set.ts';
import { positionProbe, setProbes, stateProbes } from './registry.ts';
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

describe.each([...setProbes, positionProbe, ...stateProbes])('$name', (probe) => {
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
    bare[bare.length - 1] = 16;
    expect(probe.read(bare)).toMatchObject({
      kind: 'unreadable',
      reason: expect.stringMatching(/no token of the history/),
    });
  });
});

/** The comparator against what comparators miss (spec: verdicts.md 8). */
import { describe, expect, it } from 'vitest';
import { Random } from '../native/testkit.ts';
import {
  addBounds,
  addUse,
  emptyBounds,
  emptyUse,
  judge,
  noteUse,
  useQuantile,
  type Verdict,
  widthOf,
} from './verdict.ts';

describe('judge', () => {
  it.each<[string, number, number, number, Verdict]>([
    ['the same bits', 0.5, 0.5, 1e-9, 'equal'],
    ['the float32 nearest to the wanted number', Math.fround(0.1), 0.1, 0, 'equal'],
    ['within', 1.00001, 1, 1e-4, 'rounding'],
    ['exactly at the bound', 1.5, 1, 0.5, 'rounding'],
    ['above', 1.6, 1, 0.5, 'divergent'],
    ['below', 0.4, 1, 0.5, 'divergent'],
    ['two negative values far apart', -900, -1, 0.5, 'divergent'],
    ['the wrong sign', -1, 1, 0.5, 'divergent'],
    ['NaN', Number.NaN, 1, 0.5, 'divergent'],
    ['infinite', Number.POSITIVE_INFINITY, 1, 0.5, 'divergent'],
    ['wanted NaN, got NaN', Number.NaN, Number.NaN, Number.NaN, 'equal'],
    ['wanted NaN, got a number', 1, Number.NaN, Number.NaN, 'divergent'],
    ['wanted infinity, got it', Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 'equal'],
    ['wanted infinity, got the other', Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, 'divergent'],
    ['bound zero, another number', Math.fround(0.1) + 2 ** -27, 0.1, 0, 'divergent'],
    ['bound zero, the other zero', -0, 0, 0, 'rounding'],
    ['beyond float32: the oracle overflows it', Number.POSITIVE_INFINITY, 1e39, 1e30, 'equal'],
  ])('%s', (_what, got, want, bound, verdict) => {
    expect(judge(got, want, bound)).toBe(verdict);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1])('a bound of %f is a mistake, never a pass', (bound) => {
    expect(() => judge(1.1, 1, bound)).toThrow(/bound/);
    expect(() => judge(1, 1, bound)).toThrow(/bound/);
  });

  it('sees one wrong row among 4,096, though its norm is right', () => {
    const random = new Random(1);
    const width = 16;
    const want = random.floats(4096 * width);
    const got = want.slice();
    const wrong = 2777 * width;
    got.set([...want.slice(wrong, wrong + width)].reverse(), wrong);
    const counts: Record<Verdict, number> = { equal: 0, rounding: 0, divergent: 0 };
    for (let i = 0; i < want.length; i++) counts[judge(got[i]!, want[i]!, 1e-6)]++;
    expect(counts.divergent).toBe(width);
    expect(counts.equal).toBe(4095 * width);
  });

  it('sees an error of one sign in either direction, in every element', () => {
    for (const sign of [1, -1]) {
      for (const want of [-3, -1e-3, 0, 1e-3, 3]) {
        expect(judge(Math.fround(want + sign * 1e-3), want, 1e-4)).toBe('divergent');
        expect(judge(Math.fround(want + sign * 1e-5), want, 1e-4)).toBe('rounding');
      }
    }
  });
});

describe('the width of a bound', () => {
  it('is that of Hoeffding', () => {
    expect(widthOf(1e-10)).toBeCloseTo(11.93, 2);
    expect(widthOf(1e-12)).toBeCloseTo(13.04, 2);
    expect(widthOf(1e-15)).toBeCloseTo(14.54, 2);
  });

  it.each([0, 1, -1, 2, Number.NaN])('p = %f is refused', (p) => {
    expect(() => widthOf(p)).toThrow(/probability/);
  });
});

describe('the use of bounds', () => {
  it('is counted by size, so that drift shows before anything fails', () => {
    const [now, later] = [emptyUse(), emptyUse()];
    for (let i = 1; i <= 1000; i++) {
      noteUse(now, i / 20_000);
      noteUse(later, i / 10_000);
    }
    expect(now.n).toBe(1000);
    expect(now.max).toBe(0.05);
    expect(useQuantile(now, 0.5)).toBeCloseTo(0.025, 2);
    expect(useQuantile(later, 0.5) / useQuantile(now, 0.5)).toBeCloseTo(2, 0);
    expect(useQuantile(now, 0.999)).toBeCloseTo(0.05, 2);
  });

  it('has room for zero, for what is beyond, and for NaN, which stays visible', () => {
    const use = emptyUse();
    for (const share of [0, 2, Number.POSITIVE_INFINITY]) noteUse(use, share);
    expect([use.n, use.max]).toEqual([3, Number.MAX_VALUE]);
    expect(useQuantile(use, 0.3)).toBe(0);
    const lost = emptyUse();
    noteUse(lost, Number.NaN);
    noteUse(lost, 0.5);
    expect(JSON.parse(JSON.stringify(lost))).toEqual(lost);
    expect(lost.max).toBe(Number.MAX_VALUE);
  });

  it('adds up in any order', () => {
    const parts = [1, 2, 3].map((seed) => {
      const random = new Random(seed);
      const use = emptyUse();
      for (let i = 0; i < 50; i++) noteUse(use, Math.abs(random.float()));
      return { ...emptyBounds(), use: { [`m${seed % 2}`]: use }, ill: seed, escalated: 1 };
    });
    const sum = (order: readonly number[]) => {
      const all = emptyBounds();
      for (const i of order) addBounds(all, structuredClone(parts[i]!));
      return all;
    };
    expect(sum([2, 0, 1])).toEqual(sum([0, 1, 2]));
    expect(sum([0, 1, 2]).ill).toBe(6);
    const both = emptyUse();
    for (const part of parts) addUse(both, Object.values(part.use)[0]!);
    expect(both.n).toBe(150);
  });
});

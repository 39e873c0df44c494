import { expect, test } from 'vitest';
import { caseRandom, Random } from './random.ts';

test('neighbouring cases have nothing in common', () => {
  const first = new Set<number>();
  for (let i = 0; i < 5000; i++) first.add(caseRandom('s', 'solo', 'llama/64', i).u32());
  // Of 5000 draws from 2^32 three doubles are already rare.
  expect(first.size).toBeGreaterThan(4996);
  const names = [
    caseRandom('s', 'solo', 'llama/64', 0),
    caseRandom('t', 'solo', 'llama/64', 0),
    caseRandom('s', 'share', 'llama/64', 0),
    caseRandom('s', 'solo', 'mamba/64', 0),
  ].map((r) => r.u32());
  expect(new Set(names).size).toBe(4);
});

test('numbers are pinned: the cases of a seed are the same on every machine', () => {
  const r = caseRandom('isobatch', 'solo', 'llama/64', 7);
  expect([r.u32(), r.u32(), r.u32()]).toEqual([1263272691, 861742399, 3036311177]);
});

test('draws are even', () => {
  const r = new Random(1, 2, 3);
  const counts = new Array<number>(10).fill(0);
  for (let i = 0; i < 100_000; i++) counts[r.below(10)]!++;
  // 10,000 each, standard deviation 95.
  for (const n of counts) expect(Math.abs(n - 10_000)).toBeLessThan(500);
  const weighted = [0, 0, 0];
  for (let i = 0; i < 30_000; i++) weighted[r.weighted([1, 0, 2])]!++;
  expect(weighted[1]).toBe(0);
  expect(Math.abs(weighted[0]! - 10_000)).toBeLessThan(500);
  let heads = 0;
  for (let i = 0; i < 100_000; i++) if (r.chance(0.25)) heads++;
  expect(Math.abs(heads - 25_000)).toBeLessThan(700);
  expect(() => r.pick([])).toThrow(RangeError);
});

test('ragged lengths are often tiny and sometimes long', () => {
  const r = new Random(4, 5, 6);
  const lengths = Array.from({ length: 4000 }, () => r.ragged(64));
  expect(Math.min(...lengths)).toBe(1);
  expect(Math.max(...lengths)).toBeGreaterThan(55);
  expect(lengths.filter((n) => n <= 3).length).toBeGreaterThan(1000);
  expect(lengths.some((n) => n < 1 || n > 64)).toBe(false);
});

/** Which experts are chosen, where roundings may decide, and forward passes that are told what to choose. */
import { describe, expect, it } from 'vitest';
import type { RoundingProfile } from '../contract/subject.ts';
import { carriedLogits, logits } from './forward.ts';
import { largest, possibleChoices, Routes } from './routes.ts';
import { microLlama } from './testing.ts';
import { entriesOf } from './testing-plain.ts';

const f = (...x: number[]) => Float64Array.from(x);

const PROFILE: RoundingProfile = {
  fma: true,
  products: { order: 'any' },
  rows: { order: 'any' },
  keys: { order: 'any' },
  rope: 'F64',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'logistic',
  kv: 'as asked',
};

describe('the largest logits', () => {
  it('are chosen, ascending by number; ties go to the lower number', () => {
    expect(largest(f(1, 5, 3, 4), 2)).toEqual([1, 3]);
    expect(largest(f(2, 7, 7, 7), 2)).toEqual([1, 2]);
    expect(largest(f(0, -0, 0), 1)).toEqual([0]);
    expect(largest(f(1, 2), 2)).toEqual([0, 1]);
  });

  it('may be others where two are near: less than `reach` deviations of their difference', () => {
    const s = f(1e-12, 1e-12, 1e-12, 1e-12);
    const by = (gap: number, reach: number) => possibleChoices(f(9, 2 + gap, 2, 0), s, 2, reach);
    // The deviation of the difference is sqrt(2) 1e-6.
    expect(by(10e-6, 7)).toEqual([[0, 1]]);
    expect(by(9.8e-6, 7)).toEqual([
      [0, 1],
      [0, 2],
    ]);
    // Near each other on the same side of the border: nothing to decide.
    expect(possibleChoices(f(9, 9 + 1e-7, 2, 0), s, 2, 7)).toEqual([[0, 1]]);
  });

  it('three near ones may be chosen in every way, the exact one first', () => {
    const choices = possibleChoices(f(3, 3 - 1e-7, 3 + 1e-7, 5), f(1e-12, 1e-12, 1e-12, 1e-12), 2, 7);
    expect(choices).toEqual([
      [2, 3],
      [0, 3],
      [1, 3],
    ]);
  });

  it('a tie of exact numbers is decided', () => {
    expect(possibleChoices(f(1, 1, 0), f(0, 0, 0), 1, 7)).toEqual([[0]]);
    expect(possibleChoices(f(1, 1, 0), f(1e-20, 0, 0), 1, 7)).toEqual([[0], [1]]);
  });
});

describe('a forward pass', () => {
  const model = microLlama(5, { n_layer: 2, n_expert: 5 });
  const entries = entriesOf([3, 0, 5, 1]);
  const last = entries.at(-1)!;

  it('notes what it chose at every place, and takes what it is told', () => {
    const noted = new Routes();
    const [plain] = logits(model, [last], { noted });
    for (const entry of entries) {
      for (const il of [0, 1]) expect(noted.at({ entry, il })).toHaveLength(2);
    }
    expect(logits(model, [last], { routes: noted })[0]).toEqual(plain);
    const place = { entry: entries[1]!, il: 0 };
    const others = [0, 1, 2, 3, 4].filter((e) => !noted.at(place)!.includes(e)).slice(0, 2);
    const turned = logits(model, [last], { routes: noted.with(place, others) })[0]!;
    expect(turned).not.toEqual(plain);
    expect(noted.at(place)).not.toEqual(others);
  });

  it('says at which places a row could have gone another way', () => {
    const rows = (reach: number) => carriedLogits(model, entries, PROFILE, { reach });
    expect(rows(11.9).map(({ forks }) => forks)).toEqual([undefined, undefined, undefined, undefined]);
    // With such a reach everything is near.
    const forks = rows(1e9).map((row) => row.forks!);
    // Layer 0 of every entry that was seen, and both layers of the last one.
    expect(forks.map((list) => list.length)).toEqual([2, 3, 4, 5]);
    for (const list of forks) {
      // Only of entries that the row saw.
      for (const { entry, choices } of list) {
        expect(entries.slice(0, forks.indexOf(list) + 1)).toContain(entry);
        expect(choices.length).toBeGreaterThan(1);
      }
    }
    const given = new Routes();
    for (const { entry, il, choices } of forks[3]!) given.set({ entry, il }, choices[0]!);
    const [told] = carriedLogits(model, [last], PROFILE, { reach: 1e9, routes: given });
    expect(told!.forks).toBeUndefined();
    expect(told!.v).toEqual(rows(11.9)[3]!.v);
  });
});

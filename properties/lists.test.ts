import { expect, test } from 'vitest';
import { Sequences } from '../oracle/entries.ts';
import { Lists } from './lists.ts';
import { Random } from './random.ts';

/** Random operations, done on the generators' lists and on the oracle's. */
test('the lists of the generators are those of the oracle', () => {
  for (let seed = 0; seed < 200; seed++) {
    const r = new Random(seed, 1, 2);
    const lists = new Lists(4, 'attention');
    const oracle = new Sequences(4);
    for (let step = 0; step < 30; step++) {
      const seq = r.below(4);
      const max = lists.posMax(seq);
      switch (r.below(6)) {
        case 0: {
          const [p0, p1] = [r.between(-1, max + 2), r.between(-1, max + 2)];
          lists.rm(seq, p0, p1);
          oracle.seqRm(seq, p0, p1);
          break;
        }
        case 1: {
          const to = (seq + 1) % 4;
          if (lists.length(to) > 0) break;
          const [p0, p1] = r.chance(0.5) ? [0, -1] : [r.below(3), r.between(-1, max + 1)];
          lists.cp(seq, to, p0, p1);
          oracle.seqCp(seq, to, p0, p1);
          break;
        }
        case 2:
          if (!r.chance(0.2)) break;
          lists.keep(seq);
          oracle.seqKeep(seq);
          break;
        default: {
          const ids = [0, 1, 2, 3].filter((id) => id === seq || (r.chance(0.5) && lists.same(id, seq)));
          lists.append(step, ids);
          oracle.decode({ token: [step], pos: [oracle.posMax(seq) + 1], seq_id: [ids], logits: [true] });
        }
      }
      const distinct = new Set<unknown>();
      for (let a = 0; a < 4; a++) {
        const list = oracle.list(a);
        for (const entry of list) distinct.add(entry);
        expect(lists.tokens(a)).toEqual(list.map((e) => e.token));
        expect([lists.posMin(a), lists.posMax(a)]).toEqual([oracle.posMin(a), oracle.posMax(a)]);
        // Plain: every entry stands at its place and saw exactly the ones before it.
        const plain = list.every(
          (e, i) => e.pos === i && e.saw.length === i + 1 && e.saw.every((x, k) => x === list[k]),
        );
        expect(lists.plain(a)).toBe(plain);
        for (let b = 0; b < 4; b++) {
          const other = oracle.list(b);
          expect(lists.same(a, b)).toBe(list.length === other.length && list.every((e, i) => e === other[i]));
        }
      }
      expect(lists.used).toBe(distinct.size);
    }
  }
});

test('only a part of a state is not removed', () => {
  const lists = new Lists(2, 'recurrent');
  for (let i = 0; i < 3; i++) lists.append(i, [0]);
  expect([lists.posMin(0), lists.posMax(0), lists.posMin(1)]).toEqual([2, 2, -1]);
  expect([lists.cuts(0, 1, -1), lists.cuts(0, 0, 2), lists.cuts(-1, 0, 5)]).toEqual([true, true, true]);
  expect([lists.cuts(0, 0, 3), lists.cuts(0, 3, -1), lists.cuts(0, 2, 2)]).toEqual([false, false, false]);
  expect([lists.cuts(1, 1, -1), lists.cuts(-1, -1, -1)]).toEqual([false, false]);
});

test('a copy of the lists shares nothing', () => {
  const lists = new Lists(3, 'attention');
  lists.append(1, [0, 1]);
  lists.append(2, [0]);
  const copy = lists.clone();
  expect([copy.same(0, 1), copy.used]).toEqual([false, 2]);
  copy.rm(0, 0, -1);
  expect([copy.used, lists.used, lists.length(0)]).toEqual([1, 2, 2]);
  copy.rm(1, 0, -1);
  expect([copy.used, copy.isEmpty(), lists.isEmpty()]).toEqual([0, true, false]);
});

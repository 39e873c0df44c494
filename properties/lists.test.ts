import { describe, expect, it, test } from 'vitest';
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

describe('kept states', () => {
  function held(n: number, n_rs_seq: number, legal = {}): Lists {
    const lists = new Lists(3, { memory: 'hybrid', legal }, n_rs_seq);
    for (let i = 0; i < n; i++) lists.append(i, [0]);
    return lists;
  }

  it('are those of the last tokens, as many as are kept, and not that of nothing', () => {
    const lists = held(4, 2);
    expect([lists.rollback(0), lists.cuts(0, 3, -1), lists.cuts(0, 2, 9), lists.cuts(0, 1, -1)]).toEqual([
      2,
      false,
      false,
      true,
    ]);
    expect([lists.cuts(0, 2, 3), lists.cuts(-1, 2, -1), lists.cuts(0, 0, -1)]).toEqual([true, true, false]);
    expect(held(2, 4).rollback(0)).toBe(1);
    expect(held(1, 4).rollback(0)).toBe(0);
  });

  it('are fewer after a rollback, and more with the next token', () => {
    const lists = held(5, 3);
    lists.rm(0, 3, -1);
    expect([lists.rollback(0), lists.cuts(0, 2, -1), lists.cuts(0, 1, -1)]).toEqual([1, false, true]);
    lists.append(9, [0]);
    expect(lists.rollback(0)).toBe(2);
    expect(lists.clone().rollback(0)).toBe(2);
    lists.rm(0, 0, -1);
    expect(lists.rollback(0)).toBe(0);
  });

  it('are copied, never in part, and shared tokens keep the fewest', () => {
    const lists = held(5, 3);
    lists.cp(0, 1, 0, -1);
    expect([lists.rollback(1), lists.cutsCopy(0, 0, 3)]).toEqual([3, true]);
    lists.append(9, [0]);
    lists.rm(0, 5, -1);
    expect([lists.rollback(0), lists.rollback(1), lists.same(0, 1)]).toEqual([2, 3, true]);
    lists.append(9, [1, 0]);
    expect([lists.rollback(0), lists.rollback(1)]).toEqual([3, 3]);
    expect(lists.cuts(1, 2, -1)).toBe(true);
    expect(lists.moveRefusal({ op: 'seqAdd', seq: 0, p0: 4, p1: -1, by: 1 })).toBe('ops.partial');
  });

  it('are rolled back once where the subject says so', () => {
    const lists = held(5, 3, { rollback_once: true });
    lists.rm(0, 4, -1);
    expect([lists.rollback(0), lists.cuts(0, 3, -1)]).toEqual([0, true]);
    lists.append(9, [0]);
    expect(lists.rollback(0)).toBe(1);
  });
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

describe('windows', () => {
  const sliding = { memory: 'attention', windows: [{ kind: 'sliding', size: 3 }] } as const;
  const chunked = { memory: 'attention', windows: [{ kind: 'chunked', size: 4 }] } as const;
  function filled(shape: typeof sliding | typeof chunked, n: number): Lists {
    const lists = new Lists(3, shape);
    for (let i = 0; i < n; i++) lists.append(i, [0]);
    lists.endBatch();
    return lists;
  }

  test('a removal after which the next token would see what is forgotten is refused', () => {
    const lists = filled(sliding, 6);
    // The next token is 6 and sees 4 and 5; positions 0 to 3 are forgotten.
    expect(lists.posMin(0)).toBe(4);
    expect([5, 4, 1].map((p0) => lists.cuts(0, p0, -1))).toEqual([true, true, true]);
    expect([lists.cuts(0, 0, -1), lists.cuts(0, 0, 5), lists.cuts(0, 2, 5)]).toEqual([false, false, false]);
    expect([lists.cuts(0, 4, 6), lists.cuts(-1, 5, -1), lists.cuts(1, 0, 1)]).toEqual([true, true, false]);
  });

  test('what is forgotten is forgotten after a batch, not within it', () => {
    const lists = new Lists(1, sliding);
    for (let i = 0; i < 6; i++) lists.append(i, [0]);
    expect(lists.cuts(0, 5, -1)).toBe(false);
    lists.endBatch();
    expect(lists.cuts(0, 5, -1)).toBe(true);
  });

  test('a prefix that goes, goes from what is forgotten too', () => {
    const lists = filled(sliding, 6);
    lists.rm(0, 0, 4);
    expect([lists.cuts(0, 5, -1), lists.posMin(0)]).toEqual([false, 4]);
  });

  test('a copy knows what its source has forgotten, and a part of it may be refused', () => {
    const lists = filled(sliding, 6);
    expect([lists.cutsCopy(0, 0, 5), lists.cutsCopy(0, 0, -1), lists.cutsCopy(0, 4, 5)]).toEqual([
      true,
      false,
      false,
    ]);
    lists.cp(0, 1, 0, -1);
    expect([lists.cuts(1, 5, -1), lists.posMin(1)]).toEqual([true, 4]);
    expect(lists.clone().cuts(1, 5, -1)).toBe(true);
    lists.rm(1, 0, -1);
    lists.append(9, [1]);
    lists.endBatch();
    expect(lists.cuts(1, 0, 1)).toBe(false);
  });

  test('chunks: a chunk that is over is forgotten as a whole', () => {
    const lists = filled(chunked, 8);
    expect([lists.posMin(0), lists.cuts(0, 7, -1)]).toEqual([8, true]);
    expect(lists.cuts(0, 4, -1)).toBe(false);
    expect(filled(chunked, 7).cuts(0, 6, -1)).toBe(false);
  });
});

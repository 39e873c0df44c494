import { describe, expect, it } from 'vitest';
import { Cells } from './cells.ts';
import { Sequences } from './entries.ts';
import { randomBatch, seeded } from './testing.ts';

const of = (seq: number, n: number) => Array.from({ length: n }, () => [seq]);

describe('place', () => {
  it('takes free cells from head on, not necessarily neighbours', () => {
    const cells = new Cells(6);
    expect(cells.place([0, 1, 2, 3, 4], of(0, 5))).toEqual([0, 1, 2, 3, 4]);
    expect(cells.view()).toMatchObject({ head: 5, used: 5 });
    cells.seqRm(0, 1, 2);
    cells.seqRm(0, 3, 4);
    expect(cells.view().head).toBe(1);
    expect(cells.place([5, 6, 7], of(0, 3))).toEqual([1, 3, 5]);
    // head may equal the size
    expect(cells.view()).toMatchObject({ head: 6, used: 6 });
    expect(cells.place([8], [[0]])).toBeNull();
    cells.seqRm(0, 2, 3);
    expect(cells.view().head).toBe(2);
  });

  it('answers null and changes nothing if there are too few cells', () => {
    const cells = new Cells(3);
    cells.place([0, 1], of(0, 2));
    const before = cells.view();
    expect(cells.place([2, 3], of(0, 2))).toBeNull();
    expect(cells.place([0, 1, 2, 3], of(1, 4))).toBeNull();
    expect(cells.view()).toEqual(before);
    expect(cells.place([], [])).toEqual([]);
    expect(cells.view()).toEqual(before);
  });
});

describe('sequence operations', () => {
  const filled = () => {
    const cells = new Cells(5);
    cells.place([0, 1, 2, 2], [[0, 1], [1, 0], [0], [1]]);
    return cells;
  };

  it('lists ids in ascending order', () => {
    expect(
      filled()
        .view()
        .cells.map((cell) => cell.seq),
    ).toEqual([[0, 1], [0, 1], [0], [1], []]);
  });

  it('removes any range, of one sequence or of all', () => {
    const cells = filled();
    expect(cells.seqRm(0, 1, -1)).toBe(true);
    expect(cells.view()).toEqual({
      head: 2,
      used: 3,
      cells: [
        { pos: 0, seq: [0, 1] },
        { pos: 1, seq: [1] },
        { pos: -1, seq: [] },
        { pos: 2, seq: [1] },
        { pos: -1, seq: [] },
      ],
    });
    expect(cells.seqRm(-1, 1, 2)).toBe(true);
    expect(cells.view()).toMatchObject({ head: 1, used: 2 });
    expect([cells.seqPosMin(1), cells.seqPosMax(1), cells.seqPosMax(0)]).toEqual([0, 2, 0]);
    cells.seqRm(-1, -1, -1);
    expect(cells.view()).toEqual(new Cells(5).view());
    expect([cells.seqPosMin(1), cells.seqPosMax(1)]).toEqual([-1, -1]);
  });

  it('copies by adding an id, in a range', () => {
    const cells = filled();
    cells.seqCp(0, 2, 1, -1);
    cells.seqCp(0, 0, 0, -1);
    expect(cells.view().cells.map((cell) => cell.seq)).toEqual([[0, 1], [0, 1, 2], [0, 2], [1], []]);
    expect(cells.view()).toMatchObject({ head: 4, used: 4 });
  });

  it('keeps one sequence', () => {
    const cells = filled();
    cells.seqKeep(1);
    expect(cells.view()).toMatchObject({ head: 2, used: 3 });
    expect(cells.view().cells.map((cell) => cell.seq)).toEqual([[1], [1], [], [1], []]);
  });

  it('clears', () => {
    const cells = filled();
    cells.clear();
    expect(cells.view()).toEqual(new Cells(5).view());
  });
});

describe('visible', () => {
  it('is by ascending position, of the own sequence, up to the query', () => {
    const cells = new Cells(6);
    cells.place([0, 1, 0, 2], [[0], [0], [1], [0]]);
    cells.seqRm(0, 0, 1);
    cells.place([3], [[0]]);
    expect(cells.view().cells.map((cell) => cell.pos)).toEqual([3, 1, 0, 2, -1, -1]);
    expect(cells.visible(0, 3)).toEqual([1, 3, 0]);
    expect(cells.visible(0, 2)).toEqual([1, 3]);
    expect(cells.visible(1, 5)).toEqual([2]);
    expect(cells.visible(2, 5)).toEqual([]);
  });
});

describe('random histories', () => {
  it('INV-KV-1, 3, 5, 6: the cells of a sequence are its list', () => {
    const seen = { scattered: 0, full: 0, removed: 0 };
    for (let seed = 0; seed < 300; seed++) {
      const random = seeded(seed);
      const n_seq_max = 1 + random(4);
      const size = 8 + random(30);
      const cells = new Cells(size);
      const lists = new Sequences(n_seq_max);
      for (let call = 0; call < 8; call++) {
        if (random(2) === 0) {
          const seq = random(n_seq_max);
          const p0 = random(lists.posMax(seq) + 2);
          seen.removed += lists.posMax(seq) >= p0 ? 1 : 0;
          lists.seqRm(seq, p0, -1);
          cells.seqRm(seq, p0, -1);
        }
        const shape = { n_tokens: 1 + random(10), n_seq_max, n_vocab: 9, shared: 20 };
        const batch = randomBatch(random, lists, shape);
        const before = cells.view();
        const free = size - before.used;
        const idxs = cells.place(batch.pos, batch.seq_id);
        const { head, used, cells: now } = cells.view();
        if (idxs === null) {
          seen.full += 1;
          expect(batch.token.length).toBeGreaterThan(free);
          expect(cells.view()).toEqual(before);
          continue;
        }
        // 1: distinct, formerly free, and the tokens'
        expect(new Set(idxs).size).toBe(batch.token.length);
        idxs.forEach((i, t) => {
          expect(before.cells[i]!.seq).toEqual([]);
          expect(now[i]).toEqual({ pos: batch.pos[t], seq: batch.seq_id[t] });
        });
        seen.scattered += idxs.some((i, t) => t > 0 && i !== idxs[t - 1]! + 1) ? 1 : 0;
        // 3
        expect(used).toBe(now.filter((cell) => cell.seq.length > 0).length);
        expect(head).toBeLessThanOrEqual(size);
        // so head > used + 2 n_tokens never happens, nor does the search wrap
        expect(now.slice(0, head).every((cell) => cell.seq.length > 0)).toBe(true);
        lists.decode(batch);
        // 5: gap-free, as long as removals are suffixes
        for (let seq = 0; seq < n_seq_max; seq++) {
          const last = lists.posMax(seq);
          expect(cells.seqPosMax(seq)).toBe(last);
          expect(cells.visible(seq, last).map((i) => now[i]!.pos)).toEqual(
            lists.list(seq).map((entry) => entry.pos),
          );
          expect(lists.list(seq)).toHaveLength(last + 1);
        }
        // 6: one token fits whenever a cell is free
        if (used < size) {
          const probe = cells.place([lists.posMax(0) + 1], [[0]]);
          expect(probe).toHaveLength(1);
          cells.seqRm(0, lists.posMax(0) + 1, -1);
        }
      }
    }
    for (const count of Object.values(seen)) {
      expect(count).toBeGreaterThan(50);
    }
  });
});

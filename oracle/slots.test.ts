import { describe, expect, it } from 'vitest';
import { Slots } from './slots.ts';
import { LabelledSlots, violations } from './testing-slots.ts';

describe('findSlot', () => {
  it('puts new sequences side by side, from the zero state', () => {
    const slots = new Slots(4);
    expect(slots.findSlot([[2], [0]], 3, [2, 2])).toEqual({ head: 0, n: 2, src0: [-1, -1] });
    expect(slots.view()).toEqual({
      head: 0,
      used: 2,
      cells: [
        { pos: 2, src: 0, seq: [2] },
        { pos: 2, src: 1, seq: [0] },
        { pos: -1, src: -1, seq: [] },
        { pos: -1, src: -1, seq: [] },
      ],
      tail: [1, -1, 0, -1],
    });
  });

  it('gathers the sets in the order of the ubatch', () => {
    const memory = new LabelledSlots(3);
    memory.ubatch([[0], [1], [2]], ['a', 'b', 'c'], [0, 0, 0]);
    expect(memory.ubatch([[2], [0]], ['C', 'A'], [1, 1])).toEqual({ head: 0, n: 3, src0: [2, 0, 1] });
    expect([0, 1, 2].map((seq) => memory.state(seq))).toEqual(['aA', 'b', 'cC']);
    expect(memory.slots.view().tail).toEqual([1, 2, 0]);
  });

  it('copies a shared state on write', () => {
    const memory = new LabelledSlots(3);
    memory.ubatch([[0, 1]], ['ab'], [1], 2);
    expect(memory.slots.view().tail).toEqual([0, 0, -1]);
    // 1 leaves the shared cell: its own one (1) reads from row 0; the window holds only that cell
    expect(memory.ubatch([[1]], ['x'], [2])).toEqual({ head: 1, n: 1, src0: [0] });
    expect(memory.state(0)).toBe('ab');
    expect(memory.state(1)).toBe('abx');
    // 0 is the only owner now and stays
    expect(memory.ubatch([[0]], ['y'], [2])).toEqual({ head: 0, n: 1, src0: [0] });
    expect(memory.state(0)).toBe('aby');
    expect(violations(memory.slots)).toEqual([]);
  });

  it('copies a state that both of its owners leave in one ubatch', () => {
    const memory = new LabelledSlots(2);
    memory.ubatch([[0, 1]], ['p'], [0]);
    expect(memory.ubatch([[0], [1]], ['a', 'b'], [1, 1])).toEqual({ head: 0, n: 2, src0: [0, 0] });
    expect([memory.state(0), memory.state(1)]).toEqual(['pa', 'pb']);
  });

  it('drops the own state of ids that become shared', () => {
    const memory = new LabelledSlots(3);
    memory.ubatch([[0], [1]], ['a', 'a'], [0, 0]);
    // cell 1 becomes free by this, and 2 takes it: from the zero state
    expect(memory.ubatch([[0, 1], [2]], ['b', 'c'], [1, 0]).src0).toEqual([0, -1]);
    expect(memory.slots.view().used).toBe(2);
    expect([0, 1, 2].map((seq) => memory.state(seq))).toEqual(['ab', 'ab', 'c']);
    expect(violations(memory.slots)).toEqual([]);
  });

  it('moves the tails of claimed, still empty cells too (4.9)', () => {
    // Cells: 0 = {3}, 1 = {1}. The ubatch {0},{1},{2} claims 2 for 0 and 3 for 2, and keeps 1 for 1. The window starts
    // at 1: cell 1 and the claimed 2 change places, and both tails must follow.
    const memory = new LabelledSlots(4);
    memory.ubatch([[3]], ['d'], [0]);
    memory.ubatch([[1]], ['b'], [0]);
    expect(memory.slots.view().tail).toEqual([-1, 1, -1, 0]);
    expect(memory.ubatch([[0], [1], [2]], ['A', 'B', 'C'], [0, 1, 0])).toEqual({
      head: 1,
      n: 3,
      src0: [-1, 1, -1],
    });
    expect([0, 1, 2, 3].map((seq) => memory.state(seq))).toEqual(['A', 'bB', 'C', 'd']);
    expect(violations(memory.slots)).toEqual([]);
  });

  it('starts again at cell 0 when head is far behind the cells in use', () => {
    const slots = new Slots(8);
    for (let seq = 0; seq < 6; seq++) {
      slots.findSlot([[seq]], 1, [0]);
    }
    expect(slots.view().head).toBe(5);
    for (let seq = 1; seq < 5; seq++) {
      slots.seqRm(seq, 0, -1);
    }
    slots.findSlot([[5]], 1, [1]);
    expect(slots.view().head).toBe(5);
    // used is 2, head 5 > 2 + 2: the next claim is cell 1, not cell 6
    expect(slots.findSlot([[6]], 1, [0]).head).toBe(1);
  });

  it('refuses ids out of range before any change', () => {
    const slots = new Slots(2);
    slots.findSlot([[0], [1]], 1, [0, 0]);
    const before = slots.view();
    expect(() => slots.findSlot([[0, 1], [2]], 1, [1, 0])).toThrow(
      expect.objectContaining({ kind: 'batch.seq_id' }),
    );
    expect(() => slots.findSlot([], 1, [])).toThrow(expect.objectContaining({ kind: 'internal' }));
    expect(slots.view()).toEqual(before);
  });
});

describe('sequence operations', () => {
  const filled = () => {
    const slots = new Slots(4);
    slots.findSlot([[0, 1], [2]], 5, [4, 4]);
    return slots;
  };

  it('removes a whole state, or nothing', () => {
    const slots = filled();
    const before = slots.view();
    for (const [p0, p1] of [
      [5, -1],
      [2, 2],
      [3, 1],
      [0, 0],
      [9, 12],
    ] as const) {
      expect(slots.seqRm(2, p0, p1)).toBe(true);
      expect(slots.view()).toEqual(before);
    }
    for (const [p0, p1] of [
      [0, 4],
      [1, 5],
      [4, -1],
      [1, 3],
      [-1, 1],
    ] as const) {
      expect(slots.seqRm(2, p0, p1)).toBe(false);
      expect(slots.view()).toEqual(before);
    }
    expect(slots.seqRm(3, 0, 1)).toBe(true);
    expect(slots.seqRm(4, 0, -1)).toBe(false);
    expect(slots.seqRm(2, 0, 5)).toBe(true);
    expect(slots.view()).toEqual({
      head: 0,
      used: 1,
      cells: [
        { pos: 4, src: 0, seq: [0, 1] },
        { pos: -1, src: -1, seq: [] },
        { pos: -1, src: -1, seq: [] },
        { pos: -1, src: -1, seq: [] },
      ],
      tail: [0, 0, -1, -1],
    });
  });

  it('leaves a shared state to the others', () => {
    const slots = filled();
    expect(slots.seqRm(0, -1, -1)).toBe(true);
    expect(slots.view().cells[0]).toEqual({ pos: 4, src: 0, seq: [1] });
    expect([slots.seqPosMax(0), slots.seqPosMax(1), slots.seqPosMin(1)]).toEqual([-1, 4, 4]);
  });

  it('removes all sequences only wholly, and resets the tails', () => {
    const slots = filled();
    const before = slots.view();
    expect(slots.seqRm(-1, 0, 4)).toBe(false);
    expect(slots.seqRm(-1, 1, -1)).toBe(false);
    expect(slots.seqRm(-1, 3, 3)).toBe(true);
    expect(slots.view()).toEqual(before);
    expect(slots.seqRm(-1, -1, -1)).toBe(true);
    expect(slots.view()).toEqual(new Slots(4).view());
    // a formerly live sequence starts afresh
    expect(slots.findSlot([[1]], 1, [0]).src0).toEqual([-1]);
  });

  it('copies by joining the cell, after dropping what was there', () => {
    const slots = filled();
    slots.seqCp(2, 0);
    expect(slots.view().cells.map((cell) => cell.seq)).toEqual([[1], [0, 2], [], []]);
    slots.seqCp(3, 1);
    expect(slots.view()).toMatchObject({ used: 1, tail: [1, -1, 1, -1], head: 0 });
    const before = slots.view();
    slots.seqCp(2, 2);
    slots.seqCp(2, 7);
    slots.seqCp(-1, 2);
    expect(slots.view()).toEqual(before);
  });

  it('keeps one sequence', () => {
    const slots = filled();
    slots.seqKeep(1);
    expect(slots.view().cells.map((cell) => cell.seq)).toEqual([[1], [], [], []]);
    expect(slots.view()).toMatchObject({ used: 1, tail: [-1, 0, -1, -1] });
  });

  it('clears', () => {
    const slots = filled();
    slots.clear();
    expect(slots.view()).toEqual(new Slots(4).view());
  });
});

import { describe, expect, test } from 'vitest';
import { Cells } from './cells.ts';
import { exp64, ln64, RopeTable, sinCos64 } from './rope.ts';
import { Slots } from './slots.ts';

describe('slots', () => {
  test('new sequences get neighbouring slots in the order of the ubatch', () => {
    const slots = new Slots(4);
    expect(slots.findSlot([[2], [0]], 3, [2, 2])).toEqual({ head: 0, n: 2, src0: [-1, -1] });
    expect(slots.view().tail).toEqual([1, -1, 0, -1]);
    slots.assertSound();
  });

  test('the tail of a slot that was just claimed follows a swap', () => {
    const slots = new Slots(4);
    slots.findSlot([[0], [1]], 1, [0, 0]);
    // 1 keeps slot 1, 3 claims slot 2: the order 3, 1 needs a swap of a slot that lists no id yet.
    expect(slots.findSlot([[3], [1]], 1, [0, 1])).toEqual({ head: 1, n: 2, src0: [-1, 1] });
    expect(slots.view().tail).toEqual([0, 2, -1, 1]);
    slots.assertSound();
  });

  test('a copy shares the state until one owner goes on', () => {
    const slots = new Slots(3);
    slots.findSlot([[0]], 4, [3]);
    slots.seqCp(0, 1);
    expect(slots.view().tail).toEqual([0, 0, -1]);
    const placed = slots.findSlot([[1]], 1, [4]);
    expect(placed).toEqual({ head: 1, n: 1, src0: [0] });
    expect(slots.view().tail).toEqual([0, 1, -1]);
    expect(slots.seqPosMax(0)).toBe(3);
  });

  test('a reused slot starts from zero', () => {
    const slots = new Slots(1);
    slots.findSlot([[0]], 4, [3]);
    expect(slots.seqRm(0, 0, -1)).toBe(true);
    expect(slots.findSlot([[0]], 2, [1]).src0).toEqual([-1]);
  });

  test('a part of a state is not removed, and nothing changes', () => {
    const slots = new Slots(2);
    slots.findSlot([[0]], 4, [3]);
    const before = slots.view();
    expect([
      slots.seqRm(0, 2, -1),
      slots.seqRm(0, 0, 2),
      slots.seqRm(0, 1, 2),
      slots.seqRm(-1, 1, -1),
    ]).toEqual([false, false, false, false]);
    expect(slots.view()).toEqual(before);
    expect([slots.seqRm(0, 4, -1), slots.seqRm(0, 2, 2), slots.seqRm(1, 1, 2)]).toEqual([true, true, true]);
    expect(slots.view()).toEqual(before);
  });
});

describe('cells', () => {
  test('cells need not be neighbours', () => {
    const cells = new Cells(6);
    cells.place([0, 0, 1, 1], [[0], [1], [0], [1]]);
    cells.seqRm(0, -1, -1);
    expect(cells.place([0, 1, 2], [[2], [2], [2]])).toEqual([0, 2, 4]);
    expect(cells.visible(2, 1)).toEqual([0, 2]);
    expect(cells.place([2, 3], [[1], [1]])).toBeNull();
    expect(cells.view().used).toBe(5);
  });

  test('a call that fails midway gives its cells back', () => {
    const cells = new Cells(4);
    cells.place([0], [[0]]);
    const before = cells.view();
    const taken = new Int32Array(2);
    const head = cells.head;
    cells.find(2, taken, 0);
    cells.occupy(taken[0]!, 1, 1, 0);
    cells.occupy(taken[1]!, 2, 3, 0);
    cells.vacate(taken, 2, head);
    expect(cells.view()).toEqual(before);
    expect(cells.seqPosMax(0)).toBe(0);
    expect(cells.seqPosMax(1)).toBe(-1);
  });
});

describe('rotary table', () => {
  test('exp, ln, sin and cos agree with the host to a few units in the last place', () => {
    let worst = 0;
    for (let i = 0; i < 20_000; i++) {
      const x = i * 1.7 - 3000;
      const { sin, cos } = sinCos64(x);
      worst = Math.max(worst, Math.abs(sin - Math.sin(x)), Math.abs(cos - Math.cos(x)));
      const y = (i - 10_000) / 400;
      worst = Math.max(worst, Math.abs(exp64(y) / Math.exp(y) - 1), Math.abs(ln64(exp64(y)) - y) / 30);
    }
    expect(worst).toBeLessThan(2e-15);
  });

  test('rows are cos, sin of pos * base^(-2i/n_rot)', () => {
    const table = new RopeTable(4, 100, 0.5);
    const row = new Float32Array(4);
    table.copyRow(6, row, 0);
    expect(Array.from(row)).toEqual(
      [Math.cos(3), Math.sin(3), Math.cos(0.3), Math.sin(0.3)].map(Math.fround),
    );
    table.copyRow(5000, row, 0);
    expect(row[0]).toBeCloseTo(Math.cos(2500), 6);
  });

  test('a step back undoes a step', () => {
    const table = new RopeTable(4, 10_000, 1);
    const [there, back] = [new Float32Array(4), new Float32Array(4)];
    table.copyTurn(3, there, 0);
    table.copyTurn(-3, back, 0);
    expect(Array.from(back)).toEqual([there[0], -there[1]!, there[2], -there[3]!]);
    table.copyRow(3, back, 0);
    expect(back).toEqual(there);
  });
});

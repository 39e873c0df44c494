import { describe, expect, it } from 'vitest';
import { RULES } from './campaign-models.ts';
import { TaskQueue, type Unit } from './campaign-plan.ts';

function unit(property: string, model: string, cases: number, look = 0): Unit {
  const facts = { name: property, statement: '', white: model === RULES, classes: {}, skip: {} };
  return { property: facts, model, family: model, first: 0, end: cases, range: 10, look, block: 1 };
}

/** What each of two workers is given when they ask in turns; by worker, the models with their numbers of cases. */
function dealt(units: readonly Unit[]): { byWorker: Record<string, number>[]; total: number } {
  const queue = new TaskQueue(units);
  const byWorker: Record<string, number>[] = [{}, {}];
  const current: (Unit | undefined)[] = [undefined, undefined];
  let total = 0;
  for (let turn = 0; ; turn++) {
    const worker = turn % 2;
    const task = queue.next(worker, current[worker]);
    if (task === undefined) break;
    const counts = byWorker[worker]!;
    counts[task.unit.model] = (counts[task.unit.model] ?? 0) + task.count;
    current[worker] = task.unit;
    total += task.count;
  }
  return { byWorker, total };
}

describe('the queue of tasks', () => {
  it('gives each worker models of its own while there are enough', () => {
    const units = ['solo', 'permute', 'ubatch'].flatMap((p) => [unit(p, 'a', 30), unit(p, 'b', 30)]);
    const { byWorker, total } = dealt(units);
    expect(total).toBe(180);
    expect(byWorker.map((counts) => Object.keys(counts))).toEqual([['a'], ['b']]);
  });

  it('keeps to them over short first looks', () => {
    const units = ['solo', 'permute'].flatMap((p) => [unit(p, 'a', 100, 2), unit(p, 'b', 100, 2)]);
    const { byWorker } = dealt(units);
    expect(byWorker.map((counts) => Object.keys(counts))).toEqual([['a'], ['b']]);
  });

  it('lets a worker go through the properties of one model before it takes the next', () => {
    const units = ['solo', 'permute'].flatMap((p) => ['a', 'b', 'c'].map((model) => unit(p, model, 5)));
    const queue = new TaskQueue(units);
    const given: string[] = [];
    for (let task = queue.next(0); task !== undefined; task = queue.next(0, task.unit))
      given.push(`${task.unit.property.name} ${task.unit.model}`);
    expect(given).toEqual(['solo a', 'permute a', 'solo b', 'permute b', 'solo c', 'permute c']);
  });

  it('lets a worker without work of its own take from another', () => {
    const { byWorker, total } = dealt([unit('solo', 'a', 100), unit('permute', 'a', 100)]);
    expect(total).toBe(200);
    expect(byWorker.map((counts) => counts.a)).toEqual([100, 100]);
  });

  it('hands out every case once, rules and models mixed', () => {
    const units = [
      unit('split', RULES, 95),
      unit('solo', 'a', 33, 4),
      unit('solo', 'b', 7),
      unit('state', 'c', 51),
    ];
    const queue = new TaskQueue(units);
    const seen = new Set<string>();
    for (let w = 0; ; w = (w + 1) % 3) {
      const task = queue.next(w);
      if (task === undefined) break;
      for (let i = task.first; i < task.first + task.count; i++) {
        const name = `${task.unit.property.name} ${task.unit.model} ${i}`;
        expect(seen.has(name)).toBe(false);
        seen.add(name);
      }
    }
    expect(seen.size).toBe(95 + 33 + 7 + 51);
  });
});

import { describe, expect, test } from 'vitest';
import type { CompleteBatch, SplitOptions } from '../../contract/batch.ts';
import type { CachesShape, WhiteBox } from '../../contract/white.ts';
import { engineWhite } from '../../engine/white.ts';
import { oracleWhite } from '../../oracle/white.ts';
import { WindowLists } from '../../oracle/windows.ts';
import { missingClasses } from '../coverage.ts';
import { propertyByName } from '../registry.ts';
import { fakeEnv, runCases, shrinkGreedily } from '../testing.ts';

const env = (white: WhiteBox, oracle = oracleWhite) => ({ ...fakeEnv(), white, oracle });
const names = ['split', 'outputs', 'slots', 'cells', 'mask', 'window'] as const;

/** Two lists in which the first pair of different neighbours is exchanged. */
function swapped<T>(list: readonly T[]): T[] {
  const copy = [...list];
  [copy[0], copy[1]] = [copy[1]!, copy[0]!];
  return copy;
}

/** Boxes with one wrong expression each, and the property that must see it. */
const LIES: readonly (readonly [string, (typeof names)[number], string, WhiteBox])[] = [
  [
    'the last token is lost',
    'split',
    'INV-SPLIT-1',
    {
      ...oracleWhite,
      split: (batch, options) => {
        const all = oracleWhite.split(batch, options);
        const last = all.at(-1)!;
        if (last.index.length !== 1) return all;
        return all.slice(0, -1);
      },
    },
  ],
  [
    'ubatches in reverse',
    'split',
    'INV-SPLIT',
    { ...oracleWhite, split: (batch, options) => [...oracleWhite.split(batch, options)].reverse() },
  ],
  [
    'ubatches of one token more',
    'split',
    'INV-SPLIT-2',
    {
      ...oracleWhite,
      split: (batch, options) => oracleWhite.split(batch, { ...options, n_ubatch: options.n_ubatch + 1 }),
    },
  ],
  [
    'the tail rule is forgotten',
    'split',
    'INV-SPLIT-11',
    { ...oracleWhite, split: (batch, options) => oracleWhite.split(batch, { ...options, n_keep_tail: 0 }) },
  ],
  [
    'rows in order of execution',
    'outputs',
    'INV-OUT-1',
    { ...oracleWhite, outputRows: (batch, u) => oracleWhite.outputRows(batch, u).map((_, k) => k) },
  ],
  [
    'two rows exchanged',
    'outputs',
    'INV-OUT-1',
    {
      ...oracleWhite,
      outputRows: (batch, u) => {
        const rows = oracleWhite.outputRows(batch, u);
        return rows.length === 3 ? swapped(rows) : rows;
      },
    },
  ],
  [
    'a new sequence gets what lies in its slot',
    'slots',
    'INV-RS-11',
    {
      ...oracleWhite,
      slots: (n) => {
        const slots = oracleWhite.slots(n);
        return new Proxy(slots, {
          get(target, key) {
            const value = Reflect.get(target, key, target);
            if (key !== 'findSlot') return typeof value === 'function' ? value.bind(target) : value;
            return (...args: Parameters<typeof slots.findSlot>) => {
              const placement = target.findSlot(...args);
              const src0 = placement.src0.map((src, i) => (src < 0 ? placement.head + i : src));
              return { ...placement, src0 };
            };
          },
        });
      },
    },
  ],
  [
    'an exchange of states is not told',
    'slots',
    'INV-RS-13',
    {
      ...oracleWhite,
      slots: (n) => {
        const slots = oracleWhite.slots(n);
        return new Proxy(slots, {
          get(target, key) {
            const value = Reflect.get(target, key, target);
            if (key !== 'findSlot') return typeof value === 'function' ? value.bind(target) : value;
            return (...args: Parameters<typeof slots.findSlot>) => {
              const placement = target.findSlot(...args);
              return {
                ...placement,
                src0: placement.src0.map((src, i) => (src < 0 ? src : placement.head + i)),
              };
            };
          },
        });
      },
    },
  ],
  [
    'a copy leaves the destination empty',
    'cells',
    'INV-KV-5',
    { ...oracleWhite, cells: (n) => without(oracleWhite.cells(n), 'seqCp') },
  ],
  [
    'keep does nothing',
    'cells',
    'INV-KV-3',
    { ...oracleWhite, cells: (n) => without(oracleWhite.cells(n), 'seqKeep') },
  ],
  [
    'a query does not see itself',
    'mask',
    'INV-MASK',
    {
      ...oracleWhite,
      cells: (n) => {
        const cells = oracleWhite.cells(n);
        return new Proxy(cells, {
          get(target, key) {
            const value = Reflect.get(target, key, target);
            if (key !== 'visible') return typeof value === 'function' ? value.bind(target) : value;
            return (seq: number, pos: number) => target.visible(seq, pos).slice(0, -1);
          },
        });
      },
    },
  ],
  [
    'a query sees the cell of the next position',
    'mask',
    'INV-MASK',
    {
      ...oracleWhite,
      cells: (n) => {
        const cells = oracleWhite.cells(n);
        return new Proxy(cells, {
          get(target, key) {
            const value = Reflect.get(target, key, target);
            if (key !== 'visible') return typeof value === 'function' ? value.bind(target) : value;
            return (seq: number, pos: number) => target.visible(seq, pos + 1);
          },
        });
      },
    },
  ],
  [
    'a window is one too wide',
    'window',
    'window/rules/oracle',
    { ...oracleWhite, windows: (shape) => oracleWhite.windows({ ...shape, windows: wider(shape.windows) }) },
  ],
  [
    'a copy leaves the destination empty',
    'window',
    'window/rules',
    { ...oracleWhite, windows: (shape) => without(oracleWhite.windows(shape), 'seqCp') },
  ],
  [
    'a batch that fails stays',
    'window',
    'window/rules',
    {
      ...oracleWhite,
      windows: (shape) => {
        const memory = oracleWhite.windows(shape);
        return new Proxy(memory, {
          get(target, key) {
            const value = Reflect.get(target, key, target);
            if (key !== 'decode') return typeof value === 'function' ? value.bind(target) : value;
            return (batch: CompleteBatch, options: SplitOptions) => target.decode(batch, options, false);
          },
        });
      },
    },
  ],
  [
    'nothing is refused',
    'window',
    'window/rules/refusals',
    { ...oracleWhite, windows: (shape) => new Careless(shape) },
  ],
];

function wider(windows: CachesShape['windows']): CachesShape['windows'] {
  return windows.map((w) => (w === null ? null : { ...w, size: w.size + 1 }));
}

/** Windows that forget without a word. */
class Careless extends WindowLists {
  override seqRm(...args: Parameters<WindowLists['seqRm']>): void {
    try {
      super.seqRm(...args);
    } catch {
      // Nobody is told.
    }
  }
}

/** A memory whose method of this name does nothing. */
function without<T extends object>(memory: T, name: keyof T): T {
  return new Proxy(memory, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      if (key === name) return () => undefined;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('rules that agree', () => {
  for (const name of names) {
    test(`${name}: the engine's rule is the oracle's, and the invariants hold`, async () => {
      const property = propertyByName(name);
      const e = env(engineWhite);
      const { failed, compared, tokens } = await runCases(property, e, 1500);
      expect(failed?.failure?.message).toBeUndefined();
      expect(compared).toBeGreaterThan(1500);
      expect(tokens / 1500).toBeGreaterThan(['slots', 'cells', 'window'].includes(name) ? 20 : 85);
      expect(missingClasses(e.coverage, property)).toEqual([]);
    });
  }

  test('without rules to look at a case is skipped', async () => {
    const property = propertyByName('split');
    const e = { ...fakeEnv(), white: undefined };
    const outcome = await property.run(e, property.generate(e, 0));
    expect([outcome.status, outcome.compared]).toEqual(['skipped', 0]);
    expect(outcome.reason).toMatch(/does not show/);
  });
});

describe('a rule that lies', () => {
  for (const [lie, name, rule, box] of LIES) {
    test(`${name} notices: ${lie}`, async () => {
      const property = propertyByName(name);
      const e = env(box);
      const { failed } = await runCases(property, e, 3000);
      expect(failed?.failure?.signature).toContain(rule);
      const small = await shrinkGreedily(property, e, failed!, 2000);
      const size = (c: unknown): number => JSON.stringify(c).length;
      expect(size(small.failure!.case)).toBeLessThan(size(failed!.failure!.case) + 1);
      expect((await property.run(env(oracleWhite), small.failure!.case)).status).toBe('passed');
    });

    test(`${name} notices even if the oracle lies alike: ${lie}`, async () => {
      const { failed } = await runCases(propertyByName(name), env(box, box), 3000);
      expect(failed?.status).toBe('failed');
    });
  }
});

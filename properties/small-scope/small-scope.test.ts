import { describe, expect, test } from 'vitest';
import { completeBatch as engineComplete } from '../../engine/batch.ts';
import { engineWhite } from '../../engine/white.ts';
import { completeBatch as oracleComplete } from '../../oracle/batch.ts';
import { oracleWhite } from '../../oracle/white.ts';
import { fakeEnv } from '../testing.ts';
import { forEachPattern, idSets, patternCount } from './enumerate.ts';
import {
  type RulesScope,
  START_STATES,
  smallScope,
  smallScopeEndToEnd,
  smallScopeRules,
  smallScopeSlots,
  startStates,
} from './index.ts';
import { kindOf } from './result.ts';

const scope: RulesScope = {
  subject: engineWhite,
  oracle: oracleWhite,
  complete: { subject: engineComplete as RulesScope['complete']['subject'], oracle: oracleComplete },
};

describe('enumeration', () => {
  test('every list of sets occurs once', () => {
    const seen = new Set<string>();
    forEachPattern(3, 3, (seq_id) => seen.add(JSON.stringify(seq_id)));
    expect(seen.size).toBe(7 + 49 + 343);
    expect(patternCount(3, 3)).toBe(7 + 49 + 343);
    expect(patternCount(3, 4, 2)).toBe(14 + 14 ** 2 + 14 ** 3 + 14 ** 4);
    expect(idSets(3)).toEqual([[0], [1], [0, 1], [2], [0, 2], [1, 2], [0, 1, 2]]);
  });

  test('start states are all arrangements of three sequences in three slots', () => {
    const states = startStates();
    expect(states.length).toBe(START_STATES);
    expect(START_STATES).toBe(64 + 81);
    expect(new Set(states.map((s) => JSON.stringify(s.slot))).size).toBe(64);
  });
});

describe('the whole small scope', () => {
  test('rules: everything that can be said with 4 tokens and 3 sequences', () => {
    const r = smallScopeRules(scope);
    expect(r.failures).toEqual([]);
    expect(r.enumerated).toBe(r.formula);
    expect(r.formula).toBe(41370 * 48);
    expect(r.legal + r.refused).toBe(r.enumerated);
    expect(r.legal).toBeGreaterThan(250_000);
    expect(r.compared).toBeGreaterThan(r.legal);
  });

  test('slots: every start times every batch of 3 tokens', () => {
    const r = smallScopeSlots(scope);
    expect(r.failures).toEqual([]);
    expect(r.enumerated).toBe(r.formula);
    expect(r.formula).toBe(145 * 399 * 15);
    expect(r.legal + r.refused).toBe(r.enumerated);
    expect(r.legal).toBeGreaterThan(100_000);
  });

  test('end to end: each legal batch of 3 tokens says what its sequences say alone', async () => {
    for (const memory of ['attention', 'recurrent'] as const) {
      const r = await smallScopeEndToEnd(fakeEnv(memory), { max_tokens: 3, max_ubatch: 3 });
      expect(r.failures).toEqual([]);
      expect(r.enumerated).toBe(r.formula);
      expect(r.formula).toBe(399 * 18);
      expect(r.legal + r.refused).toBe(r.enumerated);
      expect(r.legal).toBeGreaterThan(1000);
    }
  });
});

test('a subject that chooses its splits by itself need not refuse the name of one', async () => {
  const env = fakeEnv('recurrent');
  const engineLike = await smallScopeEndToEnd(env, { n_seq: 2, max_tokens: 1, max_ubatch: 1 });
  const free = { ...env, subject: { ...env.subject, splits: {} } };
  const r = await smallScopeEndToEnd(free, { n_seq: 2, max_tokens: 1, max_ubatch: 1 });
  expect(r.failures).toEqual([]);
  expect(r.compared).toBeGreaterThan(0);
  expect(r.compared).toBeLessThan(engineLike.compared);
});

describe('a planted fault', () => {
  test('a validation that takes shared tokens of strangers is found', () => {
    const lax: RulesScope['complete']['subject'] = (batch, memory, limits) => {
      try {
        return oracleComplete(batch, memory, limits);
      } catch (error) {
        if ((error as { kind?: string }).kind !== 'batch.shared') throw error;
        return { ...batch, pos: [0], seq_id: [[0]], logits: [true] };
      }
    };
    const r = smallScopeRules({ ...scope, complete: { ...scope.complete, subject: lax }, max_tokens: 3 });
    expect(r.failed).toBeGreaterThan(0);
    expect(r.failures[0]!.where).toMatch(/ids/);
  });

  test('a splitter that takes the sets of a ubatch in reverse is found', () => {
    const subject = {
      ...oracleWhite,
      split: (...args: Parameters<typeof oracleWhite.split>) =>
        oracleWhite.split(...args).map((u) => (u.n_seqs > 1 ? { ...u, index: [...u.index].reverse() } : u)),
    };
    expect(smallScopeRules({ ...scope, subject, max_tokens: 2 }).failed).toBeGreaterThan(0);
  });

  test('a copy on write that forgets the source is found', () => {
    const subject = {
      ...oracleWhite,
      slots: (n: number) => {
        const slots = oracleWhite.slots(n);
        return new Proxy(slots, {
          get(target, key) {
            const value = Reflect.get(target, key, target);
            if (key !== 'findSlot') return typeof value === 'function' ? value.bind(target) : value;
            return (...args: Parameters<typeof slots.findSlot>) => {
              const placement = target.findSlot(...args);
              const { head } = placement;
              return { ...placement, src0: placement.src0.map((src, i) => (src < 0 ? src : head + i)) };
            };
          },
        });
      },
    };
    const r = smallScopeSlots({ ...scope, subject });
    expect(r.failed).toBeGreaterThan(0);
    // The first twenty, and one of each kind.
    const kinds = new Set(r.failures.map((f) => kindOf(f.rule, f.what)));
    expect(r.failures.length).toBeLessThanOrEqual(20 + kinds.size);
    expect(kinds.size).toBeLessThan(10);
  });

  test('a subject with a leak fails end to end, with cases that can be replayed', async () => {
    const r = await smallScopeEndToEnd(fakeEnv('attention', 'leak'), { max_tokens: 2, max_ubatch: 2 });
    expect(r.failed).toBeGreaterThan(0);
    expect(r.failures[0]!.case.script!.calls.length).toBe(1);
  });

  test('one call answers for everything', async () => {
    const env = fakeEnv('attention', 'nan');
    const all = await smallScope({ ...scope, max_tokens: 2 }, [env]);
    expect(Object.keys(all.models)).toEqual(['recipe:fake']);
    expect(all.rules.failed + all.slots.failed).toBe(0);
    // This fault shows from four outputs on, and the models' part goes up to four tokens.
    expect(all.models['recipe:fake']!.failed).toBeGreaterThan(0);
  });
});

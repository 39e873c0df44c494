/**
 * What is said of a planted fault is so: it is hidden from one sequence in one ubatch, from single decodes, from
 * histories without shared tokens or without removals, just as its entry claims, and it shows where it must. A part of
 * the faults a run, and few scripts; all of them, and many scripts, with ISOBATCH_FAULTS=all, or as many scripts for every
 * Nth of them from number K on with ISOBATCH_FAULTS=K/N (a part each night).
 */
import { describe, expect, it } from 'vitest';
import { buildNative } from '../native/build.ts';
import { faults } from './registry.ts';
import { claimsOf, MODELS, SOURCES, witnessed } from './witness.ts';

const part = /^(\d+)\/([1-9]\d*)$/
  .exec(process.env.ISOBATCH_FAULTS ?? '')
  ?.slice(1)
  .map(Number);
const ALL = process.env.ISOBATCH_FAULTS === 'all' || part !== undefined;
const [own, of] = part ?? [0, 1];
const N = ALL ? 100 : 6;
const SEED = 'witness';
const native = 'path' in buildNative();

/** Every sixth one that needs no compiler. */
const few = faults.filter((f) => f.file.endsWith('.ts')).filter((_, i) => i % 6 === 0);
const many = faults.filter((f, i) => i % of! === own! % of! && (native || f.file.endsWith('.ts')));
const chosen = ALL ? many : few;

describe('a planted fault', { timeout: 600_000 }, () => {
  const kinds = ['one ubatch', 'nothing shared', 'nothing reused', 'one decode', 'anything'] as const;
  const healthy = witnessed(kinds, SEED, N);

  it('is held against scripts that do something', () => {
    for (const kind of kinds) {
      const numbers = healthy.get(kind)!;
      expect(numbers).toHaveLength(MODELS.length * SOURCES.length * N);
      // Scripts differ, so what they give does.
      expect(new Set(numbers).size).toBeGreaterThan(10 * N);
    }
  });

  it('would be noticed: what must not show a fault shows one that is not hidden', () => {
    const w = witnessed(['one ubatch'], SEED, 2, { fault: 'canary-nan' });
    expect(w.get('one ubatch')).not.toEqual(witnessed(['one ubatch'], SEED, 2).get('one ubatch'));
  });

  it.each(chosen)('$name is hidden and shows as it is said', (fault) => {
    const { hidden, seen } = claimsOf(fault);
    const all = [...hidden, ...(seen === undefined ? [] : [seen])];
    const { name, model } = fault;
    const w = witnessed(all, SEED, N, { fault: name, model });
    const without = model === undefined ? healthy : witnessed(all, SEED, N, { model });
    for (const kind of hidden) expect(w.get(kind), kind).toEqual(without.get(kind));
    // A few scripts need not be enough; if it killed its process, it showed.
    if (seen !== undefined && ALL) expect(w.get(seen), seen).not.toEqual(without.get(seen));
  });
});

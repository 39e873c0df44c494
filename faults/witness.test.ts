/**
 * What is said of a planted fault is so: it is hidden from one sequence in one ubatch, from single decodes, from
 * histories without shared tokens or without removals, just as its entry claims, and it shows where it must. A part of
 * the faults a run, and few scripts; all of them, and many scripts, with ISOBATCH_FAULTS=all (nightly).
 */
import { describe, expect, it } from 'vitest';
import { buildNative } from '../native/build.ts';
import { faults } from './registry.ts';
import { claimsOf, type Kind, witnessed } from './witness.ts';

const ALL = process.env.ISOBATCH_FAULTS === 'all';
const N = ALL ? 100 : 6;
const SEED = 'witness';
const native = 'path' in buildNative();

/** Every sixth one that needs no compiler. */
const few = faults.filter((f) => f.file.endsWith('.ts')).filter((_, i) => i % 6 === 0);
const chosen = ALL ? faults.filter((f) => native || f.file.endsWith('.ts')) : few;

describe('a planted fault', { timeout: 600_000 }, () => {
  const scripts = ['one ubatch', 'nothing shared', 'nothing reused', 'one decode', 'anything'] as const;
  const kinds: Kind[] = scripts.flatMap((kind): Kind[] => [kind, `${kind}@recipe:gemma2-fuzz`]);
  const healthy = witnessed(kinds, SEED, N);

  it('is held against scripts that do something', () => {
    for (const kind of kinds) {
      const numbers = healthy.get(kind)!;
      const scripts = kind.includes('@') ? 6 * N : 12 * N;
      expect(numbers).toHaveLength(scripts);
      // Scripts differ, so what they give does.
      expect(new Set(numbers).size).toBeGreaterThan(0.4 * scripts);
    }
  });

  it('would be noticed: what must not show a fault shows one that is not hidden', () => {
    const w = witnessed(['one ubatch'], SEED, 2, 'canary-nan');
    expect(w.get('one ubatch')).not.toEqual(witnessed(['one ubatch'], SEED, 2).get('one ubatch'));
  });

  it.each(chosen)('$name is hidden and shows as it is said', (fault) => {
    const { hidden, seen } = claimsOf(fault);
    const w = witnessed([...hidden, ...(seen === undefined ? [] : [seen])], SEED, N, fault.name);
    for (const kind of hidden) expect(w.get(kind), kind).toEqual(healthy.get(kind));
    // A few scripts need not be enough; if it killed its process, it showed.
    if (seen !== undefined && ALL) expect(w.get(seen), seen).not.toEqual(healthy.get(seen));
  });
});

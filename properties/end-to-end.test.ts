import { describe, expect, test } from 'vitest';
import { engineSubject } from '../engine/subject.ts';
import { atomic } from './atomic.ts';
import { missingClasses } from './coverage.ts';
import { incremental } from './incremental.ts';
import { operations } from './operations.ts';
import { permute } from './permute.ts';
import { placement } from './placement.ts';
import { properties, propertyByName } from './registry.ts';
import { reuse } from './reuse.ts';
import { share } from './share.ts';
import { solo } from './solo.ts';
import { type FakeFault, fakeEnv, runCases, shrinkGreedily } from './testing.ts';
import { isSound } from './trace.ts';
import type { Property } from './types.ts';
import { ubatch } from './ubatch.ts';
import { validity } from './validity.ts';

/** Those that compare a subject with itself; `reference` needs a real model and has a test of its own. */
/** The fake subject saves no state, shows no cells and has no encoder. */
const OTHERS = ['reference', 'state', 'torn-state', 'recurrent-cells', 'encoder', 'pooling', 'cross'];
const endToEnd = properties.filter((p) => !p.white && !OTHERS.includes(p.name));

/** Which property must notice which mistake. */
const NOTICES: readonly (readonly [Property, FakeFault, 'attention' | 'recurrent'])[] = [
  [solo, 'leak', 'attention'],
  [solo, 'leak', 'recurrent'],
  [solo, 'nan', 'attention'],
  [ubatch, 'ubatch-edge', 'attention'],
  [ubatch, 'ubatch-edge', 'recurrent'],
  [permute, 'id', 'attention'],
  [permute, 'unsorted-rows', 'recurrent'],
  [incremental, 'batch-edge', 'attention'],
  [share, 'shared', 'attention'],
  [share, 'copy', 'recurrent'],
  [operations, 'suffix', 'attention'],
  [operations, 'stale', 'recurrent'],
  [operations, 'move-all', 'attention'],
  [operations, 'move-all', 'recurrent'],
  [operations, 'late-turn', 'attention'],
  [reuse, 'clear', 'attention'],
  [reuse, 'stale', 'recurrent'],
  [atomic, 'not-atomic', 'attention'],
  [atomic, 'not-atomic', 'recurrent'],
  [placement, 'placement', 'attention'],
  [validity, 'accepts-gap', 'attention'],
  [validity, 'refuses-shared', 'recurrent'],
];

describe('a healthy subject', () => {
  for (const memory of ['attention', 'recurrent'] as const) {
    for (const property of endToEnd) {
      test(`${property.name} holds with ${memory} memory, in all classes`, async () => {
        const env = fakeEnv(memory);
        const { failed, compared, tokens } = await runCases(property, env, 400);
        expect(failed?.failure?.message).toBeUndefined();
        expect(compared).toBeGreaterThan(400 * 100);
        expect(missingClasses(env.coverage, property, { subject: env.subject, memory })).toEqual([]);
        // Tokens a case: enough for a fault to have room.
        expect(tokens / 400).toBeGreaterThan(60);
        expect(tokens / 400).toBeLessThan(95);
      });
    }
  }
});

describe('a planted fault', () => {
  for (const [property, fault, memory] of NOTICES) {
    test(`${property.name} notices ${fault} (${memory}), and it shrinks to a few tokens`, async () => {
      const env = fakeEnv(memory, fault);
      const { failed } = await runCases(property, env, 300);
      expect(failed?.status).toBe('failed');
      const small = await shrinkGreedily(property, env, failed!);
      const { script } = small.failure!.case;
      let tokens = 0;
      for (const call of script!.calls) if (call.op === 'decode') tokens += call.batch.token.length;
      // The fault that only shows in a full memory cannot be small.
      expect(tokens).toBeLessThanOrEqual(fault === 'placement' ? 30 : 8);
      expect(isSound(script!, memory, 16)).toBe(true);
      // Run again from JSON alone, it fails in the same way.
      const again = await property.run(env, JSON.parse(JSON.stringify(small.failure!.case)));
      expect(again.failure?.signature).toBe(small.failure!.signature);
      // On a healthy subject it passes: the case is not illegal by itself.
      const healthy = fakeEnv(memory);
      expect((await property.run(healthy, small.failure!.case)).status).toBe('passed');
    });
  }
});

describe('generation', () => {
  for (const property of properties) {
    test(`${property.name}: a case depends on seed and number only`, () => {
      const cases = (indices: readonly number[], seed: string): string[] => {
        const env = fakeEnv('attention', null, seed);
        return indices.map((i) => JSON.stringify(property.generate(env, i)));
      };
      const forwards = cases([0, 1, 2, 3, 4, 5, 6, 7], 'a');
      expect(cases([7, 6, 5, 4, 3, 2, 1, 0], 'a').reverse()).toEqual(forwards);
      expect(cases([5], 'a')).toEqual([forwards[5]]);
      expect(cases([0, 1, 2, 3, 4, 5, 6, 7], 'b')).not.toEqual(forwards);
      expect(new Set(forwards).size).toBe(forwards.length);
    });
  }

  test('every script is what it says: legal, or refused with the stated kind', () => {
    for (const memory of ['attention', 'recurrent'] as const) {
      const env = fakeEnv(memory);
      for (const property of endToEnd) {
        for (let i = 0; i < 60; i++) {
          const { script, base } = property.generate(env, i);
          expect(isSound(script!, memory, 16), `${property.name} ${i}`).toBe(true);
          if (base !== undefined)
            expect(isSound(base, memory, 16), `base of ${property.name} ${i}`).toBe(true);
        }
      }
    }
  });

  test('restrictions are obeyed', () => {
    const env = { ...fakeEnv(), restrict: { isa: 'slow', split: 'sequence', type_kv: 'F16' } as const };
    for (let i = 0; i < 40; i++) {
      const { params } = solo.generate(env, i).script!;
      expect([params.isa, params.split, params.type_kv]).toEqual(['slow', 'sequence', 'F16']);
    }
  });
});

test('with one policy only, histories are legal under it', () => {
  for (const split of ['equal-sequential', 'whole', 'simple'] as const) {
    const env = { ...fakeEnv(), restrict: { split } };
    for (const property of endToEnd) {
      for (let i = 0; i < 20; i++) {
        expect(isSound(property.generate(env, i).script!, 'attention', 16), `${property.name} ${i}`).toBe(
          true,
        );
      }
    }
  }
  const recurrent = { ...fakeEnv('recurrent'), restrict: { split: 'simple' } as const };
  expect(() => solo.generate(recurrent, 0)).toThrow(/split policy simple cannot be asked of fake/);
});

describe('skipping', () => {
  test('a subject that rounds differently by shape is skipped, with the reason', () => {
    const { subject, model } = fakeEnv();
    for (const property of endToEnd) {
      expect(property.skip(subject, model)).toBeNull();
      const loose = { ...subject, bit_invariant: false };
      expect(property.skip(loose, model)).toMatch(/nor states how it rounds/);
      const rounding = engineSubject().info.rounding!;
      expect(property.skip({ ...loose, rounding }, { ...model, arch: 'llama' })).toBeNull();
      // Without a formula, bounds are measured on copies, of large models too (`noise-light.ts`).
      const foreign = { ...model, arch: 'rwkv9' };
      expect(property.skip({ ...loose, rounding }, foreign)).toBeNull();
      expect(property.skip({ ...loose, rounding }, { ...foreign, n_params: 1e9 })).toBeNull();
    }
    expect(share.skip({ ...subject, shared_tokens: false }, model)).toMatch(/several sequences/);
  });

  test('a subject without shared tokens never gets one', () => {
    const env = fakeEnv();
    const plain = { ...env, subject: { ...env.subject, shared_tokens: false } };
    for (let i = 0; i < 100; i++) {
      for (const call of solo.generate(plain, i).script!.calls) {
        if (call.op === 'decode')
          expect(call.batch.seq_id?.every((ids) => ids.length === 1) ?? true).toBe(true);
      }
    }
  });
});

describe('coverage', () => {
  test('a class that never occurred is missing', () => {
    const env = fakeEnv();
    expect(missingClasses(env.coverage, solo).length).toBeGreaterThan(20);
    const blind = { policies: { simple: 3 } };
    expect(missingClasses(blind, solo)).toContain('policies: whole');
    expect(missingClasses(blind, solo)).not.toContain('policies: simple');
    // What a recurrent memory cannot do is not missed.
    const offered = { subject: env.subject, memory: 'recurrent' } as const;
    expect(missingClasses({}, solo, offered)).not.toContain('policies: simple');
    expect(missingClasses({}, atomic, offered)).not.toContain('refusals: memory.full');
  });
});

test('properties are found by name', () => {
  expect(propertyByName('solo')).toBe(solo);
  expect(() => propertyByName('sole')).toThrow(/unknown property "sole"; known are split/);
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CaseArbitrary } from './arbitrary.ts';
import { propertyByName } from './registry.ts';
import { fakeEnv } from './testing.ts';
import type { Case } from './types.ts';

const tokensOf = (c: Case): number =>
  c.script!.calls.reduce((n, call) => n + (call.op === 'decode' ? call.batch.token.length : 0), 0);

test('fast-check drives random histories of every end-to-end property', async () => {
  for (const name of ['solo', 'share', 'operations', 'atomic', 'placement']) {
    for (const memory of ['attention', 'recurrent'] as const) {
      const property = propertyByName(name);
      const env = fakeEnv(memory);
      await fc.assert(
        fc.asyncProperty(new CaseArbitrary(property, env), async (c) => {
          const outcome = await property.run(env, c);
          return outcome.status === 'passed' && outcome.compared > 0;
        }),
        { numRuns: 60, seed: 8526 },
      );
    }
  }
});

test('fast-check shrinks a planted fault through Property.shrink', async () => {
  const property = propertyByName('solo');
  const env = fakeEnv('attention', 'leak');
  const result = await fc.check(
    fc.asyncProperty(new CaseArbitrary(property, env), async (c) => {
      expect((await property.run(env, c)).status).toBe('passed');
    }),
    { numRuns: 60, seed: 8526 },
  );
  expect(result.failed).toBe(true);
  expect(result.numShrinks).toBeGreaterThan(3);
  // A token of one sequence before a token of another: nothing smaller leaks.
  expect(tokensOf(result.counterexample![0])).toBe(2);
});

import { expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { fakeEnv } from './testing.ts';
import type { Case, Outcome, Property } from './types.ts';
import type { Event } from './worker-messages.ts';
import { runRange } from './worker-run.ts';

const PASSED: Outcome = { status: 'passed', compared: 1, equal: 1, rounding: 0, divergent: 0, tokens: 1 };

/** What a range of two cases counts if each run of a case does the next of these. */
async function told(runs: readonly ('dies' | 'throws' | 'passes')[]): Promise<Record<string, number>> {
  const left = [...runs];
  const property: Property = {
    name: 'solo',
    statement: '',
    white: false,
    classes: {},
    skip: () => null,
    generate: (env, index): Case => ({ version: 1, property: 'solo', model: 'm', seed: env.seed, index }),
    run() {
      const next = left.shift();
      if (next === 'dies')
        throw new IsobatchError('subject', 'the subject was killed by SIGSEGV', { end: 'SIGSEGV' });
      if (next === 'throws') throw new TypeError('planted');
      return PASSED;
    },
    shrink: () => [],
  };
  const events: Event[] = [];
  await runRange(property, fakeEnv(), { first: 0, count: 2, block: 1 }, (event) => events.push(event));
  expect(left).toEqual([]);
  const signatures: Record<string, number> = {};
  for (const event of events)
    if (event.event === 'outcome')
      for (const [name, n] of Object.entries(event.tally.signatures))
        signatures[name] = (signatures[name] ?? 0) + n;
  return signatures;
}

it('a death that comes again is one', async () => {
  expect(await told(['dies', 'dies', 'passes'])).toEqual({ 'solo/llama/died: SIGSEGV': 1 });
});

it('a death that does not come again is told as such', async () => {
  expect(await told(['passes', 'dies', 'passes'])).toEqual({ 'solo/llama/died: SIGSEGV, not repeatable': 1 });
});

it('what is no death is not run again', async () => {
  expect(await told(['throws', 'passes'])).toEqual({ 'solo/llama/threw TypeError': 1 });
});

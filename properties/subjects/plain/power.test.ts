/** The measurement of power counts what it says, with a property that sees every bit and one that sees nothing. */
import { describe, expect, it } from 'vitest';
import { runScript } from '../../run-script.ts';
import { solo } from '../../solo.ts';
import type { Property } from '../../types.ts';
import type { DeviationKind } from './deviation.ts';
import { measurePower, type Power } from './power.ts';
import { main } from './power-main.ts';

/** Keeps the bits of each case when it sees it first, from the right subject, and so sees every change later. */
function allSeeing(): Property {
  const right: string[] = [];
  return {
    ...solo,
    async run(env, c) {
      const { rows, tokens } = await runScript(env.loaded, c.script!);
      const bits = rows.map((row) => row?.bits.join()).join();
      right[c.index] ??= bits;
      const status = bits === right[c.index] ? 'passed' : 'failed';
      return { status, compared: 1, equal: 1, rounding: 0, divergent: 0, tokens };
    },
  };
}
const blind: Property = {
  ...solo,
  run: () => ({ status: 'passed', compared: 1, equal: 1, rounding: 0, divergent: 0, tokens: 1 }),
};

async function measured(property: Property, model: string, cases = 8): Promise<Map<DeviationKind, Power>> {
  const rows = await measurePower({ property, models: [model], cases, seed: 'test' });
  return new Map(rows.map((row) => [row.deviation, row]));
}

describe('measurePower', () => {
  it('rows of the deviations that apply, the right subject first', async () => {
    expect([...(await measured(blind, 'recipe:llama', 1)).keys()]).toEqual([
      'none',
      'weight',
      'dropped-key',
      'eps',
      'f16-kv',
    ]);
    expect([...(await measured(blind, 'recipe:mamba-f16', 1)).keys()]).toEqual([
      'none',
      'weight',
      'eps',
      'softplus',
      'f16-activations',
    ]);
  });

  it('what sees everything finds just what has changed', async () => {
    const rows = await measured(allSeeing(), 'recipe:llama');
    expect(rows.get('none')).toMatchObject({ cases: 8, changed: 0, found: 0, median_sigmas: null });
    expect(rows.get('eps')).toMatchObject({ cases: 8, changed: 8, found: 8 });
    expect(rows.get('weight')!.changed).toBeGreaterThan(3);
    for (const { changed, found } of rows.values()) expect(found).toBe(changed);
  });

  it('what sees nothing finds nothing, though it has changed', async () => {
    const { changed, found } = (await measured(blind, 'recipe:llama', 4)).get('eps')!;
    expect([changed, found]).toEqual([4, 0]);
  });

  it('says so if the property does not apply', async () => {
    const property = { ...blind, skip: () => 'of the weather' };
    await expect(measured(property, 'recipe:llama')).rejects.toThrow(
      'solo does not run on recipe:llama: of the weather',
    );
  });

  it('caches can be kept to one type', async () => {
    const deviations = ['f16-kv'] as const;
    const options = {
      property: blind,
      models: ['recipe:llama'],
      deviations,
      cases: 20,
      seed: 'test',
    } as const;
    const changed = async (type_kv?: 'F32' | 'F16') =>
      (await measurePower({ ...options, type_kv }))[0]!.changed;
    expect([await changed('F16'), await changed('F32')]).toEqual([0, 20]);
    const drawn = await changed();
    expect(drawn).toBeGreaterThan(0);
    expect(drawn).toBeLessThan(20);
  });

  it('each case has another weight', async () => {
    const options = {
      property: blind,
      models: ['recipe:llama'],
      deviations: ['weight'],
      seed: 'test',
    } as const;
    const [few] = await measurePower({ ...options, cases: 40 });
    // Weights of tokens that do not occur change nothing, others do.
    expect(few!.changed).toBeGreaterThan(20);
    expect(few!.changed).toBeLessThanOrEqual(40);
  });
});

describe('power-main', () => {
  const run = async (...args: string[]): Promise<{ code: number; lines: string[] }> => {
    const lines: string[] = [];
    return { code: await main(args, (text) => lines.push(text)), lines };
  };

  it('prints a table', async () => {
    const args = ['2', '--model', 'recipe:llama', '--deviation', 'none', '--deviation', 'eps'];
    const { code, lines } = await run(...args);
    expect(code).toBe(0);
    expect(lines.slice(0, 1)).toEqual(['reference, 2 cases for each row, seed power']);
    expect(lines[2]).toMatch(/^recipe:llama +none +2 +0 +0 +0\.0 % +- +- +\d+\.\d$/);
    expect(lines[3]).toMatch(/^recipe:llama +eps +2 +2 +2 +100\.0 % +100\.0 % +\S+ +\d+\.\d$/);
    expect(lines).toHaveLength(4);
  });

  it.each([
    [['many'], 'whole number'],
    [['--deviation', 'luck'], 'unknown deviation "luck"'],
    [['--kv', 'Q8'], '--kv is F32 or F16'],
    [['--property', 'cells'], 'runs no model'],
    [['--model', 'recipe:none'], 'recipe'],
    [['--fast'], "Unknown option '--fast'"],
  ])('%j', async (args, message) => {
    const { code, lines } = await run(...args);
    expect(code).toBe(2);
    expect(lines.at(-1)).toContain(message);
  });
});

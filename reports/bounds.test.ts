import { describe, expect, it } from 'vitest';
import type { CampaignResult, UnitResult } from '../properties/campaign-result.ts';
import { addBounds, type BoundsTally, emptyBounds, emptyUse, noteUse } from '../properties/verdict.ts';
import { emptyTally } from '../properties/worker-messages.ts';
import { boundLines, boundSummary } from './bounds.ts';

function tallyOf(name: string, shares: readonly number[]): BoundsTally {
  const bounds = emptyBounds();
  bounds.use[name] = emptyUse();
  for (const share of shares) noteUse(bounds.use[name], share);
  return bounds;
}

function unit(property: string, model: string, bounds?: BoundsTally): UnitResult {
  const tally = { ...emptyTally(), bounds };
  return { property, model, white: model === 'rules', status: 'passed', tally, range: [0, 1], busy_s: 1 };
}

const resultOf = (...units: UnitResult[]) => ({ units }) as unknown as CampaignResult;

/** 0.01, 0.02, ... 10: the median is 5, and 99.9 % are below 9.99. */
const ladder = Array.from({ length: 1000 }, (_, i) => (i + 1) / 100);

describe('use of bounds', () => {
  it('is summed up by operator and by model, to the width of a bin', () => {
    const operators = tallyOf('matmul', ladder);
    addBounds(operators, tallyOf('rope', [0, 0, 0]));
    operators.exact = 7;
    const model = { ...tallyOf('recipe:a', [0.25]), ill: 2, escalated: 3, overflow: 4, rerouted: 5 };
    const summary = boundSummary(
      resultOf(unit('kernels', 'rules', operators), unit('solo', 'm'), unit('reference', 'recipe:a', model)),
    );
    expect(Object.keys(summary)).toEqual(['kernels', 'reference']);
    const { matmul, rope } = summary.kernels!.rules!.use;
    expect(matmul).toMatchObject({ elements: 1000, largest: 10 });
    expect(Math.abs(Math.log2(matmul!.median / 5))).toBeLessThan(1 / 8);
    expect(Math.abs(Math.log2(matmul!.most / 9.99))).toBeLessThan(1 / 8);
    expect(matmul!.most).toBeLessThanOrEqual(10);
    expect(rope).toEqual({ elements: 3, median: 0, most: 0, largest: 0 });
    expect(summary.kernels!.rules!.exact).toBe(7);
    const { use, ...counts } = summary.reference!['recipe:a']!;
    expect(counts).toEqual({ exact: 0, ill_conditioned: 2, overflow: 4, escalated: 3, rerouted: 5 });
    expect(use['recipe:a']!.largest).toBe(0.25);
  });

  it('is shown with the rows that were looked at again, and apart for each operator', () => {
    const operators = tallyOf('matmul', [0.5]);
    addBounds(operators, tallyOf('rope', [1e-6]));
    addBounds(operators, { ...emptyBounds(), use: { embed: emptyUse() } });
    const model = { ...tallyOf('recipe:a', [0.25, 0.25]), ill: 2, escalated: 3000 };
    const lines = boundLines(
      resultOf(unit('kernels', 'rules', operators), unit('reference', 'recipe:a', model)),
    );
    expect(lines.map((line) => line.split(/ {2,}/).join('|'))).toEqual([
      'use of bounds|elements|median|99.9 %|largest|ill-conditioned|escalated',
      expect.stringMatching(/^kernels\|matmul\|1\|0\.(50|4\d)\|0\.(50|4\d)\|0\.50\|-\|-$/),
      expect.stringMatching(/^kernels\|rope\|1\|[\d.]+e-[67]\|[\d.]+e-[67]\|1\.0e-6\|-\|-$/),
      expect.stringMatching(/^reference\|recipe:a\|2\|0\.2\d\|0\.2\d\|0\.25\|2\|3,000$/),
    ]);
  });

  it('is nothing where no bound was derived', () => {
    expect(boundLines(resultOf(unit('solo', 'm')))).toEqual([]);
    expect(boundSummary(resultOf(unit('solo', 'm')))).toEqual({});
  });
});

/** A mixture of experts by hand, and its error rules against exact sensitivities (spec: verdicts.md 2). */
import { describe, expect, it } from 'vitest';
import type { RoundingProfile } from '../contract/subject.ts';
import { expertWeights, weightedSum } from './experts.ts';
import { carriedLogits, logits, roundedLogits } from './forward.ts';
import { keyed, one, type Rounding, recorder } from './rounding.ts';
import { Routes } from './routes.ts';
import { microLlama } from './testing.ts';
import { entriesOf } from './testing-plain.ts';

const PROFILE: RoundingProfile = {
  fma: true,
  products: { order: 'blocks', size: 64 },
  rows: { order: 'lanes', lanes: 16 },
  keys: { order: 'blocks', size: 256 },
  rope: 'F64',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'logistic',
  kv: 'as asked',
};

const f = (...x: number[]) => Float64Array.from(x);

it('weights of the chosen are their shares, renormalised; rows are summed with them', () => {
  const weights = expertWeights(f(Math.log(1), Math.log(6), Math.log(2), Math.log(3)), [1, 2], undefined);
  expect([...weights]).toEqual([expect.closeTo(6 / 8, 14), expect.closeTo(2 / 8, 14)]);
  const all = expertWeights(f(Math.log(1), Math.log(6), Math.log(2), Math.log(3)), [1, 2], undefined, 'all');
  expect([...all]).toEqual([expect.closeTo(6 / 12, 14), expect.closeTo(2 / 12, 14)]);
  expect([...weightedSum(f(0.75, 0.25), [f(4, 8), f(-4, 16)])]).toEqual([2, 10]);
});

/** Of a few models of a hundred weights, each logit of the second of two tokens: estimated over exact deviations. */
function deviations() {
  const found = { carried: [] as number[], keyed: [] as number[] };
  for (let seed = 1; seed <= 6; seed++) {
    const model = microLlama(seed, { n_layer: 2, n_expert: 5 });
    const entries = [entriesOf([3, 1]).at(-1)!];
    const routes = new Routes();
    logits(model, entries, { noted: routes });
    // A moved logit must not choose other experts: that is what forks are for.
    const run = (rounding: Rounding) => roundedLogits(model, entries, rounding, { routes })[0]!;
    const places = recorder(PROFILE);
    const plain = run(places);
    const variance = new Float64Array(plain.length);
    places.sites.forEach(([, sigma], k) => {
      const moved = sigma === 0 ? plain : run(one(k, 256 * sigma, PROFILE));
      for (let j = 0; j < plain.length; j++) variance[j]! += ((moved[j]! - plain[j]!) / 256) ** 2;
    });
    const squares = new Float64Array(plain.length);
    for (let draw = 0; draw < 64; draw++) {
      const y = run(keyed(draw, PROFILE));
      for (let j = 0; j < y.length; j++) squares[j]! += (y[j]! - plain[j]!) ** 2 / 64;
    }
    const [row] = carriedLogits(model, entries, PROFILE);
    expect(row!.v).toEqual(plain);
    variance.forEach((exact, j) => {
      found.carried.push(Math.sqrt(row!.s[j]! / exact));
      found.keyed.push(Math.sqrt(squares[j]! / exact));
    });
  }
  return found;
}

describe('errors of a model with experts', () => {
  const { carried, keyed: drawn } = deviations();
  const sorted = (list: readonly number[]) => [...list].sort((a, b) => a - b);

  it('the variance pass is right to a factor', () => {
    const all = sorted(carried);
    expect(all[0]).toBeGreaterThan(0.45);
    expect(all[all.length >> 1]).toBeGreaterThan(0.85);
    expect(all[all.length >> 1]).toBeLessThan(1.25);
    expect(all.at(-1)).toBeLessThan(2.3);
  });

  it('64 keyed runs are right to a factor', () => {
    const all = sorted(drawn);
    expect(all[0]).toBeGreaterThan(0.6);
    expect(all[all.length >> 1]).toBeCloseTo(1, 0);
    expect(all.at(-1)).toBeLessThan(1.5);
  });
});

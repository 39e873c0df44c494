/**
 * The oracle's operators against ONNX Runtime: every comparison of the suite holds, and notices the errors planted into
 * it. Where ONNX Runtime cannot be loaded, ISOBATCH_WITHOUT_ONNX=1 says that this is meant; without it that is a failure,
 * so that a broken install never passes for an agreement.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { limitUlps, type Measured, measure } from './comparison.ts';
import { float64 } from './feeds.ts';
import { node } from './graph.ts';
import { loadOnnxRuntime, type OnnxRuntime } from './runtime.ts';
import { COMPARISONS } from './suite.ts';

const loaded = await loadOnnxRuntime();
const missing = 'missing' in loaded ? loaded.missing : undefined;
const runtime = loaded as OnnxRuntime;

it.skipIf(process.env.ISOBATCH_WITHOUT_ONNX)('ONNX Runtime is there, so nothing below is skipped', () => {
  expect(missing, 'set ISOBATCH_WITHOUT_ONNX=1 to test without it').toBeUndefined();
});

describe.skipIf(missing)(`operators against ONNX Runtime${missing ? ` (skipped: ${missing})` : ''}`, () => {
  describe.each(COMPARISONS.map((comparison) => ({ comparison, ...comparison })))(
    '$name and $ort in $type',
    ({ comparison }) => {
      let measured: Measured;
      beforeAll(async () => {
        measured = await measure(comparison, runtime);
      });

      it('agree', () => {
        const { worst, worst_shape } = measured;
        expect(worst.ulps, `at ${JSON.stringify(worst_shape)}`).toBeLessThanOrEqual(limitUlps(comparison));
        // Two float implementations that never differ would be one and the same.
        expect(worst.ulps).toBeGreaterThan(0);
      });

      it('were given at least 50 shapes, from 1 on', () => {
        expect(measured.n_shapes).toBeGreaterThanOrEqual(50);
        expect(Object.values(measured.ranges).some(([low]) => low === 1)).toBe(true);
      });

      it('notice every planted error', () => {
        const { caught, n_trials } = measured;
        const { 'one element moved': moved, ...errors } = caught;
        expect(moved).toBe(n_trials);
        expect(Object.keys(errors).length).toBeGreaterThanOrEqual(2);
        // No error changes every shape (one key, one position, one head), but each changes many.
        for (const [error, n] of Object.entries(errors)) {
          expect(n, error).toBeGreaterThanOrEqual(20);
        }
      });
    },
  );

  it('include a matrix product over 4,096 terms', async () => {
    const { ranges } = await measure(COMPARISONS.find(({ name }) => name === 'matVec')!, runtime);
    expect(ranges).toMatchObject({ n_in: [1, 4096], n_out: [1, 4096] });
  });

  it('run the graph that is given', async () => {
    const graph = {
      nodes: [node('Sub', ['a', 'two'], 'y')],
      inputs: { a: 'float64' },
      outputs: { y: 'float64' },
      constants: { two: { type: 'float64', value: 2 } },
    } as const;
    const results = await runtime.run(graph, { a: float64(Float64Array.of(1, 2 + 2 ** -50), 2) });
    expect(results.y).toEqual(Float64Array.of(-1, 2 ** -50));
  });
});

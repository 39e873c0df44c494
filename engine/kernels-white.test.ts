import { describe, expect, test } from 'vitest';
import type { OperatorInput } from '../contract/operators.ts';
import { type KernelSet, loadKernels } from '../native/binding.ts';
import type { Memory } from '../native/plan.ts';
import { makeKernelBox } from './kernels-white.ts';

const set = loadKernels();

/** The portable kernels, after which somebody writes to memory. */
function spoiled(spoil: (memory: Memory) => void): KernelSet {
  return {
    native: set.native,
    isas: ['portable'],
    get: (isa) => ({
      isa,
      run(plan, n_ops, dims, memory) {
        const status = set.get(isa).run(plan, n_ops, dims, memory);
        spoil(memory);
        return status;
      },
    }),
    fmaPeak: set.fmaPeak,
    threadSeconds: set.threadSeconds,
    floatControl: set.floatControl,
  };
}

const silu = (x: number) => x / (1 + Math.exp(-x));
const rows: OperatorInput = {
  op: 'siluMul',
  n: 5,
  rows: 2,
  gate: Float32Array.from({ length: 10 }, (_, i) => i - 4),
  up: new Float32Array(10).fill(2),
};

describe('the box of kernels', () => {
  test('answers rows without what is behind them', () => {
    const box = makeKernelBox(() => set);
    expect(box.isas).toEqual(set.isas);
    for (const isa of box.isas) {
      const [output] = box.run(isa, rows);
      expect([output!.name, output!.n, output!.values.length]).toEqual(['result', 5, 10]);
      output!.values.forEach((y, i) => {
        expect(y).toBeCloseTo(2 * silu(i - 4), 5);
      });
    }
  });

  test('refuses a row that does not end in zeros', () => {
    const box = makeKernelBox(() =>
      spoiled(({ act }) => {
        act[16 + 7] = 3;
      }),
    );
    expect(() => box.run('portable', rows)).toThrow('3 stands behind the last column of row 1');
  });

  test('leaves NaN where no kernel wrote', () => {
    const box = makeKernelBox(() => ({
      ...spoiled(() => undefined),
      get: (isa) => ({ isa, run: () => 0 }),
    }));
    const store = box.run('portable', { op: 'kvStore', n: 2, rows: 2, type: 'F16', x: new Float32Array(4) });
    expect([...store[0]!.values].every(Number.isNaN)).toBe(true);
    expect(() => box.run('portable', rows)).toThrow('NaN stands behind');
  });

  test('refuses what F16 cannot hold, and implementations that there are not', () => {
    const box = makeKernelBox(() => set);
    const x = Float32Array.of(1, 70_000);
    const refused = expect.objectContaining({ kind: 'memory.overflow' });
    expect(() => box.run('portable', { op: 'kvStore', n: 2, rows: 1, type: 'F16', x })).toThrow(refused);
    expect(() => box.run('none', rows)).toThrow(expect.objectContaining({ kind: 'usage' }));
  });
});

/** Building and binding: the cache, patches that must match, machines without a compiler, the float environment. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { loadKernels } from './binding.ts';
import { buildNative } from './build.ts';
import { DIM, firstDifference, Layout, Random, runOn } from './testkit.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

function thrown(f: () => unknown): IsobatchError {
  try {
    f();
  } catch (error) {
    if (error instanceof IsobatchError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const native = loadKernels().native;

describe('buildNative', () => {
  test.skipIf('unavailable' in native)('builds once, then takes the library from the cache', () => {
    const first = buildNative() as { path: string };
    const before = statSync(first.path).mtimeMs;
    const begin = performance.now();
    expect(buildNative()).toEqual(first);
    expect(performance.now() - begin).toBeLessThan(1000);
    expect(statSync(first.path).mtimeMs).toBe(before);
  });

  test('refuses a patch that does not match exactly once, with or without a compiler', () => {
    for (const disabled of ['0', '1']) {
      vi.stubEnv('ISOBATCH_NO_NATIVE', disabled);
      const gone = { file: 'native/rows.inl.h', find: 'no such text', replace: '' };
      const error = thrown(() => buildNative({ patches: [gone] }));
      expect(error.kind).toBe('usage');
      expect(error.message).toContain('native/rows.inl.h');
      expect(error.message).toContain('no such text');
      expect(thrown(() => buildNative({ patches: [{ ...gone, find: 'const' }] })).message).toMatch(
        /occurs \d+ times/,
      );
      expect(thrown(() => buildNative({ patches: [{ ...gone, file: 'native/none.h' }] })).kind).toBe('usage');
    }
  });

  test('says why there is no library', () => {
    vi.stubEnv('ISOBATCH_NO_NATIVE', '1');
    expect(buildNative()).toEqual({ unavailable: 'ISOBATCH_NO_NATIVE=1' });
    const set = loadKernels();
    expect(set.isas).toEqual(['portable']);
    expect(thrown(() => set.get('avx2')).message).toContain('ISOBATCH_NO_NATIVE=1');
    vi.stubEnv('ISOBATCH_NO_NATIVE', '');
    vi.stubEnv('ISOBATCH_CXX', 'no-such-compiler');
    const missing = buildNative();
    expect('unavailable' in missing && missing.unavailable).toContain('no-such-compiler');
  });

  test.skipIf('unavailable' in native)('does not wait for a builder that was killed', () => {
    const patches = [{ file: 'native/isobatch.cpp', find: 'return 1; }', replace: 'return 1 + 0; }' }];
    const built = buildNative({ patches }) as { path: string };
    rmSync(built.path);
    const lock = `${built.path}.lock`;
    mkdirSync(lock);
    // A process that has ended.
    writeFileSync(join(lock, 'owner'), `${hostname()} ${spawnSync(process.execPath, ['-e', '']).pid}`);
    expect(buildNative({ patches })).toEqual(built);
    expect([existsSync(built.path), existsSync(lock)]).toEqual([true, false]);
  });

  test.skipIf('unavailable' in native)('gives the last lines of a compiler that fails', () => {
    const broken = { file: 'native/isobatch.cpp', find: 'return 1; }', replace: 'return nonsense; }' };
    const result = buildNative({ patches: [broken] });
    expect('unavailable' in result && result.unavailable).toContain('nonsense');
    const error = thrown(() => loadKernels({ patches: [broken] }));
    expect([error.kind, error.message]).toEqual(['native', expect.stringContaining('nonsense')]);
  });

  test.skipIf('unavailable' in native)(
    'refuses a library of another interface version, or none at all',
    () => {
      const other = { file: 'native/isobatch.cpp', find: 'return 1; }', replace: 'return 7; }' };
      const set = loadKernels({ patches: [other] });
      expect('unavailable' in set.native && set.native.unavailable).toContain('interface version 7');
      expect(thrown(() => loadKernels({ path: '/nowhere/lib.so' })).kind).toBe('native');
    },
  );
});

describe.skipIf('unavailable' in native)('a native run', () => {
  /** One norm whose result is denormal, which FTZ would flush and rounding up would change. */
  function sensitive(): Layout {
    const layout = new Layout();
    layout.dims[DIM.tokens] = 1;
    const src = layout.rows(
      new Random(5).floats(48).map((x) => x * 1e-38),
      48,
    );
    layout.plan.rmsNorm({
      rows: DIM.tokens,
      src,
      srcStride: 48,
      dst: src,
      dstStride: 48,
      n: 48,
      weight: -1,
      eps: 2,
    });
    return layout;
  }

  test.skipIf(process.arch !== 'x64')('sets the floating-point environment and restores it', () => {
    const set = loadKernels();
    const layout = sensitive();
    const expected = runOn('portable', layout).memory.act;
    const word = set.floatControl();
    // Flush to zero, denormals are zero, round up.
    const hostile = (word | 0x8040 | 0x4000) & ~0x3f;
    try {
      for (const isa of set.isas.slice(1)) {
        const memory = layout.memory();
        set.floatControl(hostile);
        set.get(isa).run(layout.plan.build(), 1, layout.dims, memory);
        const after = set.floatControl();
        set.floatControl(word);
        expect(after & ~0x3f).toBe(hostile);
        expect(firstDifference(memory.act, expected)).toBeNull();
      }
    } finally {
      set.floatControl(word);
    }
    expect(expected[0]).not.toBe(0);
    expect(Math.abs(expected[0]!)).toBeLessThan(1.2e-38);
  });

  test('measures peaks and CPU time', () => {
    const set = loadKernels();
    const begin = set.threadSeconds();
    for (const isa of set.isas.slice(1)) expect(set.fmaPeak(isa, 0.002)).toBeGreaterThan(0.01);
    expect(set.threadSeconds()).toBeGreaterThanOrEqual(begin + 0.002 * (set.isas.length - 1));
  });

  test('follows the caller from one set of buffers to another', () => {
    const layout = sensitive();
    const plan = layout.plan.build();
    const kernels = loadKernels().get('scalar');
    const [a, b] = [layout.memory(), layout.memory()];
    for (const memory of [a, b, { ...a, act: a.act.slice() }, a]) {
      const before = memory.act.slice();
      expect(kernels.run(plan, 1, layout.dims, memory)).toBe(0);
      expect(firstDifference(before, memory.act)).not.toBeNull();
    }
  });
});

/**
 * A campaign finds planted faults and canaries, is green without, and says so. A part of the faults a run; all of them
 * with `isobatch verify --fault all` (nightly).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildNative } from '../native/build.ts';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
let out: string;
beforeAll(() => {
  out = mkdtempSync(join(tmpdir(), 'isobatch-faults-'));
});
afterAll(() => rmSync(out, { recursive: true }));

/** A short campaign on both fuzz models. */
function cli(...args: string[]): { status: number | null; text: string } {
  const models = ['--model', 'recipe:llama', '--model', 'recipe:mamba'];
  const limits = ['--cases', '256', '--jobs', '1', '--shrink-seconds', '0', '--quiet', '--out', out];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [MAIN, 'verify', ...models, ...limits, ...args],
    {
      encoding: 'utf8',
    },
  );
  return { status, text: stdout + stderr };
}

const native = 'path' in buildNative();
/** One of each kind of place and of each kind of failure; the kernel is compiled once and cached. */
const CHOSEN = [
  'split-contiguous',
  'cells-owner-lost',
  'outputs-stale-view',
  'batch-stale-cursor',
  ...(native ? ['conv-short-chunk'] : []),
  'canary-kills',
  'canary-accepts-illegal',
];

describe('the campaign', { timeout: 240_000 }, () => {
  test('is green on the healthy engine', () => {
    const { status, text } = cli('--cases', '32');
    expect(text).toContain('engine holds');
    expect(status).toBe(0);
  });

  test.each(CHOSEN)('finds %s', (name) => {
    const { status } = cli('--fault', name, '--max-failures', '1');
    expect(status).toBe(1);
    const { properties } = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'));
    expect(Object.values(properties).map((p) => (p as { status: string }).status)).toContain('failed');
  });
});

describe('the fault table', { timeout: 240_000 }, () => {
  const rows = () => JSON.parse(readFileSync(join(out, 'faults.json'), 'utf8')).faults;

  test('has three seeds a fault, where and how soon it was found, and how small it became', () => {
    const { status, text } = cli('--fault', 'outputs-stale-r*', '--shrink-seconds', '2');
    expect(text).toMatch(/^1 of 1 planted faults found, median \d+\.\d\d s\n$/);
    expect(status).toBe(0);
    const [row] = rows();
    expect(row).toMatchObject({ name: 'outputs-stale-rows', kind: 'fault', status: 'found' });
    expect(row.runs.map((run: { seed: string }) => run.seed)).toEqual([
      'isobatch-1',
      'isobatch-2',
      'isobatch-3',
    ]);
    for (const run of row.runs) {
      expect(run).toMatchObject({ found: true, property: expect.any(String), signature: expect.any(String) });
      expect(run.cases).toBeGreaterThan(0);
      expect(run.seconds).toBeGreaterThan(0);
    }
    expect(row.shrunk.tokens).toBeLessThanOrEqual(6);
    expect(row.shrunk.calls).toBe(1);
  });

  test('answers 1 if a fault is not found, and if an equivalent mutant is', () => {
    // Nothing of what this property looks at is wrong.
    const missed = cli('--fault', 'canary-n*', '--property', 'mask');
    expect(missed.text).toContain('0 of 1 canaries found');
    expect(missed.status).toBe(1);
    const green = cli('--fault', 'equivalent-s*', '--property', 'mask');
    expect(green.text).toMatch(/equivalent-search green after 256 cases/);
    expect(green.status).toBe(0);
  });

  test('answers 2 if nothing has such a name', () => {
    expect(cli('--fault', 'nonsense-*')).toEqual({
      status: 2,
      text: expect.stringContaining('no planted fault is named like nonsense-*'),
    });
  });
});

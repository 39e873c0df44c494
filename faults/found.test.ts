/** Every planted fault turns a campaign red; without one, the same campaign is green. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildNative } from '../native/build.ts';
import { faults } from './registry.ts';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
let out: string;
beforeAll(() => {
  out = mkdtempSync(join(tmpdir(), 'isobatch-faults-'));
});
afterAll(() => rmSync(out, { recursive: true }));

/** A short campaign on both fuzz models: exit code, and the properties that failed. */
function campaign(...args: string[]): { status: number | null; failed: string[] } {
  const models = ['--model', 'recipe:llama', '--model', 'recipe:mamba'];
  const limits = ['--cases', '256', '--shrink-seconds', '0', '--max-failures', '1', '--quiet', '--out', out];
  const { status } = spawnSync(process.execPath, [MAIN, 'verify', ...models, ...limits, ...args]);
  const { properties } = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'));
  const failed = Object.keys(properties).filter((name) => properties[name].status === 'failed');
  return { status, failed };
}

const native = 'path' in buildNative();

describe('the campaign', { timeout: 240_000 }, () => {
  test('is green on the healthy engine', () => {
    expect(campaign()).toEqual({ status: 0, failed: [] });
  });

  test.each(faults.filter((f) => native || f.file.endsWith('.ts')))('finds $name', ({ name }) => {
    const { status, failed } = campaign('--fault', name);
    expect(status).toBe(1);
    expect(failed).not.toEqual([]);
  });
});

test('there are at least six, in six different files, and each names the bug that it stands for', () => {
  expect(new Set(faults.map((f) => f.file)).size).toBeGreaterThanOrEqual(6);
  expect(faults.every((f) => f.standsFor.length > 10)).toBe(true);
});

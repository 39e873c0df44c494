/** `isobatch releases`: the exit code, an interruption, and one release that was fetched before. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { platformRefusal } from '../properties/subjects/llama/builds.ts';
import { cachedRelease } from '../properties/subjects/llama/cache.ts';
import { RULES } from '../properties/subjects/llama/releases.ts';
import type { MatrixCell, ReleasesRecord } from '../reports/releases-record.ts';
import { exitCodeOfReleases, runReleases } from './releases.ts';
import type { Io } from './types.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-releases-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function collect(signal: AbortSignal = new AbortController().signal): { io: Io; text: () => string } {
  let all = '';
  const stream = { write: (part: string) => (all += part) };
  return { io: { out: stream, err: stream, signal }, text: () => all };
}

const args = (text: Record<string, string>, list: Record<string, string[]> = {}) => ({
  text,
  list,
  flag: {},
  positionals: [],
});

describe('the exit code', () => {
  const cell = (status: MatrixCell['status'], compared = 1) =>
    ({ status, compared }) as unknown as MatrixCell;
  const record = (cells: readonly MatrixCell[], more: Partial<ReleasesRecord> = {}): ReleasesRecord =>
    ({
      cells,
      releases: [{ name: 'b1', cases: 1 }],
      interrupted: false,
      ...more,
    }) as unknown as ReleasesRecord;

  it('is 1 for a red cell, also if interrupted; 4 if interrupted; 3 if nothing ran', () => {
    expect(exitCodeOfReleases(record([cell('passed'), cell('skipped', 0)]))).toBe(0);
    expect(exitCodeOfReleases(record([cell('passed'), cell('failed')], { interrupted: true }))).toBe(1);
    expect(exitCodeOfReleases(record([cell('passed')], { interrupted: true }))).toBe(4);
    expect(exitCodeOfReleases(record([cell('not loaded', 0)]))).toBe(3);
    const gone = [{ name: 'b1', cases: 0, error: 'no network' }];
    expect(exitCodeOfReleases(record([cell('passed')], { releases: gone }))).toBe(3);
  });
});

it('--legal prints the table of legal differences, and runs nothing', async () => {
  const { io, text } = collect();
  const asked = { ...args({ out: join(dir, 'none') }), flag: { legal: true } };
  expect(await runReleases(asked, io)).toBe(0);
  expect(existsSync(join(dir, 'none'))).toBe(false);
  expect(text().trimEnd().split('\n').length).toBe(2 * RULES.length);
  expect(text()).toMatch(
    /^unshared hybrid \(b8095 to b8352\): hybrid memory takes no tokens of several sequences\n {2}https:\S+16442,/m,
  );
});

const here = platformRefusal() === undefined;
describe.skipIf(!here)(`on this platform${here ? '' : ' (skipped: Linux x86-64 only)'}`, () => {
  it('an interrupted run writes what it has', async () => {
    const stop = new AbortController();
    stop.abort();
    const { io } = collect(stop.signal);
    expect(await runReleases(args({ out: join(dir, 'cut') }), io)).toBe(4);
    const record = JSON.parse(readFileSync(join(dir, 'cut', 'releases.json'), 'utf8'));
    expect(record).toMatchObject({ interrupted: true, releases: [], cells: [] });
  });

  it('refuses what nobody knows before anything runs', async () => {
    const { io } = collect();
    await expect(runReleases(args({ from: 'b1' }), io)).rejects.toMatchObject({ kind: 'usage' });
    const backwards = args({ from: 'v0.5.0', to: 'b3889' });
    await expect(runReleases(backwards, io)).rejects.toMatchObject({ kind: 'usage' });
    const model = args({}, { model: ['recipe:nobody'] });
    await expect(runReleases(model, io)).rejects.toMatchObject({ kind: 'usage' });
  });

  const ready = cachedRelease('v0.5.0') !== null;
  it.skipIf(!ready)(
    `runs the campaign and keeps the matrix${ready ? '' : ' (skipped: v0.5.0 was not fetched)'}`,
    async () => {
      const out = join(dir, 'one');
      const { io, text } = collect();
      const words = { from: 'v0.5.0', to: 'v0.5.0', cases: '3', jobs: '1', out };
      const list = { model: ['recipe:llama-loadable', 'recipe:llama'], property: ['solo'] };
      expect(await runReleases(args(words, list), io)).toBe(0);
      const record: ReleasesRecord = JSON.parse(readFileSync(join(out, 'releases.json'), 'utf8'));
      expect(record.cells).toEqual([
        expect.objectContaining({ arch: 'llama', property: 'solo', status: 'passed', cases: 6 }),
      ]);
      expect(text()).toMatch(/llama +v0\.5\.0\n {2}solo +6\n/);
      expect(existsSync(join(out, 'v0.5.0', 'summary.json'))).toBe(true);
      const unknown = args(words, { property: ['nobody'], model: ['recipe:llama-loadable'] });
      await expect(runReleases(unknown, io)).rejects.toMatchObject({ kind: 'usage' });
    },
  );
});

/** What a bisection concludes from its runs, and one on releases that were fetched before. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Replayed } from '../properties/campaign-replay.ts';
import { platformRefusal } from '../properties/subjects/llama/builds.ts';
import { cachedRelease } from '../properties/subjects/llama/cache.ts';
import { caseOf, DIED, failureAt, LLAMA, PAIR } from '../properties/subjects/llama/export/testing.ts';
import type { Outcome } from '../properties/types.ts';
import { readBisect, summaryLine } from '../reports/bisect-record.ts';
import type { CaseFile } from '../reports/case-file.ts';
import { bisectRecord, exitCodeOfBisect, runBisect, verdictOf } from './bisect.ts';
import type { Io } from './types.ts';

const c = caseOf({ ...PAIR, params: { ...PAIR.params, kv_unified: false } }, { alone: [] });
const { signature } = failureAt(1);
const counts = { equal: 0, rounding: 0, divergent: 0, tokens: 4 };
const passed: Outcome = { status: 'passed', compared: 5, ...counts };
const failedWith = (what: string): Outcome => ({
  status: 'failed',
  compared: 5,
  ...counts,
  failure: { case: c, ...failureAt(1), message: 'm', signature: what },
});
const subject = (types_kv: readonly string[], choices = {}) =>
  ({ types_kv, choices }) as unknown as NonNullable<Replayed['subject']>;
const all = subject(['F32', 'F16'], { kv_unified: [false, true] });

const fileOf = (over: Partial<CaseFile> = {}): CaseFile => ({
  isobatch_case: 2,
  isobatch: '0.1.0',
  case: c,
  failure: failureAt(1),
  seed: 's',
  index: 0,
  model: c.model,
  model_sha256: '',
  model_info: LLAMA,
  subject: { kind: 'llama', lib: 'v0.5.0' },
  subject_info: { name: 'llama.cpp', version: 'v0.5.0', splits: {} },
  replay: 'r',
  again: 'a',
  ...over,
});

describe('what one release says', () => {
  it('is by the signature of the case', () => {
    expect(verdictOf(c, signature, { outcome: passed, subject: all })).toEqual({ verdict: 'passes' });
    const same = verdictOf(c, signature, { outcome: failedWith(signature), subject: all });
    expect(same).toEqual({ verdict: 'fails in the same way' });
    const other = verdictOf(c, signature, { outcome: failedWith('solo/llama/259/position'), subject: all });
    expect(other).toEqual({ verdict: 'fails otherwise', detail: 'm' });
  });

  it('is no pass where nothing was compared, or not what the case asks for', () => {
    const idle: Outcome = { status: 'passed', compared: 0, ...counts };
    expect(verdictOf(c, signature, { outcome: idle, subject: all }).verdict).toBe('cannot run');
    const skipped: Outcome = { status: 'skipped', reason: 'why', compared: 0, ...counts };
    expect(verdictOf(c, signature, { outcome: skipped }).detail).toBe('why');
    const f32 = caseOf({ ...PAIR, params: { ...PAIR.params, type_kv: 'F32' } });
    const run = { outcome: failedWith(signature), subject: subject(['F16']) };
    expect(verdictOf(f32, signature, run)).toEqual({
      verdict: 'cannot run',
      detail: 'it keeps K and V in F16 only',
    });
    expect(verdictOf(c, signature, { outcome: passed, subject: subject(['F16']) })).toEqual({
      verdict: 'passes',
      detail: 'it has no choice of kv_unified',
    });
  });
});

describe('a bisection', () => {
  const found = (...verdicts: readonly Parameters<typeof bisectRecord>[1][number]['verdict'][]) =>
    bisectRecord(
      fileOf(),
      verdicts.map((verdict, i) => ({ name: `b${i}`, verdict })),
      false,
    );

  it('names the first and the last release that fail, and ends by the newest that ran', () => {
    const gone = found('cannot run', 'fails in the same way', 'fails otherwise', 'passes', 'cannot run');
    expect(summaryLine(gone)).toBe('first failing b1, last failing b2');
    expect(exitCodeOfBisect(gone)).toBe(0);
    const there = found('passes', 'fails in the same way');
    expect(exitCodeOfBisect(there)).toBe(1);
    expect(summaryLine(found('passes', 'passes'))).toBe('it fails in none of the 2 releases that ran it');
    expect(exitCodeOfBisect(found('cannot run'))).toBe(3);
    expect(summaryLine(found('cannot run'))).toBe('it ran on none of these releases');
    expect(exitCodeOfBisect({ ...there, interrupted: true })).toBe(4);
  });

  const here = platformRefusal() === undefined;
  const ready = here && cachedRelease('b8352') !== null && cachedRelease('v0.5.0') !== null;
  it.skipIf(!ready)(
    `runs the case on each release and keeps the record${ready ? '' : ' (skipped: releases were not fetched)'}`,
    async () => {
      const dir = mkdtempSync(join(tmpdir(), 'isobatch-bisect-'));
      const path = join(dir, 'case.json');
      const planted = caseOf(PAIR, { alone: [{ call: 0, index: 3, tokens: [7, 9] }] });
      const file = fileOf({ case: planted });
      writeFileSync(path, JSON.stringify(file));
      let text = '';
      const stream = { write: (part: string) => (text += part) };
      const io: Io = { out: stream, err: stream, signal: new AbortController().signal };
      const args = {
        text: { from: 'b8352', to: 'v0.5.0', out: dir },
        list: {},
        flag: {},
        positionals: [path],
      };
      // The wanted row is that of other tokens, so it fails everywhere.
      expect(await runBisect(args, io)).toBe(1);
      expect(text).toContain('b8352   fails in the same way\nv0.5.0  fails in the same way\n');
      expect(text).toContain('first failing b8352, last failing v0.5.0');
      expect(readBisect(join(dir, 'bisect.json'), planted)?.first_failing).toBe('b8352');
      expect(readBisect(join(dir, 'bisect.json'), c)).toBeUndefined();
      expect(JSON.parse(readFileSync(join(dir, 'bisect.json'), 'utf8')).signature).toBe(signature);
      rmSync(dir, { recursive: true });
    },
  );

  it('refuses a case that asks a rule inside of a subject', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'isobatch-bisect-'));
    const path = join(dir, 'case.json');
    const own = { ...caseOf(undefined, { white: {}, model: 'rules' }), property: 'mine' };
    writeFileSync(
      path,
      JSON.stringify(fileOf({ case: own, properties_module: 'm', failure: DIED, model_info: undefined })),
    );
    const io: Io = { out: { write() {} }, err: { write() {} }, signal: new AbortController().signal };
    const args = { text: { out: dir }, list: {}, flag: {}, positionals: [path] };
    await expect(runBisect(args, io)).rejects.toMatchObject({ kind: here ? 'usage' : 'native' });
    rmSync(dir, { recursive: true });
  });
});

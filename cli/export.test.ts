/** `isobatch export` as a user meets it: what is written, what is refused and with which exit code. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelBytes, sha256Of } from '../properties/campaign-models.ts';
import { platformRefusal, releaseNames } from '../properties/subjects/llama/builds.ts';
import { cachedRelease } from '../properties/subjects/llama/cache.ts';
import { caseOf, failureAt, LLAMA, PAIR } from '../properties/subjects/llama/export/testing.ts';
import { BISECT_VERSION, caseSha256 } from '../reports/bisect-record.ts';
import type { CaseFile } from '../reports/case-file.ts';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-export-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const c = caseOf(PAIR, { alone: [{ call: 0, index: 3, tokens: [7, 8] }] });
const file: CaseFile = {
  isobatch_case: 2,
  isobatch: '0.1.0',
  statement: 'a sequence in any batch says what it says alone',
  case: c,
  failure: failureAt(1e-5),
  seed: 's',
  index: 0,
  model: c.model,
  model_sha256: sha256Of(modelBytes(c.model)),
  model_info: LLAMA,
  subject: { kind: 'llama', lib: 'v0.5.0', isa: 'haswell' },
  subject_info: { name: 'llama.cpp', version: 'v0.5.0', splits: {} },
  replay: 'r',
  again: 'a',
};

function cli(words: readonly string[], from: CaseFile = file) {
  const path = join(dir, 'kept.json');
  writeFileSync(path, JSON.stringify(from));
  const done = spawnSync(process.execPath, [MAIN, 'export', path, ...words], { encoding: 'utf8' });
  return { code: done.status, out: done.stdout, err: done.stderr };
}

describe('isobatch export', () => {
  it('writes the program, its model, the text and the case', () => {
    const out = join(dir, 'all');
    const { code, out: said, err } = cli(['--c', '--out', out]);
    expect([code, err]).toEqual([0, '']);
    expect(said).toContain('wrote reproduce.c, model.gguf, UPSTREAM.md, case.json');
    expect(readdirSync(out).sort()).toEqual(['UPSTREAM.md', 'case.json', 'model.gguf', 'reproduce.c']);
    expect(sha256Of(readFileSync(join(out, 'model.gguf')))).toBe(file.model_sha256);
    const source = readFileSync(join(out, 'reproduce.c'), 'utf8');
    expect(source).toContain('#define ISA "haswell"');
    expect(source).toContain('#define MODEL "model.gguf"');
    expect(source).toContain('"b3889, b4234, b4980"');
  });

  it('for one release holds only its structs, and takes what bisect found of this case', () => {
    const out = join(dir, 'one');
    const record = {
      isobatch_bisect: BISECT_VERSION,
      case_sha256: caseSha256(c),
      releases: [{ name: 'b6122', verdict: 'fails in the same way' }],
      first_failing: 'b6122',
      last_failing: 'b6122',
    };
    const bisect = join(dir, 'found.json');
    writeFileSync(bisect, JSON.stringify(record));
    expect(cli(['--c', '--release', 'b6122', '--bisect', bisect, '--quiet', '--out', out])).toMatchObject({
      code: 0,
      out: '',
    });
    expect(readFileSync(join(out, 'reproduce.c'), 'utf8')).not.toContain('b3889, b4234');
    expect(readFileSync(join(out, 'UPSTREAM.md'), 'utf8')).toContain(
      'first failing b6122, last failing b6122',
    );
  });

  const last =
    platformRefusal() === undefined
      ? releaseNames.filter((r) => cachedRelease(r) !== null).at(-1)
      : undefined;
  const runs = last !== undefined && spawnSync('cc', ['--version']).status === 0;
  it.skipIf(!runs)(
    `runs it, says what fails and ends as it does${runs ? '' : ' (skipped: no release was fetched, or no C compiler)'}`,
    () => {
      const out = join(dir, 'run');
      const words = ['--c', '--quiet', '--run', last!, '--out', out];
      const loose: CaseFile = { ...file, failure: failureAt(1) };
      expect(cli(words, loose)).toEqual({ code: 0, out: 'it holds in this build\n', err: '' });
      const other = caseOf(PAIR, { alone: [{ call: 0, index: 3, tokens: [7, 9] }] });
      const { code, out: said } = cli(words, { ...file, case: other });
      expect([code, said]).toEqual([
        1,
        expect.stringMatching(/^FAILS: element 17 of the row of token 3 .*\nit FAILS in this build\n$/),
      ]);
      const path = join(dir, 'none.gguf');
      writeFileSync(path, 'no model');
      const gone = { ...file, case: { ...c, model: path }, model: path, model_sha256: '' };
      expect(cli(words, gone)).toMatchObject({
        code: 3,
        err: expect.stringMatching(/could not be run on .*: cannot run: .*none.gguf is not loaded/),
      });
    },
  );

  it('refuses with 2 what it cannot write, and writes nothing then', () => {
    const out = join(dir, 'none');
    expect(cli(['--out', out])).toMatchObject({ code: 2, err: expect.stringContaining('needs --c') });
    expect(cli(['--c', '--release', 'b6123', '--out', out])).toMatchObject({
      code: 2,
      err: expect.stringContaining('did you mean b6122?'),
    });
    const copy = { op: 'seqCp', from: 0, to: 1, p0: -1, p1: -1, refused: 'ops.copy' } as const;
    const silent = { ...c, script: { ...PAIR, calls: [...PAIR.calls, copy] } };
    expect(cli(['--c', '--out', out], { ...file, case: silent })).toMatchObject({
      code: 2,
      err: expect.stringContaining('this kind of case (solo) cannot be exported to C'),
    });
    expect(cli(['--c', '--out', out], { ...file, model_sha256: 'abc' })).toMatchObject({
      code: 3,
      err: expect.stringContaining('has changed since the case was kept'),
    });
    expect(existsSync(out)).toBe(false);
  });
});

/** Planting a fault: the loader hook in a process of its own, and the checks before it. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fault, faultByName, faultPatches, plantFault } from './apply.ts';
import { faults } from './registry.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'isobatch-fault-'));
  mkdirSync(join(root, 'engine'));
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(root, 'engine', 'answer.js'),
    'export const answer = 40 + 2;\nexport const other = 1 + 1;\n',
  );
});
afterAll(() => rmSync(root, { recursive: true }));

const fault = (find: string, file = 'engine/answer.ts'): Fault => ({
  name: 'test',
  file,
  find,
  replace: '40 - 2 /* $& */',
  standsFor: '',
  describe: '',
});

/** The compiled apply.js in a new process, which then loads the patched file. */
function answerWith(f: Fault): { status: number | null; text: string } {
  const apply = new URL('../dist/faults/apply.js', import.meta.url).href;
  const script = `
    const { plantFault } = await import(${JSON.stringify(apply)});
    plantFault(${JSON.stringify(f)}, new URL(${JSON.stringify(`${pathToFileURL(root).href}/`)}));
    const { answer } = await import(${JSON.stringify(pathToFileURL(join(root, 'engine', 'answer.js')).href)});
    console.log(answer);`;
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  return { status: done.status, text: done.stdout + done.stderr };
}

describe('a planted fault', () => {
  it('replaces its expression while the file is loaded, literally', () => {
    expect(answerWith(fault('40 + 2'))).toEqual({ status: 0, text: '38\n' });
  });

  it('is refused if its expression does not stand there exactly once', () => {
    expect(() => plantFault(fault('41 + 2'), pathToFileURL(`${root}/`))).toThrow(
      expect.objectContaining({ kind: 'usage', message: expect.stringContaining('stands 0 times') }),
    );
    expect(() => plantFault(fault(' + '), pathToFileURL(`${root}/`))).toThrow(/stands 2 times/);
    expect(() => plantFault(fault('x', 'engine/gone.ts'), pathToFileURL(`${root}/`))).toThrow(/build first/);
  });

  it('of a native source becomes a patch of the build', () => {
    expect(faultPatches()).toEqual([]);
    plantFault(fault('x', 'native/rows.inl.h'), pathToFileURL(`${root}/`));
    expect(faultPatches()).toEqual([{ file: 'native/rows.inl.h', find: 'x', replace: '40 - 2 /* $& */' }]);
  });

  it('is found by its name', async () => {
    expect(await faultByName(faults[0]!.name)).toBe(faults[0]);
    await expect(faultByName('nonsense')).rejects.toMatchObject({ kind: 'usage' });
  });
});

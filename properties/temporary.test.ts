/** Folders end with their process; those of dead processes are swept, those of living ones are not. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const module = new URL('../dist/properties/temporary.js', import.meta.url).href;

function folderOfChild(after: string): string {
  const program = `import { temporaryFolder } from ${JSON.stringify(module)};
    process.stdout.write(temporaryFolder()); ${after}`;
  return execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
}

it('are gone when the process is', () => {
  const folder = folderOfChild('process.exit(0)');
  expect(folder).toContain('isobatch-files-');
  expect(existsSync(folder)).toBe(false);
});

it('of a process that was killed are swept by the next, and no others', () => {
  const [dead, living] = ['2147483646', `${process.pid}`].map((pid) =>
    join(tmpdir(), `isobatch-files-${pid}-x`),
  );
  for (const folder of [dead!, living!]) mkdirSync(folder, { recursive: true });
  try {
    folderOfChild('');
    expect(existsSync(dead!)).toBe(false);
    expect(existsSync(living!)).toBe(true);
  } finally {
    rmSync(living!, { recursive: true, force: true });
    rmSync(dead!, { recursive: true, force: true });
  }
});

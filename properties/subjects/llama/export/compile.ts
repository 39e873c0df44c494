/** An exported program, compiled by the user's C compiler and run on a library. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { IsobatchError } from '../../../../contract/errors.ts';

/** A program that hangs ends itself after a minute. */
const MOST_MS = 90_000;

/**
 * Compiles `reproduce.c` in this folder and runs it. `code`: 0 it holds in this library, 1 it fails (also if the
 * library ends the process), 2 it could not be run; `said` is what was printed. Throws `file` without a C compiler.
 */
export function compileAndRun(
  dir: string,
  libllama: string,
  model: string,
): { code: 0 | 1 | 2; said: string } {
  const program = resolve(dir, 'reproduce');
  const compiled = spawnSync('cc', [join(dir, 'reproduce.c'), '-o', program, '-ldl'], { encoding: 'utf8' });
  if (compiled.error !== undefined)
    throw new IsobatchError('file', `there is no C compiler: cc: ${compiled.error.message}`);
  if (compiled.status !== 0)
    throw new IsobatchError('file', `cc does not compile ${join(dir, 'reproduce.c')}: ${compiled.stderr}`);
  // Old releases start a debugger at an abort, if there is one on the path.
  const options = {
    cwd: dir,
    encoding: 'utf8',
    timeout: MOST_MS,
    env: { ...process.env, PATH: '' },
  } as const;
  const done = spawnSync(program, [resolve(libllama), model], options);
  return { code: codeOf(done), said: done.stdout + done.stderr };
}

/** A signal that the program could not catch, such as that of a damaged stack, is a failure too. */
function codeOf({ status }: SpawnSyncReturns<string>): 0 | 1 | 2 {
  return status === 0 || status === 2 ? status : 1;
}

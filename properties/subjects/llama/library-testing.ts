/**
 * Small shared libraries that stand for a libllama, compiled from a few lines of C++: a function of default parameters
 * that writes what a test says, a log, and the functions that the test names. Not part of the product.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Image } from './layout-testing.ts';
import type { BuildFiles } from './library.ts';

/** Whether there is a compiler for them. */
export const compiler = spawnSync('g++', ['--version']).status === 0;

export interface FakeParts {
  /** What the function of default context parameters writes; none: it is not exported. */
  readonly defaults?: Pick<Image, 'struct' | 'bytes'>;
  /** Functions that are exported, and do nothing. */
  readonly exports?: readonly string[];
  /** Further functions, in C++. */
  readonly code?: string;
}

/** Compiles to `DIR/NAME.so`. Throws with what the compiler says. */
export function compiled(dir: string, name: string, code: string): string {
  const [source, path] = [join(dir, `${name}.cpp`), join(dir, `${name}.so`)];
  writeFileSync(source, `extern "C" {\n${code}\n}\n`);
  const done = spawnSync('g++', ['-shared', '-fPIC', '-o', path, source], { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(done.stderr);
  return path;
}

/** The files of a build whose libllama is this one, and whose CPU is inside of it. */
export function fakeBuild(dir: string, name: string, parts: FakeParts): BuildFiles {
  const { defaults, exports = [], code = '' } = parts;
  const libllama = compiled(
    dir,
    name,
    [
      ...(defaults === undefined ? [] : [defaultsFunction(defaults)]),
      ...exports.map((symbol) => `void ${symbol}() {}`),
      code,
    ].join('\n'),
  );
  return {
    name,
    dir,
    libllama,
    libggml_cpu: [{ isa: 'built in', path: libllama, linked: true }],
    preload: [],
  };
}

/** Leaves holes as they are: a byte of the image that is 0xaa is not written. */
function defaultsFunction({ struct, bytes }: Pick<Image, 'struct' | 'bytes'>): string {
  const lines = Array.from(struct.subarray(0, bytes), (byte, i) =>
    byte === 0xaa ? '' : `out[${i}] = ${byte};`,
  );
  return `void llama_context_default_params(unsigned char *out) { ${lines.join(' ')} }`;
}

/**
 * Builds the native library: one C++ unit an instruction set, all in one shared library, compiled on first use and
 * cached by a hash of sources, flags and compiler. Planted faults are patches of the sources, so a patched library has
 * a name of its own.
 */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir, hostname, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { IsobatchError } from '../contract/errors.ts';

/** Replaces text in one source: `file` relative to the package root, `find` occurring there exactly once. */
export interface Patch {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface BuildOptions {
  readonly patches?: readonly Patch[] | undefined;
}

/** A library, or why there is none. */
export type NativeLibrary = { readonly path: string } | { readonly unavailable: string };

const FLAGS = [
  '-std=c++17',
  '-O3',
  '-fPIC',
  '-ffp-contract=off',
  '-fno-math-errno',
  '-fno-exceptions',
  '-fno-rtti',
  '-fvisibility=hidden',
  '-w',
];
const UNITS: readonly { source: string; flags: readonly string[]; x64: boolean }[] = [
  { source: 'isobatch.cpp', flags: [], x64: false },
  // The plain reference: -O3 would unroll its 16-float loops for half a minute, and it is not there to be fast.
  { source: 'kernels_scalar.cpp', flags: ['-O1'], x64: false },
  { source: 'kernels_avx2.cpp', flags: ['-mavx2', '-mfma', '-mf16c'], x64: true },
  {
    source: 'kernels_avx512.cpp',
    flags: ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx2', '-mfma', '-mf16c'],
    x64: true,
  },
];

/** The package root: where native/isobatch.h stands; this file is in native/ or in dist/native/. */
export function packageRoot(): string {
  const given = process.env.ISOBATCH_ROOT;
  let at = given ?? dirname(dirname(fileURLToPath(import.meta.url)));
  for (;;) {
    if (existsSync(join(at, 'native', 'isobatch.h'))) return at;
    const above = dirname(at);
    if (given !== undefined || above === at) {
      throw new IsobatchError('native', `native/isobatch.h is not below ${given ?? 'the package'}`, {});
    }
    at = above;
  }
}

/** Text of every native source by name, patched. */
function readSources(root: string, patches: readonly Patch[]): Map<string, string> {
  const sources = new Map<string, string>();
  for (const name of readdirSync(join(root, 'native')).sort()) {
    if (/\.(cpp|h)$/.test(name)) sources.set(name, readFileSync(join(root, 'native', name), 'utf8'));
  }
  for (const { file, find, replace } of patches) {
    const name = basename(file);
    const text = dirname(file) === 'native' ? sources.get(name) : undefined;
    if (text === undefined)
      throw new IsobatchError('usage', `patch of ${file}: no such native source`, { file });
    const count = find === '' ? 0 : text.split(find).length - 1;
    if (count !== 1) {
      throw new IsobatchError(
        'usage',
        `patch of ${file}: ${JSON.stringify(find)} occurs ${count} times, not once`,
        {
          file,
          find,
          count,
        },
      );
    }
    sources.set(
      name,
      text.replace(find, () => replace),
    );
  }
  return sources;
}

interface Compiler {
  readonly command: string;
  readonly version: string;
}

const compilers = new Map<string, Compiler | null>();

/** The first C++ compiler there is, with what it says of itself. */
function findCompiler(): Compiler | null {
  const override = process.env.ISOBATCH_CXX;
  const candidates = override
    ? [override]
    : [process.env.CXX ?? '', 'g++', 'clang++'].filter((c) => c !== '');
  const key = `${candidates.join('|')}|${process.env.PATH ?? ''}`;
  let found = compilers.get(key);
  if (found === undefined) {
    found = null;
    for (const command of candidates) {
      const run = spawnSync(command, ['--version'], { encoding: 'utf8' });
      if (run.status === 0) {
        found = { command, version: run.stdout.split('\n')[0]! };
        break;
      }
    }
    compilers.set(key, found);
  }
  return found;
}

/** A folder for built libraries: in the package if it can be written, else in the user's cache. */
function cacheFolder(root: string): string {
  const userCache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  for (const folder of [
    join(root, '.cache', 'native'),
    join(userCache, 'isobatch', 'native'),
    join(tmpdir(), 'isobatch', 'native'),
  ]) {
    try {
      mkdirSync(folder, { recursive: true });
      accessSync(folder, constants.W_OK);
      return folder;
    } catch {
      // not writable: the next one
    }
  }
  throw new IsobatchError('native', 'no folder to cache the native library in is writable', {});
}

/** Runs commands at the same time; the output of the first that failed, or null. */
function runTogether(commands: readonly string[][], cwd: string): string | null {
  if (commands.length === 0) return null;
  // POSIX sh starts all compilers, then waits for each: child_process has no synchronous way to run several.
  const quote = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
  const lines = commands.map((c, i) => `${c.map(quote).join(' ')} > log${i} 2>&1 & pids="$pids $!"`);
  const script = `pids=; failed=0\n${lines.join('\n')}\nfor p in $pids; do wait $p || failed=1; done; exit $failed`;
  const run = spawnSync('sh', ['-c', script], { cwd, encoding: 'utf8' });
  if (run.status === 0) return null;
  if (run.error) return run.error.message;
  const logs = commands
    .map((_, i) => readFileSync(join(cwd, `log${i}`), 'utf8').trim())
    .filter((log) => log !== '');
  return (logs[0] ?? run.stderr).split('\n').slice(-8).join('\n') || `compiler ended with ${run.status}`;
}

/** The sources that a unit is made of: itself and, recursively, what it includes by name. */
function partsOf(unit: string, sources: Map<string, string>): string[] {
  const parts = new Set<string>([unit]);
  for (const part of parts) {
    for (const [, name] of sources.get(part)!.matchAll(/^#include "([^"]+)"/gm)) {
      if (sources.has(name!)) parts.add(name!);
    }
  }
  return [...parts].sort();
}

function digest(...parts: unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 20);
}

/** Compiles the units that are not cached and links all to `target`; null, or the reason why not. */
function compile(
  compiler: Compiler,
  sources: Map<string, string>,
  work: string,
  target: string,
): string | null {
  for (const [name, text] of sources) writeFileSync(join(work, name), text);
  const objects: string[] = [];
  const missing: { command: string[]; built: string; cached: string }[] = [];
  for (const unit of UNITS) {
    if (unit.x64 && process.arch !== 'x64') continue;
    const parts = partsOf(unit.source, sources).map((name) => [name, sources.get(name)]);
    const cached = join(dirname(target), `${digest(compiler.version, process.arch, FLAGS, unit, parts)}.o`);
    const built = unit.source.replace('.cpp', '.o');
    objects.push(cached);
    const command = [compiler.command, ...FLAGS, ...unit.flags, '-c', unit.source, '-o', built];
    if (!existsSync(cached)) missing.push({ command, built, cached });
  }
  const failed = runTogether(
    missing.map((m) => m.command),
    work,
  );
  if (failed !== null) return failed;
  for (const { built, cached } of missing) renameSync(join(work, built), cached);
  const unlinked = runTogether([[compiler.command, '-shared', '-o', 'library', ...objects]], work);
  if (unlinked !== null) return unlinked;
  renameSync(join(work, 'library'), target); // atomic: whoever sees the library sees all of it
  return null;
}

/**
 * What a compiler says against patched sources, without building them: null if nothing, or if there is no compiler. Looks
 * at one unit that has the patched file. Throws 'usage' as `buildNative`.
 */
export function objectionsTo(patch: Patch): string | null {
  const sources = readSources(packageRoot(), [patch]);
  const compiler = findCompiler();
  const file = basename(patch.file);
  const unit = UNITS.find((one) => partsOf(one.source, sources).includes(file));
  if (compiler === null || unit === undefined || (unit.x64 && process.arch !== 'x64')) return null;
  const work = mkdtempSync(join(tmpdir(), 'isobatch-syntax-'));
  try {
    for (const [name, text] of sources) writeFileSync(join(work, name), text);
    return runTogether([[compiler.command, ...FLAGS, ...unit.flags, '-fsyntax-only', unit.source]], work);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const LOCK_STALE_MS = 300_000;

/** Whether the process that took a lock on this machine has ended, killed while it built. */
function isGone(lock: string): boolean {
  try {
    const [host, pid] = readFileSync(join(lock, 'owner'), 'utf8').split(' ');
    if (host !== hostname()) return false;
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    // Nobody of that number; what cannot be read yet has an owner that is about to say so.
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Waits while another process builds `path`; true if this one holds the lock and shall build. */
function takeLock(path: string): boolean {
  const lock = `${path}.lock`;
  const sleep = new Int32Array(new SharedArrayBuffer(4));
  for (const begin = Date.now(); Date.now() - begin < LOCK_STALE_MS; Atomics.wait(sleep, 0, 0, 50)) {
    if (existsSync(path)) return false;
    try {
      mkdirSync(lock);
      writeFileSync(join(lock, 'owner'), `${hostname()} ${process.pid}`);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > LOCK_STALE_MS || isGone(lock)) rmSync(lock, { recursive: true, force: true }); // its owner died
  }
  return true;
}

/**
 * The native library for these patches, built unless it is cached.
 *
 * Unavailable without a compiler, where the platform is not POSIX, where compiling fails, or if ISOBATCH_NO_NATIVE is
 * 1. Throws 'usage' if a patch does not match its source exactly once.
 */
export function buildNative(options: BuildOptions = {}): NativeLibrary {
  const root = packageRoot();
  const sources = readSources(root, options.patches ?? []);
  if (process.env.ISOBATCH_NO_NATIVE === '1') return { unavailable: 'ISOBATCH_NO_NATIVE=1' };
  if (process.platform === 'win32') return { unavailable: 'native kernels are not built on Windows' };
  const compiler = findCompiler();
  if (!compiler) {
    const tried = process.env.ISOBATCH_CXX ?? '$CXX, g++, clang++';
    return { unavailable: `no C++ compiler runs (tried ${tried})` };
  }
  const folder = cacheFolder(root);
  const name = digest(process.platform, process.arch, compiler.version, FLAGS, UNITS, [...sources]);
  const path = join(folder, `isobatch-${name}.so`);
  if (existsSync(path) || !takeLock(path)) return { path };
  const work = mkdtempSync(join(folder, 'build-'));
  try {
    const failed = compile(compiler, sources, work, path);
    return failed === null ? { path } : { unavailable: `${compiler.command} failed: ${failed}` };
  } finally {
    rmSync(work, { recursive: true, force: true });
    rmSync(`${path}.lock`, { recursive: true, force: true });
  }
}

/**
 * From a folder of libraries, as the packages and as CMake builds have them, to the files that a driver loads: which
 * one is libllama, which libggml files it needs and in which order, and where the CPU's code is (facts: libllama.md 2
 * and 7). What a library needs is read from its own header, not guessed from names; what is missing is named.
 */
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { IsobatchError } from '../../../contract/errors.ts';
import { sha256OfFile } from '../../file-hash.ts';
import { readElf } from './elf.ts';

/** A library with the CPU's code. */
export interface CpuLib {
  /** `haswell`, `zen4`, `sse42`, ... of a build with variants; `built in` if linked; `single` if alone, but loaded. */
  readonly isa: string;
  readonly path: string;
  /** True: comes with libggml. False: must be loaded by `ggml_backend_load(path)` before a model is. */
  readonly linked: boolean;
}

export interface LibFiles {
  /** Name of the release, or the path that was given. */
  readonly name: string;
  readonly release?: string;
  /** The folder of libllama. All paths are absolute. */
  readonly dir: string;
  readonly libllama: string;
  readonly libggml?: string;
  readonly libggml_base?: string;
  /** Sorted by isa, never empty. */
  readonly libggml_cpu: readonly CpuLib[];
  /** libggml files that libllama needs, directly or not: each stands after those that it needs itself. */
  readonly preload: readonly string[];
  /** Of libllama, in hexadecimal. */
  readonly sha256: string;
}

const LIBLLAMA = /^libllama(\.[\w.]+?)?\.so(\.\d+)*$/;
const LIBGGML_ANY = /^libggml([-.][\w.-]+?)?\.so(\.\d+)*$/;
const LIBGGML = /^libggml(\.[\w.]+?)?\.so(\.\d+)*$/;
const LIBGGML_BASE = /^libggml-base(\.[\w.]+?)?\.so(\.\d+)*$/;
const LIBGGML_CPU = /^libggml-cpu(?:-(\w+))?(\.[\w.]+?)?\.so(\.\d+)*$/;

/** Folders of a source tree, a build or a package in which the libraries lie. */
const INSIDE = [
  '',
  'bin',
  'lib',
  'src',
  'build/bin',
  'build/src',
  'bins/linux-x64',
  'package/bins/linux-x64',
];
/** Where the loader looks last. */
const SYSTEM = ['/usr/local/lib', '/lib', '/usr/lib', '/lib64', '/usr/lib64', '/usr/lib/x86_64-linux-gnu'];

/** The files that belong to a libllama. Throws `file`: no libllama, no x86-64 library, a library missing. */
export function libFiles(
  path: string,
  known: { name?: string; release?: string; sha256?: string } = {},
): LibFiles {
  const libllama = findLibllama(resolve(path));
  const elf = checkLibllama(libllama);
  const preload = elf.needed.some((name) => LIBGGML_ANY.test(name)) ? ggmlFiles(libllama) : [];
  const named = (pattern: RegExp) => preload.find((file) => pattern.test(basename(file)));
  const [libggml, libggml_base] = [named(LIBGGML), named(LIBGGML_BASE)];
  return {
    name: known.name ?? path,
    ...(known.release === undefined ? {} : { release: known.release }),
    dir: dirname(libllama),
    libllama,
    ...(libggml === undefined ? {} : { libggml }),
    ...(libggml_base === undefined ? {} : { libggml_base }),
    libggml_cpu: cpuLibs(libllama, preload),
    preload,
    sha256: known.sha256 ?? sha256OfFile(libllama),
  };
}

function findLibllama(path: string): string {
  if (!existsSync(path)) throw new IsobatchError('file', `there is no file or folder ${path}`, { path });
  if (!statSync(path).isDirectory()) return path;
  for (const dir of INSIDE.map((inside) => join(path, inside))) {
    const found = list(dir).filter((name) => LIBLLAMA.test(name));
    if (found.length > 0) return join(dir, theOne(dir, found));
  }
  const looked = INSIDE.slice(1).join(', ');
  throw new IsobatchError(
    'file',
    `there is no libllama.so in ${path}, nor in ${looked} of it: a CMake build has it in build/bin if it was ` +
      'configured with -DBUILD_SHARED_LIBS=ON',
    { path },
  );
}

/** A build leaves links and old versions beside a library; libllama.so is the link to the newest. */
function theOne(dir: string, names: readonly string[]): string {
  if (names.includes('libllama.so')) return 'libllama.so';
  const files = new Map(names.map((name) => [realpathSync(join(dir, name)), name]));
  if (files.size === 1) return names.toSorted((a, b) => a.length - b.length)[0]!;
  throw new IsobatchError(
    'file',
    `${dir} holds ${files.size} of them: give the path of one: ${names.join(', ')}`,
    {
      dir,
      names,
    },
  );
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch {
    return []; // Not there, no folder, or not ours to read: nothing to be found.
  }
}

function checkLibllama(path: string): ReturnType<typeof readElf> {
  const elf = readElf(path);
  const other = elf.needed.find((name) => LIBLLAMA.test(name));
  if (other !== undefined || !elf.names('llama_decode')) {
    const why =
      other === undefined ? 'it does not name llama_decode' : `it needs ${other} itself: give that one`;
    throw new IsobatchError('file', `${path} is not libllama: ${why}`, { path });
  }
  return elf;
}

/** All libggml files that a library needs, the needed ones first. */
function ggmlFiles(libllama: string): string[] {
  const order: string[] = [];
  const seen = new Set<string>();
  const visit = (path: string): void => {
    const elf = readElf(path);
    const dirs = searchPath(
      [...new Set([dirname(path), ...homes(libllama)])],
      dirname(realpathSync(path)),
      elf.runpath,
    );
    for (const name of elf.needed) {
      if (!LIBGGML_ANY.test(name) || seen.has(name)) continue;
      seen.add(name);
      const file = findNeeded(name, path, dirs);
      visit(file);
      order.push(file);
    }
  };
  visit(libllama);
  return order;
}

/** The folder in which a file is named, and the one in which it lies. */
function homes(path: string): string[] {
  return [...new Set([dirname(path), dirname(realpathSync(path))])];
}

function searchPath(first: string[], origin: string, runpath: readonly string[]): string[] {
  const own = runpath.map((dir) => dir.replace(/\$(ORIGIN|\{ORIGIN\})/g, origin));
  const given = (process.env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean);
  return [...new Set([...first, ...given, ...own, ...SYSTEM])];
}

function findNeeded(name: string, by: string, dirs: readonly string[]): string {
  for (const dir of dirs) {
    const path = join(dir, name);
    if (existsSync(path)) return path;
    // A copied build may have lost the links with version suffixes; the loader goes by the name inside.
    const other =
      dirname(by) === dir ? list(dir).find((file) => callsItself(join(dir, file), name)) : undefined;
    if (other !== undefined) return join(dir, other);
  }
  const beside = list(dirname(by)).filter((file) => LIBGGML_ANY.test(file));
  throw new IsobatchError(
    'file',
    `${basename(by)} needs ${name}, and it is not in ${dirname(by)} (libggml files there: ` +
      `${beside.join(', ') || 'none'}), nor where the loader would look: put it beside, or set LD_LIBRARY_PATH`,
    { name, by, dirs },
  );
}

function callsItself(path: string, name: string): boolean {
  if (!LIBGGML_ANY.test(basename(path))) return false;
  try {
    return readElf(path).soname === name;
  } catch {
    return false;
  }
}

/**
 * Where the CPU's code is: in a libggml-cpu that libggml needs; in variants that lie beside and are loaded later; or,
 * of releases without libggml-base, in libggml itself.
 */
function cpuLibs(libllama: string, preload: readonly string[]): CpuLib[] {
  const linked = preload.find((file) => LIBGGML_CPU.test(basename(file)));
  if (linked !== undefined) return [{ isa: 'built in', path: linked, linked: true }];
  const libggml = preload.find((file) => LIBGGML.test(basename(file)));
  if (!preload.some((file) => LIBGGML_BASE.test(basename(file))))
    return [{ isa: 'built in', path: libggml ?? libllama, linked: true }];

  const found = new Map<string, CpuLib>();
  const dirs = [...new Set([libllama, ...preload].flatMap(homes))];
  for (const path of dirs.flatMap((dir) => list(dir).map((name) => join(dir, name)))) {
    const match = LIBGGML_CPU.exec(basename(path));
    const isa = match?.[1] ?? 'single';
    if (match !== null && !found.has(isa)) found.set(isa, { isa, path, linked: false });
  }
  if (found.size === 0)
    throw new IsobatchError(
      'file',
      `there is no libggml-cpu*.so in ${dirs.join(', ')}: this build has no CPU code`,
      {
        dirs,
      },
    );
  return [...found.values()].sort((a, b) => (a.isa < b.isa ? -1 : 1));
}

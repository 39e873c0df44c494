/**
 * The folder of releases that were fetched: `CACHE/llama/NAME/` holds the libraries, the licence and `manifest.json`
 * with the size and sha256 of each. A folder appears there whole, by one rename, or not at all (fetch.ts). On use the
 * sizes are compared, which costs microseconds; the hashes are compared when somebody asks.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { IsobatchError } from '../../../contract/errors.ts';
import { sha256OfFile } from '../../file-hash.ts';
import { type Release, releaseByName } from './builds.ts';
import { type LibFiles, libFiles } from './lib-files.ts';

export const MANIFEST = 'manifest.json';

export interface Manifest {
  readonly version: 1;
  readonly release: string;
  readonly package: string;
  readonly npm_version: string;
  readonly integrity: string;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

/** What lies in the cache for one release. */
export type CacheState =
  | { readonly state: 'cached'; readonly dir: string; readonly bytes: number; readonly files: LibFiles }
  | { readonly state: 'damaged'; readonly dir: string; readonly why: string }
  | { readonly state: 'absent'; readonly dir: string };

/** $ISOBATCH_CACHE, else $XDG_CACHE_HOME/isobatch, else ~/.cache/isobatch; absolute. */
export function cacheDir(env: Readonly<Record<string, string | undefined>> = process.env): string {
  if (env.ISOBATCH_CACHE) return resolve(env.ISOBATCH_CACHE);
  return resolve(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'isobatch');
}

/** The folder of a release, whether it is there or not. */
export function releaseDir(release: Release): string {
  return join(cacheDir(), 'llama', release.name);
}

/** Looks at sizes only. Throws `usage` for an unknown name. */
export function cacheState(name: string | Release): CacheState {
  const release = known(name);
  const dir = releaseDir(release);
  if (!existsSync(dir)) return { state: 'absent', dir };
  try {
    const manifest = readManifest(dir, release);
    let bytes = 0;
    for (const [file, wanted] of Object.entries(manifest.files)) {
      const size = statSync(join(dir, file)).size;
      if (size !== wanted.bytes) throw new Error(`${file} has ${size} bytes, not ${wanted.bytes}`);
      bytes += size;
    }
    return { state: 'cached', dir, bytes, files: filesOf(dir, release, manifest) };
  } catch (error) {
    return { state: 'damaged', dir, why: (error as Error).message };
  }
}

/** The libraries of a release that was fetched; null if it was not, or if a size is wrong. */
export function cachedRelease(name: string | Release): LibFiles | null {
  const found = cacheState(name);
  return found.state === 'cached' ? found.files : null;
}

/**
 * Reads every file of a cached release and compares its sha256; null if the release is not there. Throws `file` with
 * both sums for the first file that differs.
 */
export function verifyCached(name: string | Release): LibFiles | null {
  const release = known(name);
  const found = cacheState(release);
  if (found.state === 'absent') return null;
  if (found.state === 'damaged') throw damaged(release, found.dir, found.why);
  for (const [file, wanted] of Object.entries(readManifest(found.dir, release).files)) {
    const sha256 = sha256OfFile(join(found.dir, file));
    if (sha256 !== wanted.sha256)
      throw damaged(release, found.dir, `${file} has sha256 ${sha256}, not ${wanted.sha256}`);
  }
  return found.files;
}

/** The record of files just unpacked. */
export function manifestOf(release: Release, dir: string, names: readonly string[]): Manifest {
  const files = names.map((name) => {
    const path = join(dir, name);
    return [name, { bytes: statSync(path).size, sha256: sha256OfFile(path) }] as const;
  });
  return {
    version: 1,
    release: release.name,
    package: release.package,
    npm_version: release.npm_version,
    integrity: release.integrity,
    files: Object.fromEntries(files),
  };
}

/** What a finished folder offers; the sha256 of libllama is taken from the manifest. */
export function filesOf(dir: string, release: Release, manifest: Manifest): LibFiles {
  const name = Object.keys(manifest.files).find((file) => /^libllama[\w.]*\.so$/.test(file));
  if (name === undefined) throw new Error(`there is no libllama in ${dir}`);
  return libFiles(join(dir, name), {
    name: release.name,
    release: release.name,
    sha256: manifest.files[name]!.sha256,
  });
}

export function known(name: string | Release): Release {
  return typeof name === 'string' ? releaseByName(name) : name;
}

function readManifest(dir: string, release: Release): Manifest {
  const found = JSON.parse(readFileSync(join(dir, MANIFEST), 'utf8')) as Partial<Manifest> | null;
  if (found?.version !== 1 || typeof found.files !== 'object' || found.files === null)
    throw new Error(`${MANIFEST} is not one of version 1`);
  if (found.integrity !== release.integrity)
    throw new Error(`it came from a tarball with ${found.integrity}, not ${release.integrity}`);
  return found as Manifest;
}

function damaged(release: Release, dir: string, why: string): IsobatchError {
  return new IsobatchError(
    'file',
    `the cached ${release.name} is damaged: ${why}. Delete ${dir}: it is fetched again`,
    {
      release: release.name,
      dir,
    },
  );
}

/**
 * Fetches a release of llama.cpp once: npm packs it (npm knows the user's registry, proxy and certificates), its
 * checksum is compared with the one pinned in builds.ts, tar unpacks the libraries, a manifest is written, and the
 * finished folder is renamed into the cache. A fetch that is killed leaves a temporary folder that nobody reads; two
 * at once both end with a whole release.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { IsobatchError } from '../../../contract/errors.ts';
import { unknownName } from '../../names.ts';
import { checkPlatform, isRelease, type Release, releaseNames } from './builds.ts';
import { cachedRelease, cacheState, known, MANIFEST, manifestOf, releaseDir } from './cache.ts';
import { type LibFiles, libFiles } from './lib-files.ts';

export { cacheDir, cachedRelease, verifyCached } from './cache.ts';
export type { CpuLib, LibFiles } from './lib-files.ts';

export interface FetchOptions {
  /** Told what is done now, in a few words. */
  readonly onProgress?: (what: string) => void;
  /** For npm and for tar each; 300 if absent. */
  readonly timeout_s?: number;
  readonly signal?: AbortSignal;
}

const TIMEOUT_S = 300;
const METADATA = '_nlcBuildMetadata.json';
/** Of the package we keep the licence, the name of the build and the libraries, not the addon for Node. */
const WANTED = /^package\/(?:LICENSE|bins\/linux-x64\/(_nlcBuildMetadata\.json|lib(llama|ggml)[\w.-]*\.so))$/;
const NOT_WANTED = /^libllama-common/;

/**
 * The libraries that `--lib` names: a release, which is fetched if it must be; the path of a libllama; or a folder
 * that holds one. Throws `native` off Linux x86-64, `usage` for an unknown name, `file` with what is wrong or missing.
 */
export async function resolveLib(text: string, options: FetchOptions = {}): Promise<LibFiles> {
  checkPlatform();
  if (isRelease(text)) return fetchRelease(text, options);
  // A word that is no file was meant as a release.
  if (/^[\w.]+$/.test(text) && !text.includes('.so') && !existsSync(text))
    throw unknownName('release of llama.cpp or file', text, releaseNames);
  return libFiles(text);
}

/** The libraries of a release, from the cache or fetched into it. Throws `file` with what failed and what to do. */
export async function fetchRelease(name: string | Release, options: FetchOptions = {}): Promise<LibFiles> {
  const release = known(name);
  const found = cachedRelease(release);
  if (found !== null) return found;
  const say = (what: string): void => options.onProgress?.(`llama.cpp ${release.name}: ${what}`);
  const work = workFolder(release);
  try {
    say(`fetching ${release.package}@${release.npm_version} with npm`);
    const tarball = await pack(release, work, options);
    say('checking');
    checkSum(release, tarball);
    say('unpacking');
    place(release, await unpack(release, tarball, work, options), work);
  } catch (error) {
    throw readable(release, error);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const now = cacheState(release);
  if (now.state === 'cached') return now.files;
  throw failed(release, now.state === 'damaged' ? now.why : `${now.dir} was removed by somebody`);
}

/** A folder beside the finished ones, so that a rename is enough. Older ones of fetches that died are swept. */
function workFolder(release: Release): string {
  const parent = dirname(releaseDir(release));
  try {
    mkdirSync(parent, { recursive: true });
    for (const name of readdirSync(parent)) {
      const old = join(parent, name);
      if (!name.startsWith(`.${release.name}-`)) continue;
      const age_ms = Date.now() - (statSync(old, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age_ms > 86_400_000) rmSync(old, { recursive: true, force: true });
    }
    return mkdtempSync(join(parent, `.${release.name}-`));
  } catch (error) {
    const why = (error as Error).message;
    throw failed(release, `the cache cannot be written (${why}): set ISOBATCH_CACHE to a folder that can`);
  }
}

/** Returns the path of the tarball. */
async function pack(release: Release, work: string, options: FetchOptions): Promise<string> {
  const args = ['pack', `${release.package}@${release.npm_version}`, '--pack-destination', work];
  args.push('--ignore-scripts', '--loglevel', 'error', '--no-update-notifier');
  const result = await run('npm', args, options);
  if (result.failure !== undefined) throw failed(release, npmFailure(result, options));
  const tarball = readdirSync(work).find((name) => name.endsWith('.tgz'));
  if (tarball === undefined) throw failed(release, 'npm ended well, but left no tarball');
  return join(work, tarball);
}

function checkSum(release: Release, tarball: string): void {
  const sum = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
  if (sum === release.integrity) return;
  const why =
    `the checksum is wrong: ${basename(tarball)} has ${sum}, expected ${release.integrity}. It was cut, or the ` +
    'registry serves other bytes: try "npm cache verify", or another registry';
  throw failed(release, why, { sum, expected: release.integrity });
}

/** Unpacks what is needed and writes the manifest; returns the folder, which is ready to be renamed. */
async function unpack(
  release: Release,
  tarball: string,
  work: string,
  options: FetchOptions,
): Promise<string> {
  const listed = await tar(release, ['-tzf', tarball], options);
  const members = listed.split('\n').filter((name) => WANTED.test(name) && !NOT_WANTED.test(basename(name)));
  await tar(release, ['-xzof', tarball, '-C', work, ...members], options);

  const dir = join(work, 'ready');
  mkdirSync(dir);
  const names = members.map((name) => basename(name));
  for (const [i, member] of members.entries()) {
    const path = join(work, member);
    if (!lstatSync(path).isFile()) throw failed(release, `${member} of the package is no plain file`);
    renameSync(path, join(dir, names[i]!));
  }
  checkBuild(release, join(dir, METADATA));
  writeFileSync(join(dir, MANIFEST), JSON.stringify(manifestOf(release, dir, names), null, 2));
  libFiles(dir);
  return dir;
}

/** The package says from which tag it was built. */
function checkBuild(release: Release, path: string): void {
  const said = JSON.parse(readFileSync(path, 'utf8')) as {
    buildOptions?: { llamaCpp?: { release?: string } };
  };
  const tag = said.buildOptions?.llamaCpp?.release;
  if (tag !== release.name) throw failed(release, `the package says that it is llama.cpp ${tag}`);
}

/** Renames the finished folder into the cache, unless another process was faster. */
function place(release: Release, ready: string, work: string): void {
  const home = releaseDir(release);
  for (let attempt = 0; ; attempt++) {
    try {
      renameSync(ready, home);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if ((code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOTDIR') || attempt === 9) throw error;
    }
    if (cachedRelease(release) !== null) return;
    // Damaged: it is moved away, not emptied in place, so that nobody sees it half there.
    try {
      renameSync(home, join(work, `damaged-${attempt}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

async function tar(release: Release, args: readonly string[], options: FetchOptions): Promise<string> {
  const result = await run('tar', args, options);
  if (result.failure === undefined) return result.stdout;
  if (result.failure === 'ENOENT')
    throw failed(release, 'there is no tar to unpack it with: install it and its gzip');
  throw failed(release, `tar could not unpack it (${result.failure}): ${firstLine(result.stderr)}`);
}

interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  /** A system error such as ENOENT, `timeout`, or `exit code N`; absent if all went well. */
  readonly failure?: string;
}

function run(program: string, args: readonly string[], options: FetchOptions): Promise<Ran> {
  const settings = {
    timeout: (options.timeout_s ?? TIMEOUT_S) * 1000,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 24,
    env: process.env,
    signal: options.signal,
  } as const;
  return new Promise((done) => {
    execFile(program, args, settings, (error, stdout, stderr) => {
      if (error === null) return done({ stdout, stderr });
      const code = error.code ?? error.signal;
      const name = typeof code === 'number' ? `exit code ${code}` : String(code);
      done({ stdout, stderr, failure: error.killed && name === 'SIGKILL' ? 'timeout' : name });
    });
  });
}

const UNREACHABLE =
  /^(ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|FETCH_ERROR|ERR_SOCKET_TIMEOUT|.*CERT.*|E40[0137]|E5\d\d)$/;

/** npm's own words, and what they mean. */
function npmFailure({ failure, stderr }: Ran, options: FetchOptions): string {
  if (failure === 'ENOENT')
    return 'there is no npm to fetch it with: it comes with Node.js. Or give the path of a build: --lib PATH';
  if (failure === 'ABORT_ERR') return 'it was interrupted';
  if (failure === 'timeout') return `npm did not end within ${options.timeout_s ?? TIMEOUT_S} s: ${LOOK}`;
  const code = /^npm (?:ERR!|error) code (\S+)/m.exec(stderr)?.[1];
  const words = firstLine(stderr.replace(/^npm (?:ERR!|error) (?:code|errno|syscall) .*$/gm, ''));
  const said = `${code ?? failure}: ${words.replace(/^npm (?:ERR!|error) /, '')}`;
  if (code === 'E404' || code === 'ETARGET') return `npm's registry does not have it (${said}): ${LOOK}`;
  if (code !== undefined && UNREACHABLE.test(code))
    return `npm did not get it from its registry (${said}): ${LOOK}`;
  return `npm failed (${said})`;
}

const LOOK =
  'look at the network and at npm\'s registry and proxy settings ("npm config list"), or give the path of a build: ' +
  '--lib PATH';

function firstLine(text: string): string {
  return (
    text
      .split('\n')
      .map((line) => line.trim())
      .find((line) => line !== '') ?? 'it gave no reason'
  );
}

function failed(release: Release, why: string, detail: Record<string, unknown> = {}): IsobatchError {
  return new IsobatchError('file', `llama.cpp ${release.name} could not be fetched: ${why}`, {
    release: release.name,
    ...detail,
  });
}

/** Errors of the file system become ours; ours stay. */
function readable(release: Release, error: unknown): IsobatchError {
  if (error instanceof IsobatchError) return error;
  return failed(release, (error as Error).message);
}

/**
 * Fetching, against an npm of our own: a small script on PATH that copies a tarball made here, or fails as the real
 * one does. Nothing here needs the network.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { llamaFindings } from '../../../cli/doctor-llama.ts';
import { type Release, releaseByName } from './builds.ts';
import { cacheDir, cachedRelease, cacheState, verifyCached } from './cache.ts';
import { elfFile, libllamaFile } from './elf-testing.ts';
import { fetchRelease, resolveLib } from './fetch.ts';

const BUILT = new URL('../../../dist/properties/subjects/llama/fetch.js', import.meta.url).href;
const BINS = 'package/bins/linux-x64';

let dir: string;
let release: Release;
const before = { ...process.env };

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-fetch-'));
  mkdirSync(join(dir, 'programs'));
  process.env.ISOBATCH_CACHE = join(dir, 'cache');
  process.env.PATH = `${join(dir, 'programs')}:${before.PATH}`;
  process.env.FAKE = dir;
  release = packed('b1');
  program('npm', 'echo "$2" >>$FAKE/asked; /bin/cp $FAKE/b1.tgz "$4/"');
});
afterEach(() => {
  for (const name of ['PATH', 'ISOBATCH_CACHE', 'FAKE'] as const) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  rmSync(dir, { recursive: true });
});

function program(name: string, script: string): void {
  const path = join(dir, 'programs', name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

/** Makes the tarball of a package, and the release that pins it. */
function packed(name: string, tag = name): Release {
  const bins = join(dir, 'made', BINS);
  mkdirSync(bins, { recursive: true });
  const put = (file: string, bytes: Buffer | string) => writeFileSync(join(bins, file), bytes);
  put('../../LICENSE', 'MIT');
  put('../../package.json', '{}');
  put('_nlcBuildMetadata.json', JSON.stringify({ buildOptions: { llamaCpp: { release: tag } } }));
  put(`libllama.${name}.so`, libllamaFile(['libggml.so', 'libggml-base.so']));
  put('libggml.so', elfFile({ needed: ['libggml-base.so'] }));
  put('libggml-base.so', elfFile());
  put('libggml-cpu-haswell.so', elfFile());
  put('libllama-common.so', elfFile());
  put('llama-addon.node', elfFile());
  const tarball = join(dir, `${name}.tgz`);
  execFileSync('tar', ['-czf', tarball, '-C', join(dir, 'made'), 'package']);
  const sha512 = createHash('sha512').update(readFileSync(tarball)).digest('base64');
  return { name, package: '@x/y', npm_version: '1.2.3', integrity: `sha512-${sha512}`, date: '2025-01' };
}

const home = () => join(dir, 'cache/llama/b1');
const asked = () => readFileSync(join(dir, 'asked'), 'utf8').split('\n').filter(Boolean);
const inCache = () => readdirSync(join(dir, 'cache/llama'));

async function failure(): Promise<string> {
  const error = await fetchRelease(release, { timeout_s: 20 }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: 'IsobatchError', kind: 'file' });
  expect(inCache()).toEqual([]);
  return (error as Error).message;
}

describe('a release', () => {
  it('is fetched once, with the libraries that are needed', async () => {
    const said: string[] = [];
    expect(cachedRelease(release)).toBeNull();
    const files = await fetchRelease(release, { onProgress: (what) => said.push(what) });
    expect(files).toMatchObject({ name: 'b1', release: 'b1', dir: home() });
    expect(files.libggml_cpu.map((c) => c.isa)).toEqual(['haswell']);
    const sum = createHash('sha256').update(readFileSync(files.libllama)).digest('hex');
    expect(files.sha256).toBe(sum);
    expect(readdirSync(home()).sort()).toEqual([
      'LICENSE',
      '_nlcBuildMetadata.json',
      'libggml-base.so',
      'libggml-cpu-haswell.so',
      'libggml.so',
      'libllama.b1.so',
      'manifest.json',
    ]);
    expect(said).toHaveLength(3);
    expect(await fetchRelease(release)).toEqual(files);
    expect(verifyCached(release)).toEqual(files);
    expect(asked()).toEqual(['@x/y@1.2.3']);
    expect(inCache()).toEqual(['b1']);
  });

  it('is fetched again where its folder is damaged', async () => {
    const { libllama } = await fetchRelease(release);
    truncateSync(libllama, 100);
    expect(cachedRelease(release)).toBeNull();
    expect(cacheState(release)).toMatchObject({ state: 'damaged', why: /libllama\.b1\.so has 100 bytes/ });
    expect(() => verifyCached(release)).toThrow(/is damaged: libllama\.b1\.so has 100/);
    await fetchRelease(release);
    rmSync(join(home(), 'libggml.so'));
    await fetchRelease(release);
    writeFileSync(join(home(), 'manifest.json'), '{"version":1');
    await fetchRelease(release);
    rmSync(home(), { recursive: true });
    writeFileSync(home(), 'a file where the folder should be');
    await fetchRelease(release);
    expect(verifyCached(release)).not.toBeNull();
    expect(asked()).toHaveLength(5);
    expect(inCache()).toEqual(['b1']);
  });

  it('of other bytes than those pinned now is not taken from the cache', async () => {
    await fetchRelease(release);
    expect(cachedRelease({ ...release, integrity: 'sha512-x' })).toBeNull();
  });

  it('with one bit turned is seen by the hashes', async () => {
    const { libllama } = await fetchRelease(release);
    const bytes = readFileSync(libllama);
    bytes[bytes.length - 2]! ^= 1;
    writeFileSync(libllama, bytes);
    expect(cachedRelease(release)).not.toBeNull();
    expect(() => verifyCached(release)).toThrow(/has sha256 [0-9a-f]{64}, not [0-9a-f]{64}\. Delete .*b1/);
  });
});

describe('a fetch that fails says why, and leaves nothing', () => {
  it('wrong checksum: both sums', async () => {
    const wanted = release.integrity;
    writeFileSync(join(dir, 'b1.tgz'), 'other bytes');
    const sum = createHash('sha512').update('other bytes').digest('base64');
    const said = await failure();
    expect(said).toContain(wanted);
    expect(said).toContain(`sha512-${sum}`);
  });

  it('no npm', async () => {
    rmSync(join(dir, 'programs/npm'));
    process.env.PATH = join(dir, 'programs');
    expect(await failure()).toMatch(/there is no npm .*comes with Node\.js.*--lib PATH/);
  });

  it('no tar', async () => {
    process.env.PATH = join(dir, 'programs');
    expect(await failure()).toMatch(/there is no tar/);
  });

  it('no network', async () => {
    program(
      'npm',
      `printf 'npm error code ENOTFOUND\\nnpm error errno X\\nnpm error no host r\\n' >&2; exit 1`,
    );
    expect(await failure()).toMatch(/from its registry \(ENOTFOUND: no host r\): look at the network.*proxy/);
  });

  it('a version that the registry lacks, in the words of an older npm', async () => {
    program('npm', `printf 'npm ERR! code E404\\nnpm ERR! 404 Not Found\\n' >&2; exit 1`);
    expect(await failure()).toMatch(/does not have it \(E404: 404 Not Found\)/);
  });

  it('npm broken, or without result, or slow', async () => {
    program('npm', 'exit 3');
    expect(await failure()).toMatch(/npm failed \(exit code 3: it gave no reason\)/);
    program('npm', 'exit 0');
    expect(await failure()).toMatch(/left no tarball/);
    program('npm', 'sleep 30');
    await expect(fetchRelease(release, { timeout_s: 0.1 })).rejects.toThrow(/did not end within 0\.1 s/);
    await expect(fetchRelease(release, { signal: AbortSignal.abort() })).rejects.toThrow(/was interrupted/);
  });

  it('tar that fails', async () => {
    program('tar', 'echo "tar: disk is full" >&2; exit 2');
    expect(await failure()).toMatch(/tar could not unpack it \(exit code 2\): tar: disk is full/);
  });

  it('a package of another build', async () => {
    release = packed('b1', 'b2');
    expect(await failure()).toMatch(/says that it is llama\.cpp b2/);
  });

  it('a package without a library', async () => {
    packed('b1');
    rmSync(join(dir, 'made', BINS, 'libggml-base.so'));
    execFileSync('tar', ['-czf', join(dir, 'b1.tgz'), '-C', join(dir, 'made'), 'package']);
    const sha512 = createHash('sha512')
      .update(readFileSync(join(dir, 'b1.tgz')))
      .digest('base64');
    release = { ...release, integrity: `sha512-${sha512}` };
    expect(await failure()).toMatch(/needs libggml-base\.so/);
  });

  it('a package with a link in place of a library', async () => {
    packed('b1');
    const lib = join(dir, 'made', BINS, 'libggml.so');
    rmSync(lib);
    symlinkSync('/etc/hostname', lib);
    execFileSync('tar', ['-czf', join(dir, 'b1.tgz'), '-C', join(dir, 'made'), 'package']);
    const sha512 = createHash('sha512')
      .update(readFileSync(join(dir, 'b1.tgz')))
      .digest('base64');
    release = { ...release, integrity: `sha512-${sha512}` };
    expect(await failure()).toMatch(/libggml\.so of the package is no plain file/);
  });

  it('a cache that cannot be made', async () => {
    writeFileSync(join(dir, 'cache'), 'a file');
    await expect(fetchRelease(release)).rejects.toThrow(/cache cannot be written.*set ISOBATCH_CACHE/);
  });
});

/** Fetches in a process of its own, from the built files. */
const script = `const { fetchRelease } = await import(${JSON.stringify(BUILT)});
const files = await fetchRelease(JSON.parse(process.argv[1]));
process.stdout.write(files.sha256);`;
const nodeArgs = () => ['--input-type=module', '-e', script, JSON.stringify(release)];

describe('processes', () => {
  it.each([
    ['npm, half the tarball written', 'npm', 'head -c 200 $FAKE/b1.tgz >"$4/b1.tgz"; kill -9 $PPID'],
    [
      'tar, half the files written',
      'tar',
      'if [ $1 = -xzof ]; then /bin/tar "$@"; rm $4/$7; kill -9 $PPID; fi; exec /bin/tar "$@"',
    ],
  ])('killed in %s: nothing is taken for whole, and the next one fetches', async (_, name, planted) => {
    program(name, planted);
    const died = spawnSync(process.execPath, nodeArgs(), { encoding: 'utf8', timeout: 20_000 });
    expect(died.signal, died.stderr).toBe('SIGKILL');
    expect(inCache()).toEqual([expect.stringMatching(/^\.b1-/)]);
    expect(cachedRelease(release)).toBeNull();
    program('npm', '/bin/cp $FAKE/b1.tgz "$4/"');
    program('tar', 'exec /bin/tar "$@"');
    await fetchRelease(release);
    expect(verifyCached(release)).not.toBeNull();
  });

  it('what a dead one left is swept a day later', async () => {
    const old = join(dir, 'cache/llama/.b1-old');
    mkdirSync(old, { recursive: true });
    utimesSync(old, 1, 1);
    mkdirSync(join(dir, 'cache/llama/.b1-new'));
    await fetchRelease(release);
    expect(inCache().sort()).toEqual(['.b1-new', 'b1']);
  });

  // Each npm waits until all are there, so that all race to the rename.
  const barrier = (n: number) =>
    `mkdir -p $FAKE/there; touch $FAKE/there/$$
while [ $(ls $FAKE/there | wc -l) -lt ${n} ]; do sleep 0.01; done
/bin/cp $FAKE/b1.tgz "$4/"`;

  it.each(['absent', 'damaged'])(
    'four at once where it is %s: all end with the whole release',
    async (state) => {
      if (state === 'damaged') {
        await fetchRelease(release);
        truncateSync(join(home(), 'libggml.so'), 1);
      }
      program('npm', barrier(4));
      const all = await Promise.all(Array.from({ length: 4 }, () => fetchRelease(release)));
      for (const files of all) expect(files).toEqual(all[0]);
      expect(verifyCached(release)).toEqual(all[0]);
      expect(readdirSync(join(dir, 'there'))).toHaveLength(4);
      expect(inCache()).toEqual(['b1']);
    },
  );

  it('two real ones at once: both end with it', async () => {
    program('npm', barrier(2));
    const both = spawnSync(
      '/bin/sh',
      ['-c', '"$@" & first=$!; "$@" || exit 1; wait $first', 'sh', process.execPath, ...nodeArgs()],
      { encoding: 'utf8', timeout: 30_000 },
    );
    expect(both.status, both.stderr).toBe(0);
    const { sha256 } = verifyCached(release)!;
    expect(both.stdout).toBe(sha256 + sha256);
    expect(inCache()).toEqual(['b1']);
  });
});

describe('what --lib names', () => {
  const here = process.platform === 'linux' && process.arch === 'x64';

  it.runIf(here)('is a path or a release', async () => {
    await fetchRelease(release);
    expect(await resolveLib(home())).toMatchObject({
      name: home(),
      libllama: join(home(), 'libllama.b1.so'),
    });
    await expect(resolveLib('b3888')).rejects.toThrow(/unknown release .*b3888; did you mean b3889\?/);
    await expect(resolveLib('./b3888')).rejects.toThrow(/no file or folder/);
    await expect(resolveLib('libllama.so')).rejects.toThrow(/no file or folder/);
    program('npm', `echo 'npm error code ENOTCACHED' >&2; exit 1`);
    await expect(resolveLib('b3889')).rejects.toThrow(/b3889 could not be fetched.*ENOTCACHED/);
  });
});

describe('the cache', () => {
  it('lies where the environment says', () => {
    expect(cacheDir({ ISOBATCH_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
    expect(cacheDir({ ISOBATCH_CACHE: '', XDG_CACHE_HOME: '/b' })).toBe('/b/isobatch');
    expect(cacheDir({})).toMatch(/\/\.cache\/isobatch$/);
  });

  it('is listed by doctor', () => {
    expect(llamaFindings('darwin', 'arm64')).toEqual([
      {
        what: 'llama.cpp',
        state: 'none',
        detail: expect.stringMatching(/^Linux x86-64 needed: .*darwin arm64/),
      },
    ]);
    const rows = () => llamaFindings('linux', 'x64');
    expect(rows()).toHaveLength(9);
    for (const { state, detail } of rows())
      expect({ state, detail }).toEqual({ state: 'none', detail: 'not fetched: fetched on first use' });
    mkdirSync(join(dir, 'cache/llama/b4980'), { recursive: true });
    expect(rows()[2]).toMatchObject({ what: 'llama.cpp b4980', state: 'none', detail: /^damaged \(/ });
  });

  it('is listed by doctor with path and size', async () => {
    const { integrity } = releaseByName('b4980');
    await fetchRelease(release);
    execFileSync('mv', [home(), join(dir, 'cache/llama/b4980')]);
    const manifest = join(dir, 'cache/llama/b4980/manifest.json');
    const record = JSON.parse(readFileSync(manifest, 'utf8')) as object;
    writeFileSync(manifest, JSON.stringify({ ...record, integrity }));
    const row = llamaFindings('linux', 'x64')[2]!;
    expect(row.state).toBe('ok');
    expect(row.detail).toMatch(/cache\/llama\/b4980 \(0\.0 MB\)$/);
    expect(existsSync(manifest)).toBe(true);
  });
});

/** Profiles that are kept: measured once for a build, and again for every other or for a file that is not whole. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Subject } from '../../../contract/subject.ts';
import { plainSubject } from '../plain/subject.ts';
import { measureProfile } from './profile.ts';
import { type BuildKey, profileOf } from './profile-cache.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-profiles-'));
  vi.stubEnv('ISOBATCH_CACHE', join(dir, 'cache'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true });
});

const folder = () => join(dir, 'cache', 'profiles');
const files = () => readdirSync(folder());
const only = () => {
  const [name, ...more] = files();
  expect(more).toEqual([]);
  return join(folder(), name!);
};

/** A release, whose files are pinned. */
const RELEASE: BuildKey = { sha256: 'a'.repeat(64), release: 'b1', preload: [], libggml_cpu: [] };

/** Asks for the profile; whether it was measured, and what came. */
async function ask(key: BuildKey = RELEASE, base: Subject = plainSubject()) {
  let loads = 0;
  const subject: Subject = {
    info: base.info,
    load(bytes, name) {
      loads++;
      return base.load(bytes, name);
    },
    close() {},
  };
  const profile = await profileOf(subject, key, {});
  return { measured: loads > 0, profile };
}

describe('a profile', () => {
  it('is measured once, and kept as it is', async () => {
    const first = await ask();
    expect(first).toEqual({ measured: true, profile: await measureProfile(plainSubject()) });
    expect(await ask()).toEqual({ measured: false, profile: first.profile });
    expect(only()).toMatch(/\/[0-9a-f]{24}\.json$/);
  });

  it('is kept with that of flash attention', async () => {
    const plain = plainSubject();
    const info = { ...plain.info, choices: { flash_attn: [false, true] } };
    const flash = () => ask(RELEASE, { ...plain, info, load: plain.load.bind(plain) });
    const first = await flash();
    expect(first.profile.rounding_flash).toBeDefined();
    expect(await flash()).toEqual({ measured: false, profile: first.profile });
  });

  it('belongs to a libllama, a release and an instruction set', async () => {
    await ask();
    const others: BuildKey[] = [
      { ...RELEASE, sha256: 'b'.repeat(64) },
      { ...RELEASE, release: 'b2' },
      { ...RELEASE, isa: 'haswell' },
    ];
    for (const key of others) expect((await ask(key)).measured).toBe(true);
    for (const key of others) expect((await ask(key)).measured).toBe(false);
    expect(files().length).toBe(4);
  });

  it("belongs to every library of a build of one's own: libggml rounds, libllama may stay the same", async () => {
    const [base, cpu] = [join(dir, 'libggml-base.so'), join(dir, 'libggml-cpu.so')];
    writeFileSync(base, 'one');
    writeFileSync(cpu, 'one');
    const own: BuildKey = {
      sha256: RELEASE.sha256,
      preload: [base],
      libggml_cpu: [{ isa: 'single', path: cpu, linked: false }],
    };
    expect((await ask(own)).measured).toBe(true);
    expect((await ask(own)).measured).toBe(false);
    for (const changed of [cpu, base]) {
      writeFileSync(changed, 'two');
      expect((await ask(own)).measured).toBe(true);
      expect((await ask(own)).measured).toBe(false);
    }
  });
});

describe('a file that is no profile of the build', () => {
  const damages: [string, (text: string) => string][] = [
    ['cut short', (text) => text.slice(0, text.length / 2)],
    ['empty', () => ''],
    ['null', () => 'null'],
    ['without what was measured', (text) => JSON.stringify({ about: JSON.parse(text).about })],
    ['with a word that there is not', (text) => text.replace('"kv":"as asked"', '"kv":"F8"')],
    ['with a field less', (text) => text.replace('"rope":"F32",', '')],
    ['with a flash profile that is none', (text) => text.replace(/\}$/, ',"rounding_flash":{}}')],
    ['of another build', (text) => text.replace('aaaa', 'bbbb')],
    ['of the older form', (text) => JSON.stringify({ rounding: JSON.parse(text).rounding })],
  ];

  it.each(damages)('%s is measured anew, and whole again', async (_, damage) => {
    const { profile } = await ask();
    const whole = readFileSync(only(), 'utf8');
    const damaged = damage(whole);
    expect(damaged).not.toBe(whole);
    writeFileSync(only(), damaged);
    expect(await ask()).toEqual({ measured: true, profile });
    expect(readFileSync(only(), 'utf8')).toBe(whole);
    expect((await ask()).measured).toBe(false);
  });
});

describe('a cache that cannot be written', () => {
  it('does no harm', async () => {
    writeFileSync(join(dir, 'cache'), 'a file where the folder should be');
    expect((await ask()).measured).toBe(true);
    expect((await ask()).measured).toBe(true);
  });

  it('keeps nothing that is half written', async () => {
    const { profile } = await ask();
    const path = only();
    // A folder of that name: the file can be written beside it, and not be renamed to it.
    rmSync(path);
    mkdirSync(join(path, 'inside'), { recursive: true });
    expect(await ask()).toEqual({ measured: true, profile });
    expect(files()).toEqual([path.slice(folder().length + 1)]);
  });

  it('a subject that fails leaves nothing behind', async () => {
    const broken: Subject = {
      ...plainSubject(),
      load() {
        throw new Error('no such model');
      },
      close() {},
    };
    await expect(profileOf(broken, RELEASE, {})).rejects.toThrow('no such model');
    expect(() => files()).toThrow(/ENOENT/);
  });
});

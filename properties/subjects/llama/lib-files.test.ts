import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sha256OfFile } from '../../file-hash.ts';
import { elfFile, libllamaFile } from './elf-testing.ts';
import { libFiles } from './lib-files.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-libs-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function put(files: Record<string, Buffer>, inside = ''): void {
  mkdirSync(join(dir, inside), { recursive: true });
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(dir, inside, name), bytes);
}

const base = elfFile({ soname: 'libggml-base.so' });
const needs = (...needed: string[]) => elfFile({ needed });
const names = (paths: readonly string[]) => paths.map((path) => basename(path));

describe('the folder of a package', () => {
  it('of one library beside: the CPU is inside of it (b3889)', () => {
    put({ 'libllama.so': libllamaFile(['libggml.so']), 'libggml.so': needs('libm.so.6') });
    const found = libFiles(dir, { name: 'b3889', release: 'b3889' });
    expect(found).toEqual({
      name: 'b3889',
      release: 'b3889',
      dir,
      libllama: join(dir, 'libllama.so'),
      libggml: join(dir, 'libggml.so'),
      libggml_cpu: [{ isa: 'built in', path: join(dir, 'libggml.so'), linked: true }],
      preload: [join(dir, 'libggml.so')],
      sha256: sha256OfFile(join(dir, 'libllama.so')),
    });
  });

  it('with a linked libggml-cpu: what is needed comes first (b4234)', () => {
    put({
      'libllama.so': libllamaFile(['libggml.so', 'libggml-base.so']),
      'libggml.so': needs('libggml-cpu.so', 'libggml-base.so'),
      'libggml-cpu.so': needs('libggml-base.so'),
      'libggml-base.so': base,
    });
    const found = libFiles(dir);
    expect(names(found.preload)).toEqual(['libggml-base.so', 'libggml-cpu.so', 'libggml.so']);
    expect(found.libggml_cpu).toEqual([{ isa: 'built in', path: join(dir, 'libggml-cpu.so'), linked: true }]);
    expect(found.libggml_base).toBe(join(dir, 'libggml-base.so'));
    expect(found.name).toBe(dir);
  });

  it('with variants and names that carry the release (b8095)', () => {
    const package_dir = 'package/bins/linux-x64';
    put(
      {
        'libllama.b8095.so': libllamaFile(['libggml.b8095.so', 'libggml-base.so']),
        'libggml.b8095.so': needs('libggml-base.so'),
        'libggml-base.so': base,
        'libggml-cpu-zen4.so': needs('libggml-base.so'),
        'libggml-cpu-haswell.so': needs('libggml-base.so'),
        'libllama-common.so': needs('libllama.b8095.so'),
        'llama-addon.node': base,
      },
      package_dir,
    );
    const found = libFiles(dir);
    expect(found.dir).toBe(join(dir, package_dir));
    expect(basename(found.libllama)).toBe('libllama.b8095.so');
    expect(basename(found.libggml!)).toBe('libggml.b8095.so');
    expect(found.libggml_cpu.map((c) => [c.isa, basename(c.path), c.linked])).toEqual([
      ['haswell', 'libggml-cpu-haswell.so', false],
      ['zen4', 'libggml-cpu-zen4.so', false],
    ]);
  });
});

describe('the folder of a CMake build', () => {
  function cmake(): void {
    put(
      {
        'libllama.so.0.0.9': libllamaFile(['libggml.so.0', 'libggml-base.so.0'], { soname: 'libllama.so.0' }),
        'libggml.so.0.9.4': elfFile({
          soname: 'libggml.so.0',
          needed: ['libggml-cpu.so.0', 'libggml-base.so.0'],
        }),
        'libggml-cpu.so.0.9.4': elfFile({ soname: 'libggml-cpu.so.0', needed: ['libggml-base.so.0'] }),
        'libggml-base.so.0.9.4': elfFile({ soname: 'libggml-base.so.0' }),
      },
      'build/bin',
    );
  }
  const bin = () => join(dir, 'build/bin');
  const link = (target: string, name: string) => symlinkSync(target, join(bin(), name));
  const link_all = () => {
    link('libllama.so.0.0.9', 'libllama.so.0');
    link('libllama.so.0', 'libllama.so');
    for (const part of ['', '-cpu', '-base']) link(`libggml${part}.so.0.9.4`, `libggml${part}.so.0`);
  };

  it('is found from the source tree, the build, the folder and the file', () => {
    cmake();
    link_all();
    for (const path of ['', 'build', 'build/bin', 'build/bin/libllama.so']) {
      const found = libFiles(join(dir, path));
      expect(found.libllama, path).toBe(join(bin(), 'libllama.so'));
      expect(names(found.preload)).toEqual(['libggml-base.so.0', 'libggml-cpu.so.0', 'libggml.so.0']);
      expect(found.libggml_cpu.map((c) => c.isa)).toEqual(['built in']);
    }
  });

  it('may have lost its links: the names inside count', () => {
    cmake();
    const found = libFiles(bin());
    expect(basename(found.libllama)).toBe('libllama.so.0.0.9');
    expect(names(found.preload)).toEqual([
      'libggml-base.so.0.9.4',
      'libggml-cpu.so.0.9.4',
      'libggml.so.0.9.4',
    ]);
  });

  it('may be named through a link elsewhere', () => {
    cmake();
    link_all();
    symlinkSync(join(bin(), 'libllama.so'), join(dir, 'libllama-mine.so'));
    expect(names(libFiles(join(dir, 'libllama-mine.so')).preload)).toContain('libggml-cpu.so.0');
  });

  it('may have libggml in another folder, which its RUNPATH names', () => {
    put({ 'libllama.so': libllamaFile(['libggml.so'], { runpath: '$ORIGIN/../ggml/src' }) }, 'build/src');
    put({ 'libggml.so': needs() }, 'build/ggml/src');
    expect(libFiles(dir).libggml).toBe(join(dir, 'build/ggml/src/libggml.so'));
  });

  it('with two versions and no libllama.so must be told which', () => {
    cmake();
    put({ 'libllama.so.0.0.8': libllamaFile([]) }, 'build/bin');
    expect(() => libFiles(bin())).toThrow(/holds 2 of them.*libllama\.so\.0\.0\.8, libllama\.so\.0\.0\.9/);
    link_all();
    expect(basename(libFiles(bin()).libllama)).toBe('libllama.so');
  });

  it('of one static library has everything inside', () => {
    put({ 'libllama.so': libllamaFile(['libc.so.6']) });
    const found = libFiles(dir);
    expect(found.preload).toEqual([]);
    expect(found.libggml).toBeUndefined();
    expect(found.libggml_cpu).toEqual([{ isa: 'built in', path: found.libllama, linked: true }]);
  });
});

describe('what is missing or wrong', () => {
  it('is named: libggml', () => {
    put({
      'libllama.so': libllamaFile(['libggml.isobatch-test.so', 'libggml-base.so']),
      'libggml-base.so': base,
    });
    expect(() => libFiles(dir)).toThrow(expect.objectContaining({ kind: 'file' }));
    expect(() => libFiles(dir)).toThrow(
      /libllama\.so needs libggml\.isobatch-test\.so.*there: libggml-base\.so\)/,
    );
  });

  it('is named: what libggml needs', () => {
    put({
      'libllama.so': libllamaFile(['libggml.so']),
      'libggml.so': needs('libggml-base.isobatch-test.so'),
    });
    expect(() => libFiles(dir)).toThrow(/libggml\.so needs libggml-base\.isobatch-test\.so/);
  });

  it('is named: the CPU', () => {
    put({
      'libllama.so': libllamaFile(['libggml.so']),
      'libggml.so': needs('libggml-base.so'),
      'libggml-base.so': base,
    });
    expect(() => libFiles(dir)).toThrow(/no libggml-cpu\*\.so in .*no CPU code/);
    put({ 'libggml-cpu.so': needs('libggml-base.so') });
    expect(libFiles(dir).libggml_cpu).toMatchObject([{ isa: 'single', linked: false }]);
  });

  it('is named: the file, the folder, libllama itself', () => {
    expect(() => libFiles(join(dir, 'nowhere.so'))).toThrow(/no file or folder .*nowhere\.so/);
    expect(() => libFiles('/dev/null/x')).toThrow(/no file or folder \/dev\/null\/x/);
    expect(() => libFiles(dir)).toThrow(/no libllama\.so in .*BUILD_SHARED_LIBS/);
    put({ 'libggml.so': base });
    expect(() => libFiles(join(dir, 'libggml.so'))).toThrow(/is not libllama: it does not name llama_decode/);
    put({ 'libllama-common.so': libllamaFile(['libllama.v0.5.0.so']) });
    expect(() => libFiles(join(dir, 'libllama-common.so'))).toThrow(/needs libllama\.v0\.5\.0\.so itself/);
    put({ 'libllama.so': elfFile({ machine: 183 }) });
    expect(() => libFiles(dir)).toThrow(/libllama\.so is no shared library for Linux x86-64: .*arm64/);
  });
});

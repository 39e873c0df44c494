import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readElf } from './elf.ts';
import { type ElfParts, elfFile } from './elf-testing.ts';

const dir = mkdtempSync(join(tmpdir(), 'isobatch-elf-'));
afterAll(() => rmSync(dir, { recursive: true }));

function written(bytes: Uint8Array): string {
  const path = join(dir, 'libx.so');
  writeFileSync(path, bytes);
  return path;
}

describe('the head of a shared library', () => {
  it('names itself, what it needs and where to look', () => {
    const parts = { soname: 'libx.so.0', needed: ['liba.so', 'libb.so.1'], runpath: '$ORIGIN::/lib/x' };
    const elf = readElf(written(elfFile({ ...parts, symbols: ['llama_decode'] })));
    expect(elf).toMatchObject({ soname: 'libx.so.0', needed: ['liba.so', 'libb.so.1'] });
    expect(elf.runpath).toEqual(['$ORIGIN', '/lib/x']);
    expect(elf.names('llama_decode')).toBe(true);
    expect(elf.names('llama_dec')).toBe(false);
    expect(elf.names('decode')).toBe(false);
  });

  it('may have no name and no needs', () => {
    const elf = readElf(written(elfFile()));
    expect(elf.soname).toBeUndefined();
    expect(elf.needed).toEqual([]);
    expect(elf.runpath).toEqual([]);
  });

  it.runIf(process.platform === 'linux' && process.arch === 'x64')('is read of a real one too', () => {
    const report = process.report.getReport() as unknown as { sharedObjects: string[] };
    const libc = report.sharedObjects.find((path) => /\/libstdc\+\+\.so/.test(path))!;
    const elf = readElf(realpathSync(libc));
    expect(elf.soname).toBe('libstdc++.so.6');
    expect(elf.needed).toContain('libc.so.6');
    expect(elf.names('__cxa_throw')).toBe(true);
  });
});

describe('a file that is no library for this machine', () => {
  it.each<[string, ElfParts, RegExp]>([
    ['32 bits', { elf_class: 1 }, /for 32 bits/],
    ['big-endian', { byte_order: 2 }, /big-endian/],
    ['arm64', { machine: 183 }, /another machine \(arm64\)/],
    ['an unknown machine', { machine: 4711 }, /another machine \(number 4711\)/],
    ['a program', { type: 2 }, /is a program, no shared/],
    ['an object file', { type: 1 }, /is an object file/],
  ])('is refused: %s', (_, parts, reason) => {
    const path = written(elfFile(parts));
    expect(() => readElf(path)).toThrow(expect.objectContaining({ kind: 'file' }));
    expect(() => readElf(path)).toThrow(reason);
  });

  it('is refused: a text', () => {
    expect(() => readElf(written(Buffer.from(`INPUT(libllama.so.0)\n${' '.repeat(99)}`)))).toThrow(
      /begins with "INPU": no ELF/,
    );
    expect(() => readElf(written(Buffer.alloc(0)))).toThrow(/ends early: 0 of 64/);
  });

  it('is refused: one that is not there', () => {
    expect(() => readElf(join(dir, 'none.so'))).toThrow(/none\.so cannot be read: ENOENT/);
  });

  it('is refused with a reason wherever it ends', () => {
    const whole = elfFile({ needed: ['libggml.so'], soname: 'a' });
    for (let bytes = 0; bytes < whole.length; bytes++) {
      const path = written(whole.subarray(0, bytes));
      expect(() => readElf(path), `${bytes} bytes`).toThrow(expect.objectContaining({ kind: 'file' }));
    }
  });

  it('is read or refused, never worse, with any byte put wrong', () => {
    const whole = elfFile({ needed: ['libggml.so'], soname: 'a', runpath: 'b' });
    let refused = 0;
    for (let at = 0; at < whole.length; at++) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 0xff;
      try {
        readElf(written(bytes));
      } catch (error) {
        expect(error, `byte ${at}`).toMatchObject({ kind: 'file' });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(20);
  });
});

/** What must be true of the list of planted faults, without running any of them. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { buildNative, objectionsTo } from '../native/build.ts';
import { allFaults, canaries, equivalents, faults, referenceFaults } from './registry.ts';

const text = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), 'utf8');
/** TypeScript is patched in its compiled form, C++ as it stands. */
const patched = (file: string) => (file.endsWith('.ts') ? `dist/${file.replace(/\.ts$/, '.js')}` : file);

describe('the planted faults', () => {
  it.each(allFaults.map((f) => [f.name, f] as const))('%s fits its file exactly once', (_, fault) => {
    expect(text(patched(fault.file)).split(fault.find)).toHaveLength(2);
    expect(fault.replace).not.toBe(fault.find);
    // One expression: no statement, no line of its own.
    expect(fault.find + fault.replace).not.toMatch(/\n/);
  });

  it.each(allFaults.filter((f) => !f.file.endsWith('.ts')).map((f) => [f.name, f] as const))(
    '%s compiles',
    (_, fault) => {
      expect(objectionsTo(fault)).toBeNull();
    },
  );

  it('are found out when they do not compile', () => {
    const broken = {
      file: 'native/ssm.inl.h',
      find: 'int seqs, tokens, kept;',
      replace: 'int seqs, tokens, kept, kept;',
    };
    const gcc = objectionsTo({ file: 'native/isobatch.cpp', find: 'return 1; }', replace: 'return 2; }' });
    expect(gcc).toBeNull();
    const objections = objectionsTo(broken);
    if ('path' in buildNative()) expect(objections).toMatch(/kept/);
  });

  it('are found out when they do not fit any more', () => {
    const [fault] = faults;
    expect(text(patched(fault!.file)).replaceAll(fault!.find, '').split(fault!.find)).toHaveLength(1);
  });

  it('have names of their own and name the bug that they stand for', () => {
    expect(new Set(allFaults.map((f) => f.name)).size).toBe(allFaults.length);
    for (const fault of [...faults, ...referenceFaults])
      expect(fault.standsFor).toMatch(
        /^(([A-Z]\d\d, .*)?\S+ (PR|issue) \d+: |batching\.md |docs\/llama-releases\.md: )/,
      );
  });

  it('are as many and as different as the issue asks for', () => {
    const count = (is: (f: (typeof faults)[number]) => boolean) => faults.filter(is).length;
    expect(faults.length).toBeGreaterThanOrEqual(24);
    expect(count((f) => f.shows === 'second call')).toBeGreaterThanOrEqual(8);
    expect(count((f) => f.needs !== undefined)).toBeGreaterThanOrEqual(6);
    expect(count((f) => f.file.startsWith('native/'))).toBeGreaterThanOrEqual(8);
    expect(count((f) => f.isa !== undefined)).toBeGreaterThanOrEqual(2);
    expect(new Set(faults.map((f) => f.file)).size).toBeGreaterThanOrEqual(10);
    expect(referenceFaults.every((f) => f.finds !== undefined)).toBe(true);
    expect(faults.every((f) => f.finds === undefined)).toBe(true);
    expect(canaries.length).toBeGreaterThanOrEqual(6);
    expect(equivalents.length).toBeGreaterThanOrEqual(1);
  });
});

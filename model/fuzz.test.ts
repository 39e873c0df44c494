/** The fuzzer of the model reader: 3,000 files, and that it would see a reader that crashes. */
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { main } from './fuzz-main.ts';
import { fuzzFile, fuzzGguf, mutationNames } from './gguf.fuzz.ts';
import { baseFiles } from './gguf-layout.ts';
import { loadModel } from './load.ts';

describe('fuzzing the reader', () => {
  it('3,000 files become models or named refusals, and every mutation and outcome occurs', () => {
    const counts = fuzzGguf(3000, 7);
    expect(counts.crashed).toEqual([]);
    expect(Object.keys(counts.errors).sort()).toEqual(['gguf', 'model']);
    expect(counts.models + counts.errors.gguf! + counts.errors.model!).toBe(3000);
    expect(counts.models).toBeGreaterThan(100);
    expect(counts.errors.model).toBeGreaterThan(100);
    expect(Object.keys(counts.mutations).sort()).toEqual([...mutationNames, 'unstructured'].sort());
    expect(counts.mutations.unstructured).toBe(600);
  });

  it('starts from files of a few kilobytes that are models', () => {
    for (const bytes of baseFiles()) {
      expect(loadModel(bytes, 'base').n_params).toBeGreaterThan(50);
      expect(bytes.length).toBeLessThan(4096);
    }
  });

  it('gives the same file for the same seed and number, and others for others', () => {
    expect(fuzzFile(1, 17)).toEqual(fuzzFile(1, 17));
    expect(fuzzFile(1, 17).bytes).not.toEqual(fuzzFile(1, 18).bytes);
    expect(fuzzFile(1, 17).bytes).not.toEqual(fuzzFile(2, 17).bytes);
  });

  it('counts anything but a refusal of kind gguf or model as a crash', () => {
    const outcomes = [
      () => new RangeError('planted'),
      () => new IsobatchError('internal', 'planted'),
      () => new IsobatchError('gguf', 'planted'),
    ];
    let i = 0;
    const load = (): never => {
      throw outcomes[i++ % 3]!();
    };
    const counts = fuzzGguf(9, 1, { load });
    expect(counts.crashed.map((crash) => crash.i)).toEqual([0, 1, 3, 4, 6, 7]);
    expect(counts.crashed[0]!.error).toContain('planted');
    expect(counts.errors).toEqual({ gguf: 3 });
  });

  it('prints its counts as a program, and refuses nonsense', () => {
    const lines: string[] = [];
    expect(main(['200', '3'], (line) => lines.push(line))).toBe(0);
    expect(lines[0]).toMatch(/^200 files, seed 3, /);
    expect(lines[1]).toMatch(/crashed 0$/);
    expect(lines.at(-1)).toMatch(/^slowest file \d+, [\d.]+ ms$/);
    expect(main(['many'], (line) => lines.push(line))).toBe(2);
    expect(lines.at(-1)).toMatch(/^usage/);
  });
});

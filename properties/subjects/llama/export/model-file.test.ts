/** Which models go along with an exported case, and which llama.cpp would not load. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { IsobatchError } from '../../../../contract/errors.ts';
import { modelBytes } from '../../../campaign-models.ts';
import { exportedModel } from './model-file.ts';

const refusalOf = (run: () => unknown): string => {
  try {
    run();
    return 'none';
  } catch (error) {
    return `${(error as IsobatchError).kind}: ${(error as Error).message}`;
  }
};

it('writes a recipe, and knows its window', () => {
  const llama = exportedModel('recipe:llama-loadable', '', false);
  expect(llama).toMatchObject({ arch: 'llama', windowed: false, path: 'model.gguf' });
  expect(createHash('sha256').update(llama.bytes!).digest('hex')).toBe(llama.sha256);
  expect(exportedModel('recipe:gemma3', '', true)).toMatchObject({ arch: 'gemma3', windowed: true });
});

it('refuses a model that llama.cpp cannot load, or that is another one by now', () => {
  const dir = mkdtempSync(join(tmpdir(), 'isobatch-model-'));
  const path = join(dir, 'other.gguf');
  const bytes = Buffer.from(modelBytes('recipe:llama'));
  // The value stands behind its key, a type and a length.
  bytes.write('nobod', bytes.indexOf('general.architecture') + 20 + 4 + 8);
  writeFileSync(path, bytes);
  expect(refusalOf(() => exportedModel(path, '', false))).toContain(
    'cannot be loaded by llama.cpp: its architecture "nobod" is not known to be one of llama.cpp',
  );
  expect(exportedModel('recipe:llama', '', false).arch).toBe('llama');
  rmSync(dir, { recursive: true });
  expect(refusalOf(() => exportedModel('recipe:llama-loadable', 'abc', true))).toMatch(
    /^model: .* has changed since the case was kept \(sha256 [0-9a-f]{64}, was abc\)$/,
  );
  expect(refusalOf(() => exportedModel('/no/such.gguf', '', true))).toContain(
    'file: cannot read the model /no/such.gguf',
  );
});

it('leaves a file of the user where it is, whatever its types are', () => {
  const dir = mkdtempSync(join(tmpdir(), 'isobatch-model-'));
  const path = join(dir, 'own.gguf');
  writeFileSync(path, 'no GGUF that we read');
  const sha256 = createHash('sha256').update('no GGUF that we read').digest('hex');
  expect(exportedModel(path, sha256, true)).toEqual({ sha256, path });
  expect(refusalOf(() => exportedModel(path, sha256, false))).toMatch(/^gguf: /);
  rmSync(dir, { recursive: true });
});

it('leaves quantizing to the library, and knows its types', () => {
  const base = exportedModel('recipe:mamba-loadable', '', true);
  const quantized = exportedModel('recipe:mamba-loadable@Q8_0', base.sha256, true);
  expect(quantized).toEqual({ ...base, quantized: { type: 'Q8_0', ftype: 7 } });
  expect(refusalOf(() => exportedModel('recipe:mamba-loadable@Q9_9', '', true))).toBe(
    'usage: recipe:mamba-loadable@Q9_9: llama.cpp knows no type Q9_9',
  );
});

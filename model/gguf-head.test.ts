/** The head of a file on disk says what the whole file says, however long the head is, and refuses what is cut. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildRecipe } from '../golden/recipes.ts';
import { readGguf, writeGguf } from './gguf.ts';
import { readF32, readGgufHead } from './gguf-head.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-head-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function kept(name: string, bytes: Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
}

it('says what the reader of whole files says, with a head of more than the first piece', () => {
  const small = readGguf(buildRecipe('jamba'), 'jamba');
  const words = Array.from({ length: 200_000 }, (_, i) => `word ${i}`);
  const bytes = writeGguf({
    metadata: [...small.metadata, ['test.words', { type: 'array', of: 'string', value: words }]],
    tensors: small.tensors.values(),
  });
  const whole = readGguf(bytes, 'whole');
  const head = readGgufHead(kept('whole.gguf', bytes));
  expect(head.size).toBe(bytes.length);
  expect(head.metadata).toEqual(whole.metadata);
  expect([...head.tensors.keys()]).toEqual([...whole.tensors.keys()]);
  for (const t of whole.tensors.values()) {
    const found = head.tensors.get(t.name)!;
    expect([found.ne, found.type?.name]).toEqual([t.ne, t.type]);
    expect(readF32(head, found)).toEqual(t.data);
  }
});

it('knows the names of types that the reader does not take, and refuses to read them as F32', () => {
  const bytes = buildRecipe('llama-f16');
  const head = readGgufHead(kept('f16.gguf', bytes));
  const half = head.tensors.get('output.weight')!;
  expect(half.type?.name).toBe('F16');
  expect(() => readF32(head, half)).toThrow(/is not F32/);
});

it('refuses a file that is not there, cut in its head, or cut in its data', () => {
  const bytes = buildRecipe('llama');
  expect(() => readGgufHead(join(dir, 'none.gguf'))).toThrow(expect.objectContaining({ kind: 'file' }));
  for (const n of [0, 20, 700, bytes.length - 32])
    expect(() => readGgufHead(kept('cut.gguf', bytes.subarray(0, n)))).toThrow(
      expect.objectContaining({ kind: 'gguf' }),
    );
});

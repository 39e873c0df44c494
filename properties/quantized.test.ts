/** Names of quantized models, who can make them, and the real library doing so where a release is in the cache. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import type { Subject } from '../contract/subject.ts';
import { readGgufHead } from '../model/gguf-head.ts';
import { boundsBy } from './bounds-by.ts';
import { checkModelName, modelBytes, modelSource, quantizedName } from './campaign-models.ts';
import { quantizedFile } from './quantized.ts';
import { solo } from './solo.ts';
import { cachedRelease } from './subjects/llama/cache.ts';
import { remoteSubject } from './subjects/remote.ts';
import { fakeSubject } from './testing.ts';
import type { Env } from './types.ts';
import { runCase } from './worker-run.ts';

const NAME = 'recipe:llama-loadable@Q8_0';

it('a type behind the name is a quantized model, a size is none', () => {
  expect(quantizedName(NAME)).toEqual({ base: 'recipe:llama-loadable', type: 'Q8_0' });
  expect(quantizedName('/models/a@b/c.gguf@Q4_K')).toEqual({ base: '/models/a@b/c.gguf', type: 'Q4_K' });
  expect(quantizedName('recipe:llama@1x16')).toBeUndefined();
  expect(() => checkModelName(NAME)).not.toThrow();
  expect(() => checkModelName('recipe:nonsense@Q8_0')).toThrow(/unknown recipe/);
  expect(() => modelBytes(NAME)).toThrow(/made by the subject/);
});

it('a subject that does not quantize, or refuses, has no such model', async () => {
  const source = modelSource('recipe:llama-loadable');
  const fake = fakeSubject('attention');
  await expect(quantizedFile(fake, source, 'Q8_0', NAME)).rejects.toThrow(/fake does not quantize to Q8_0/);
  const refusing: Subject = {
    ...fake,
    info: { ...fake.info, quantizes: ['Q8_0'] },
    loadFile: () => fake.load(new Uint8Array(), ''),
    quantize(from) {
      expect(existsSync(from)).toBe(true);
      throw new IsobatchError('refused', 'not this one');
    },
  };
  await expect(quantizedFile(refusing, source, 'Q8_0', NAME)).rejects.toMatchObject({
    kind: 'model',
    message: `${NAME}: not this one`,
  });
});

const release = ['v0.5.0', 'b8352', 'b6673', 'b5640', 'b4980', 'b3889'].find(
  (name) => cachedRelease(name) !== null,
);
const main = fileURLToPath(new URL('../dist/properties/subjects/llama/serve-main.js', import.meta.url));

it.skipIf(release === undefined)(
  `${release ?? 'skipped, no release is in the cache'}: quantizes a recipe, loads it, and a sequence in a batch is what it is alone`,
  async () => {
    const subject = await remoteSubject({
      name: release!,
      file: process.execPath,
      args: [main, JSON.stringify({ files: cachedRelease(release!) })],
      env: { ...process.env, GGML_NO_BACKTRACE: '1' },
    });
    try {
      const file = await quantizedFile(subject, modelSource('recipe:llama-loadable'), 'Q8_0', NAME);
      const types = [...readGgufHead(file).tensors.values()].map(({ type }) => type?.name);
      expect(new Set(types)).toEqual(new Set(['Q8_0', 'F32']));
      const loaded = await subject.loadFile(file, NAME);
      const env: Env = {
        seed: 'quantized',
        subject: subject.info,
        model: loaded.info,
        modelName: NAME,
        modelFile: file,
        loaded,
        load: (bytes, name) => subject.load(bytes, name),
        loadFile: (path, name) => subject.loadFile(path, name),
        oracle: {} as Env['oracle'],
        coverage: {},
        restrict: {},
      };
      expect(boundsBy(env)).toBe('norms');
      const outcome = await runCase(solo, env, solo.generate(env, 0));
      expect(outcome.failure?.message).toBeUndefined();
      expect(outcome.compared).toBeGreaterThan(1000);
      expect(Object.keys(outcome.bounds!.use)).toEqual([`${NAME} (by copies)`]);
      await expect(subject.quantize(file, `${file}.2`, 'Q9')).rejects.toMatchObject({ kind: 'usage' });
      expect(readFileSync(file).length).toBeGreaterThan(10_000);
    } finally {
      await subject.close();
    }
  },
  60_000,
);

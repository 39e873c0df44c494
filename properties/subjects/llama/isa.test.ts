/**
 * `--isa` pins the file of an instruction set: only that libggml-cpu is mapped, answers come from it, and a name that
 * the build lacks is refused with those that it has. On releases that are in the cache.
 */
import { execFileSync } from 'node:child_process';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { modelBytes } from '../../campaign-models.ts';
import { type RemoteSubject, remoteSubject } from '../remote.ts';
import { cachedRelease } from './cache.ts';

const variants = ['v0.5.0', 'b8352', 'b6673', 'b5640', 'b4980'].find((name) => cachedRelease(name) !== null);
const builtIn = ['b3889', 'b4234'].find((name) => cachedRelease(name) !== null);
const dist = new URL('../../../dist/', import.meta.url);

function opened(lib: string, isa?: string): Promise<RemoteSubject> {
  return remoteSubject({
    name: lib,
    file: process.execPath,
    args: [
      fileURLToPath(new URL('properties/subjects/llama/serve-main.js', dist)),
      JSON.stringify({ files: cachedRelease(lib), isa }),
    ],
    env: { ...process.env, GGML_NO_BACKTRACE: '1' },
  });
}

/** Names of the libggml-cpu files that a process maps after it has opened a build. */
function mapped(lib: string, isa: string | undefined): string[] {
  const program = `
    import { readFileSync } from 'node:fs';
    const { Library } = await import(new URL('properties/subjects/llama/library.js', ${JSON.stringify(dist.href)}));
    new Library(JSON.parse(process.argv[1]), process.argv[2] || undefined);
    process.stdout.write(readFileSync('/proc/self/maps', 'utf8'));
    process.exit(0);
  `;
  const files = JSON.stringify(cachedRelease(lib));
  const maps = execFileSync(process.execPath, ['--input-type=module', '-e', program, files, isa ?? ''], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return [...new Set(maps.match(/\/\S*libggml-cpu\S*/g) ?? [])].map((path) => basename(path));
}

async function answer(lib: string, isa?: string): Promise<Float32Array> {
  const subject = await opened(lib, isa);
  try {
    const name = 'recipe:llama-loadable';
    const model = await subject.load(modelBytes(name), name);
    const params = { n_ctx: 16, n_batch: 16, n_ubatch: 16, n_seq_max: 1, split: 'simple' } as const;
    const ctx = await model.open(params);
    return (await ctx.decode({ token: [5, 6, 7, 8] })).logits.slice();
  } finally {
    await subject.close();
  }
}

describe(`a build with several (${variants ?? 'skipped, none is in the cache'})`, () => {
  it.skipIf(variants === undefined)('maps that file and no other, where the best one is another', () => {
    expect(mapped(variants!, 'x64')).toEqual(['libggml-cpu-x64.so']);
    const [best] = mapped(variants!, undefined);
    if (best !== 'libggml-cpu-x64.so') expect(mapped(variants!, 'sse42')).not.toContain(best);
  });

  it.skipIf(variants === undefined)(
    'answers nearly the same with each that is asked for',
    async () => {
      const [a, b] = [await answer(variants!, 'x64'), await answer(variants!)];
      const far = Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));
      expect(Math.max(...a.map(Math.abs))).toBeGreaterThan(1);
      expect(far).toBeLessThan(1e-3);
    },
    60_000,
  );

  it.skipIf(variants === undefined)(
    'refuses a name that it lacks, and names those that it has',
    async () => {
      const error = await opened(variants!, 'sse24').catch((e) => e);
      const known = cachedRelease(variants!)!.libggml_cpu.map(({ isa }) => isa);
      expect(error).toMatchObject({ kind: 'usage', detail: { isa: 'sse24', known } });
      expect(error.message).toMatch(/has no instruction set "sse24"; it has .*haswell.*x64/);
    },
    60_000,
  );
});

it.skipIf(builtIn === undefined)(
  `a build with one that is built in (${builtIn ?? 'skipped, none is in the cache'}) refuses any name`,
  async () => {
    const error = await opened(builtIn!, 'x64').catch((e) => e);
    expect(error).toMatchObject({ kind: 'usage' });
    expect(error.message).toMatch(/it has one that is built in/);
  },
  60_000,
);

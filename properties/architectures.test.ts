/**
 * An architecture is a file in each of three rooms and a line in the registry of each: the registries agree, and nobody
 * goes past them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { networkOf, architectures as planned } from '../engine/models/registry.ts';
import { buildRecipe, recipes } from '../golden/recipes.ts';
import { architectures as loaded, loadModel } from '../model/load.ts';
import { Sequences } from '../oracle/entries.ts';
import { logits, architectures as specified } from '../oracle/forward.ts';

describe('the registries', () => {
  it('agree: what the engine runs, the oracle specifies and the loader takes', () => {
    expect(planned).toEqual(loaded);
    expect(specified).toEqual(loaded);
    expect(new Set(loaded).size).toBe(loaded.length);
    expect(loaded).toContain('llama');
  });

  it.each(loaded)('%s has a recipe of its name, which all three take', (arch) => {
    expect(recipes.find(({ name }) => name === arch)).toMatchObject({ arch, engine: true });
    const model = loadModel(buildRecipe(arch), arch);
    expect(model.hparams.arch).toBe(arch);
    expect(networkOf(model).weights.length).toBeGreaterThan(0);
    const [entry] = new Sequences(1).decode({ token: [1], pos: [0], seq_id: [[0]], logits: [true] });
    // The rows of an encoder are embeddings.
    const { n_embd, n_vocab } = model.hparams;
    expect(logits(model, [entry!])[0]).toHaveLength(arch === 'isobatch-symmetric' ? n_embd : n_vocab);
  });
});

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Folders of architectures, and what others may import of them. */
const FOLDERS = ['model/archs', 'oracle/models', 'engine/models'];
const DOORS = ['registry.ts', 'parts.ts'];

/** The imports of a source file that go past a registry, as paths from the root. */
function trespasses(file: string, source: string): string[] {
  const specifiers = [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path]) => path!);
  return specifiers
    .map((path) => join(dirname(file), path))
    .filter((path) => FOLDERS.includes(dirname(path)) && dirname(path) !== dirname(file))
    .filter((path) => !DOORS.some((door) => path.endsWith(`/${door}`)));
}

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name.startsWith('.') || ['node_modules', 'dist', 'coverage'].includes(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

describe('the file of an architecture', () => {
  it('is imported by nobody outside its folder', () => {
    const files = sources(ROOT).map((path) => relative(ROOT, path));
    for (const folder of FOLDERS) expect(files).toContain(join(folder, 'registry.ts'));
    for (const file of files) {
      expect(trespasses(file, readFileSync(join(ROOT, file), 'utf8')), file).toEqual([]);
    }
  });

  it('is found out when it is', () => {
    // Put together here, so that this file does not trespass.
    const source = [
      ['import { llama } from', './models/llama.ts'],
      ['import type { LlamaHparams } from', '../model/archs/llama.ts'],
      ['await import(', '../oracle/models/mamba.ts'],
      ['import { networkOf } from', './models/registry.ts'],
      ['import { Draft } from', '../other/models/draft.ts'],
    ]
      .map(([what, path]) => `${what} '${path}'`)
      .join('\n');
    expect(trespasses('engine/subject.ts', source)).toEqual([
      'engine/models/llama.ts',
      'model/archs/llama.ts',
      'oracle/models/mamba.ts',
    ]);
    expect(trespasses('engine/models/jamba.ts', source.replace('./models/llama', './mamba'))).not.toContain(
      'engine/models/mamba.ts',
    );
  });
});

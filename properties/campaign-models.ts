/**
 * Names of models and the bytes behind them: `recipe:NAME` (or `recipe:NAME@LAYERSxWIDTH`) and `probe:NAME` are made on
 * the spot, `golden:NAME` comes with the package, anything else is a GGUF file. A name that ends in `@Q8_0` or the like
 * is that model after the subject has quantized it.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import { goldenModel, goldenModelNames } from '../golden/assets.ts';
import { buildProbe, probeNames } from '../golden/probes/registry.ts';
import { buildRecipe, recipeNames, recipeOf, recipes } from '../golden/recipes.ts';
import { architectures } from '../model/archs/registry.ts';
import { unknownName } from './names.ts';

/** The name under which white-box properties run: they look at rules and need no model. */
export const RULES = 'rules';

/**
 * What a campaign runs on if nobody says otherwise, on a subject with these architectures: of each the fuzz recipe
 * (`ARCH-fuzz`, or the one named as the architecture), its half-precision twin and its kin with experts if there are
 * such, and the trained models.
 */
export function usualModels(architectures: readonly string[]): string[] {
  const usual = recipes.filter(({ name, arch }) => {
    const fuzz = recipeNames.includes(`${arch}-fuzz`) ? `${arch}-fuzz` : arch;
    return architectures.includes(arch) && [fuzz, `${fuzz}-f16`, `${arch}-moe`].includes(name);
  });
  const trained = goldenModelNames.filter((name) => architectures.includes(name.replace('tiny-', '')));
  return [...usual.map(({ name }) => `recipe:${name}`), ...trained.map((name) => `golden:${name}`)];
}

/** The usual models of our engine. */
export const DEFAULT_MODELS: readonly string[] = usualModels(architectures);

const QUANTIZED = /^(.+)@((?:B?F|I?Q)\d\w*)$/;

/** The model and the type of a name such as `recipe:llama-loadable@Q8_0`; undefined for any other name. */
export function quantizedName(name: string): { readonly base: string; readonly type: string } | undefined {
  const [, base, type] = QUANTIZED.exec(name) ?? [];
  return base === undefined || type === undefined ? undefined : { base, type };
}

/** Throws `usage` if a recipe, probe or golden model is unknown; a file is looked for only when it is read. */
export function checkModelName(name: string): void {
  const quantized = quantizedName(name);
  if (quantized !== undefined) {
    checkModelName(quantized.base);
    return;
  }
  const [kind, rest] = splitName(name);
  if (kind === 'recipe') {
    const [base = ''] = rest.split('@');
    if (!recipeNames.includes(base)) throw unknownName('recipe', base, recipeNames);
    recipeOf(rest);
  }
  if (kind === 'probe' && !probeNames.includes(rest)) throw unknownName('probe', rest, probeNames);
  if (kind === 'golden' && !(goldenModelNames as readonly string[]).includes(rest))
    throw unknownName('golden model', rest, goldenModelNames);
}

/** Files above this size, in bytes, are never read whole: subjects that can are given the path. */
export const MOST_FILE_BYTES = 2 ** 26;

/** Where a model comes from: its bytes, or a file that is too large for that. */
export type ModelSource =
  | { readonly bytes: Uint8Array }
  /** An absolute path, and the size in bytes. */
  | { readonly path: string; readonly size: number };

/** Throws as `modelBytes`. */
export function modelSource(name: string): ModelSource {
  checkModelName(name);
  const path = modelPath(name);
  if (path === undefined) return { bytes: modelBytes(name) };
  const { size } = readable(name, () => statSync(path));
  return size > MOST_FILE_BYTES ? { path, size } : { bytes: modelBytes(name) };
}

/** The absolute path of a model that is a file of the user's, else undefined. */
export function modelPath(name: string): string | undefined {
  return splitName(name)[0] === 'file' ? resolve(name) : undefined;
}

/** The bytes of a model. Throws `usage` for an unknown name, `file` for a file that cannot be read. */
export function modelBytes(name: string): Uint8Array {
  checkModelName(name);
  if (quantizedName(name) !== undefined)
    throw new IsobatchError('usage', `${name} is made by the subject, so there are no bytes of it here`, {
      name,
    });
  const [kind, rest] = splitName(name);
  if (kind === 'recipe') return buildRecipe(rest);
  if (kind === 'probe') return buildProbe(rest);
  if (kind === 'golden') return goldenModel(rest);
  return readable(name, () => readFileSync(name));
}

function readable<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : (code ?? String(error));
    throw new IsobatchError('file', `cannot read the model ${name}: ${why}`, { path: name });
  }
}

/** What a campaign on real llama.cpp runs on: one recipe of every architecture; a release skips those it cannot load. */
export const LLAMA_MODELS: readonly string[] = [
  'llama-loadable',
  'mamba-loadable',
  'mamba2',
  'gemma2',
  'gemma3',
  'rwkv6',
  'rwkv7',
  'jamba',
  'falcon-h1',
  'lfm2',
  'openelm',
  'llama-moe',
  'llama4',
  'refact',
  'bert',
  't5',
].map((name) => `recipe:${name}`);

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A trained model of ours: slower than a recipe, so it gets a tenth of the cases. A file gets what was asked for. */
export function isTrained(name: string): boolean {
  return name.startsWith('golden:');
}

function splitName(name: string): [kind: string, rest: string] {
  const [, kind, rest] = /^(recipe|probe|golden):(.*)$/s.exec(name) ?? [];
  return kind === undefined ? ['file', name] : [kind, rest!];
}

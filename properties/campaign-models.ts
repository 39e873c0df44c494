/**
 * Names of models and the bytes behind them: `recipe:NAME` (or `recipe:NAME@LAYERSxWIDTH`) and `probe:NAME` are made on
 * the spot, `golden:NAME` comes with the package, anything else is a GGUF file.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { IsobatchError } from '../contract/errors.ts';
import { goldenModel, goldenModelNames } from '../golden/assets.ts';
import { buildProbe, probeNames } from '../golden/probes/registry.ts';
import { buildRecipe, recipeNames, recipeOf } from '../golden/recipes.ts';
import { unknownName } from './names.ts';

/** The name under which white-box properties run: they look at rules and need no model. */
export const RULES = 'rules';

/** What a campaign runs on if nobody says otherwise. */
export const DEFAULT_MODELS: readonly string[] = [
  'recipe:llama',
  'recipe:llama-f16',
  'recipe:mamba',
  'recipe:mamba-f16',
  ...goldenModelNames.map((name) => `golden:${name}`),
];

/** Throws `usage` if a recipe, probe or golden model is unknown; a file is looked for only when it is read. */
export function checkModelName(name: string): void {
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

/** The bytes of a model. Throws `usage` for an unknown name, `file` for a file that cannot be read. */
export function modelBytes(name: string): Uint8Array {
  checkModelName(name);
  const [kind, rest] = splitName(name);
  if (kind === 'recipe') return buildRecipe(rest);
  if (kind === 'probe') return buildProbe(rest);
  if (kind === 'golden') return goldenModel(rest);
  try {
    return readFileSync(name);
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
].map((name) => `recipe:${name}`);

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A trained model of ours: slower than a recipe, so it gets a tenth of the cases. A file gets what was asked for. */
export function isTrained(name: string): boolean {
  return name.startsWith('golden:');
}

function splitName(name: string): [kind: string, rest: string] {
  const colon = name.indexOf(':');
  return colon < 0 ? ['file', name] : [name.slice(0, colon), name.slice(colon + 1)];
}

/**
 * Plainer models for a failing case: the fuzz recipes of the same architecture, smallest first. A case moves to
 * another vocabulary by giving its tokens new numbers; tokens that were different stay different, and tokens that are
 * in no vocabulary stay outside.
 */
import { recipeOf, sizableRecipes } from '../golden/recipes.ts';
import type { Call, Env, Script } from './types.ts';

/** Vocabulary of the fuzz recipes. */
const RECIPE_VOCAB = 64;

/** Sizes of a recipe, smallest first; the empty one is the recipe itself. */
const SIZES = ['@1x16', '@2x16', '@1x32', ''] as const;

/** Every plain model of an architecture, plainest first. */
function ladder(arch: string): readonly string[] {
  const names = sizableRecipes.filter((name) => recipeOf(name).arch === arch);
  return names.flatMap((name) => SIZES.map((size) => `recipe:${name}${size}`));
}

const LADDERS: ReadonlyMap<string, readonly string[]> = new Map(
  sizableRecipes.map((name) => recipeOf(name).arch).map((arch) => [arch, ladder(arch)]),
);

const RANKS: ReadonlyMap<string, number> = new Map(
  [...LADDERS.values()].flatMap((names) => names.map((name, rank) => [name, rank] as const)),
);
const UNRANKED = Math.max(...RANKS.values()) + 1;

/** 0 for the plainest model; every model that is not on a ladder comes last. */
export function modelRank(name: string): number {
  return RANKS.get(name) ?? UNRANKED;
}

/** Names of plainer models of the architecture, plainest first. None for a recipe that nobody knows. */
export function plainerModels(name: string, arch: string): readonly string[] {
  if (name.startsWith('recipe:') && !isKnown(name.slice('recipe:'.length))) return [];
  const names = LADDERS.get(arch) ?? [];
  return names.slice(0, Math.min(modelRank(name), names.length));
}

function isKnown(recipe: string): boolean {
  try {
    recipeOf(recipe);
    return true;
  } catch {
    return false;
  }
}

/** Size of the vocabulary of a model: that of the environment, or of a model on a ladder. */
export function vocabularyOf(model: string, env: Pick<Env, 'model' | 'modelName'>): number {
  return model !== env.modelName && RANKS.has(model) ? RECIPE_VOCAB : env.model.n_vocab;
}

/** The script in the vocabulary of the recipes; null if it has more different tokens than that. */
export function inRecipeVocabulary(script: Script, n_vocab: number): Script | null {
  if (n_vocab === RECIPE_VOCAB) return script;
  const names = new Map<number, number>();
  for (const token of tokensOf(script.calls)) {
    if (token >= 0 && token < n_vocab && !names.has(token)) names.set(token, names.size);
  }
  if (names.size > RECIPE_VOCAB) return null;
  return renameTokens(script, (token) =>
    token >= n_vocab ? token - n_vocab + RECIPE_VOCAB : (names.get(token) ?? token),
  );
}

export function tokensOf(calls: readonly Call[]): number[] {
  return calls.flatMap((call) => (call.op === 'decode' || call.op === 'encode' ? call.batch.token : []));
}

export function renameTokens({ params, calls }: Script, name: (token: number) => number): Script {
  const renamed = calls.map(
    (call): Call =>
      call.op === 'decode' || call.op === 'encode'
        ? { ...call, batch: { ...call.batch, token: call.batch.token.map(name) } }
        : call,
  );
  return { params, calls: renamed };
}

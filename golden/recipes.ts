/**
 * The recipes: tiny models that are made from a name, so that a campaign needs no files. `llama` and `mamba` are the
 * fuzz models (at most about 20,000 parameters, last logits depend on the first token); `-loadable` have the size,
 * keys and vocabulary that real llama.cpp loads too; `-f16` have matrices in half precision, rounded from the same
 * weights. Their bytes are pinned in `recipes.test.ts`.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { TensorType } from '../model/types.ts';
import { buildLlama, type LlamaShape } from './recipe-llama.ts';
import { buildMamba, type MambaShape } from './recipe-mamba.ts';
import { BYTE_VOCAB } from './recipe-parts.ts';

export interface Recipe {
  readonly name: string;
  readonly arch: 'llama' | 'mamba';
  /** One line for people. */
  readonly describe: string;
  /** The bytes of the GGUF file; `type` (of matrices) replaces the recipe's own. */
  build(type?: TensorType): Uint8Array;
}

const LLAMA_FUZZ: LlamaShape = {
  n_vocab: 64,
  n_embd: 32,
  n_layer: 2,
  n_head: 4,
  n_head_kv: 2,
  n_embd_head: 8,
  n_ff: 48,
  n_ctx_train: 512,
  loadable: false,
};

const LLAMA_LOADABLE: LlamaShape = {
  n_vocab: BYTE_VOCAB,
  n_embd: 64,
  n_layer: 2,
  n_head: 4,
  n_head_kv: 2,
  n_embd_head: 16,
  n_ff: 96,
  n_ctx_train: 512,
  loadable: true,
};

const MAMBA_FUZZ: MambaShape = {
  n_vocab: 64,
  n_embd: 32,
  n_layer: 2,
  d_conv: 4,
  d_state: 8,
  dt_rank: 2,
  n_ctx_train: 512,
  loadable: false,
};

const MAMBA_LOADABLE: MambaShape = {
  n_vocab: BYTE_VOCAB,
  n_embd: 64,
  n_layer: 2,
  d_conv: 4,
  d_state: 16,
  dt_rank: 4,
  n_ctx_train: 512,
  loadable: true,
};

/** A recipe and its half-precision twin. */
function pair(
  name: string,
  arch: Recipe['arch'],
  describe: string,
  build: (type: TensorType) => Uint8Array,
): Recipe[] {
  return [
    { name, arch, describe, build: (type = 'F32') => build(type) },
    {
      name: `${name}-f16`,
      arch,
      describe: `${describe}, matrices in F16`,
      build: (type = 'F16') => build(type),
    },
  ];
}

export const recipes: readonly Recipe[] = [
  ...pair('llama', 'llama', 'random llama: 2 layers, width 32, 4 heads on 2, vocabulary 64', (type) =>
    buildLlama('llama', LLAMA_FUZZ, type),
  ),
  ...pair('mamba', 'mamba', 'random mamba: 2 layers, width 32, state 8, vocabulary 64', (type) =>
    buildMamba('mamba', MAMBA_FUZZ, type),
  ),
  ...pair('llama-loadable', 'llama', 'random llama that llama.cpp loads: 2 layers, width 64, bytes', (type) =>
    buildLlama('llama-loadable', LLAMA_LOADABLE, type),
  ),
  ...pair('mamba-loadable', 'mamba', 'random mamba that llama.cpp loads: 2 layers, width 64, bytes', (type) =>
    buildMamba('mamba-loadable', MAMBA_LOADABLE, type),
  ),
];

export const recipeNames: readonly string[] = recipes.map((recipe) => recipe.name);

/** The bytes of a recipe's model. Throws `usage` for an unknown name. */
export function buildRecipe(name: string): Uint8Array {
  const recipe = recipes.find((candidate) => candidate.name === name);
  if (recipe === undefined) {
    throw new IsobatchError(
      'usage',
      `unknown recipe ${JSON.stringify(name)}; known are ${recipeNames.join(', ')}`,
      {
        recipe: name,
        known: recipeNames,
      },
    );
  }
  return recipe.build();
}

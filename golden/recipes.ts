/**
 * The recipes: tiny models that are made from a name, so that a campaign needs no files. `llama` and `mamba` are the
 * fuzz models (at most about 20,000 parameters, last logits depend on the first token); `-loadable` have the size,
 * keys and vocabulary that real llama.cpp loads too; `-f16` have matrices in half precision, rounded from the same
 * weights. The others, named as their architectures, are made for real llama.cpp (`-fuzz` is a fuzz model of one of them),
 * and `engine` says of each whether our loader, and so our engine, has its architecture too. Bytes of all are pinned in
 * `recipes.test.ts`.
 *
 * A fuzz model can be asked for in another size, so that a failure can be shown on the smallest model that has it:
 * `llama@1x16` is `llama` with 1 layer and width 16. Layers are 1 to 8, the width is a multiple of 8, 16 to 64; heads
 * stay 8 channels wide, the feed-forward part one and a half times the width, the vocabulary 64. (With a width of 8
 * the weights of these gains look at one key only, and the last logits hardly depend on the first token.)
 */
import { IsobatchError } from '../contract/errors.ts';
import { architectures } from '../model/archs/registry.ts';
import type { TensorType } from '../model/types.ts';
import { buildBert, buildSymmetric, buildT5, type SymmetricShape } from './recipe-encoder.ts';
import { buildGemma2, buildGemma3, GEMMA_LOADABLE, type GemmaShape } from './recipe-gemma.ts';
import {
  buildFalconH1,
  buildJamba,
  buildLfm2,
  FALCON_LOADABLE,
  type FalconShape,
  JAMBA_LOADABLE,
  type JambaShape,
  LFM2_LOADABLE,
  type Lfm2Shape,
} from './recipe-hybrid.ts';
import { buildLlama, type LlamaShape } from './recipe-llama.ts';
import { buildLlama4, LLAMA4_LOADABLE, type Llama4Shape } from './recipe-llama4.ts';
import { buildMamba, type MambaShape } from './recipe-mamba.ts';
import { buildMamba2, MAMBA2_LOADABLE, type Mamba2Shape } from './recipe-mamba2.ts';
import { buildOpenelm } from './recipe-openelm.ts';
import { withOverflow } from './recipe-overflow.ts';
import { BYTE_VOCAB, f32 } from './recipe-parts.ts';
import { buildRefact, REFACT_LOADABLE, type RefactShape } from './recipe-refact.ts';
import { buildRwkv6, buildRwkv7, RWKV6_LOADABLE, RWKV7_LOADABLE, rwkvFuzz } from './recipe-rwkv.ts';

export interface Recipe {
  readonly name: string;
  /** `general.architecture` of the file. */
  readonly arch: string;
  /** Our loader, oracle and engine have its architecture; else it is for subjects that run it. */
  readonly engine: boolean;
  /** One line for people. */
  readonly describe: string;
  /** A token whose values no F16 cache can hold (`withOverflow`). Histories draw it only where it must be refused. */
  readonly overflow?: number;
  /** The bytes of the GGUF file; `type` (of matrices) replaces the recipe's own. */
  build(type?: TensorType): Uint8Array;
  /** The bytes of such a model in another size; none if it has only one. */
  readonly sized?: Sized;
}

/** Layers and width are legal (`sized`, below); the vocabulary is 64. */
type Sized = (n_layer: number, n_embd: number, type: TensorType) => Uint8Array;

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

/** Six experts are no whole vector, and 40 channels no whole number of them. */
const LLAMA_MOE: LlamaShape = {
  ...LLAMA_LOADABLE,
  n_ff: 40,
  experts: { n_expert: 6, n_expert_used: 3 },
};

const JAMBA_MOE: JambaShape = {
  ...JAMBA_LOADABLE,
  n_head_kv: [2, 0],
  n_ff: 40,
  experts: { n_expert: 4, n_expert_used: 2 },
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

/** One group, heads of 16 channels, states that are no whole vectors. */
const MAMBA2_ONE: Mamba2Shape = {
  ...MAMBA2_LOADABLE,
  n_embd: 48,
  d_inner: 96,
  d_state: 24,
  n_ssm_head: 6,
  n_group: 1,
};

/** Eight groups of two heads of 8 channels. */
const MAMBA2_EIGHT: Mamba2Shape = { ...MAMBA2_LOADABLE, n_embd: 16, n_ssm_head: 16, n_group: 8 };

const MAMBA2_FUZZ: Mamba2Shape = {
  ...MAMBA2_LOADABLE,
  n_vocab: 64,
  n_embd: 32,
  d_inner: 64,
  d_state: 8,
  loadable: false,
};

const GEMMA2_FUZZ: GemmaShape = {
  n_vocab: 64,
  n_embd: 32,
  n_layer: 3,
  n_head: 4,
  n_head_kv: 2,
  n_embd_head: 8,
  n_ff: 48,
  window: 5,
  loadable: false,
};

/** Windows, then none, then a window again. */
const GEMMA3_FUZZ: GemmaShape = { ...GEMMA2_FUZZ, n_layer: 4, window: 4, swa_period: 3 };

const LLAMA4_FUZZ: Llama4Shape = {
  n_vocab: 64,
  n_embd: 24,
  n_layer: 4,
  n_head: 3,
  n_head_kv: 1,
  n_embd_head: 8,
  n_ff: 36,
  experts: { n_expert: 5, n_expert_used: 2, n_ff_exp: 20, step: 2 },
  short: { chunk: 6, temperature: 5 },
};

const LLAMA4_DENSE: Llama4Shape = {
  n_vocab: 64,
  n_embd: 24,
  n_layer: 5,
  n_head: 3,
  n_head_kv: 1,
  n_embd_head: 8,
  n_ff: 36,
  short: { chunk: 4, temperature: 7 },
};

const REFACT_FUZZ: RefactShape = {
  n_vocab: 64,
  n_embd: 40,
  n_layer: 2,
  n_head: 5,
  n_head_kv: 1,
  n_embd_head: 8,
  n_ff: 60,
};

/** Windows of 7 keys, then none, then windows again. */
const SYMMETRIC_FUZZ: SymmetricShape = {
  n_vocab: 64,
  n_embd: 32,
  n_layer: 3,
  n_head: 4,
  n_head_kv: 2,
  n_embd_head: 8,
  n_ff: 48,
  window: 6,
};

/** The cap of logits, which not every gemma3 has. */
const FINAL_CAP = [['final_logit_softcapping', f32(12)]] as const;

/** A recipe and its half-precision twin. */
function pair(
  name: string,
  arch: string,
  describe: string,
  build: (type: TensorType) => Uint8Array,
  sized?: Sized,
): Recipe[] {
  const both = { arch, engine: architectures.includes(arch), ...(sized === undefined ? {} : { sized }) };
  return [
    { ...both, name, describe, build: (type = 'F32') => build(type) },
    {
      ...both,
      name: `${name}-f16`,
      describe: `${describe}, matrices in F16`,
      build: (type = 'F16') => build(type),
    },
  ];
}

/** The last token of the fuzz vocabulary. */
const OVERFLOW = 63;

/** A fuzz recipe of a hybrid, whose last token overflows F16, and its half-precision twin. */
function hybrid(
  name: string,
  arch: string,
  describe: string,
  [n_layer, n_embd]: readonly [number, number],
  build: Sized,
): Recipe[] {
  const sized: Sized = (...size) => withOverflow(build(...size));
  const both = pair(name, arch, describe, (type) => sized(n_layer, n_embd, type), sized);
  return both.map((recipe) => ({ ...recipe, overflow: OVERFLOW }));
}

/** A recipe of the size that real llama.cpp loads, without a half-precision twin. */
function single(
  name: string,
  arch: string,
  describe: string,
  build: (name: string, type: TensorType) => Uint8Array,
): Recipe {
  return {
    name,
    arch,
    engine: architectures.includes(arch),
    describe: `random ${arch} for llama.cpp: ${describe}`,
    build: (type = 'F32') => build(name, type),
  };
}

export const recipes: readonly Recipe[] = [
  ...pair(
    'llama',
    'llama',
    'random llama: 2 layers, width 32, 4 heads on 2, vocabulary 64',
    (type) => buildLlama('llama', LLAMA_FUZZ, type),
    (n_layer, n_embd, type) => buildLlama('llama', llamaOf(n_layer, n_embd), type),
  ),
  ...pair(
    'mamba',
    'mamba',
    'random mamba: 2 layers, width 32, state 8, vocabulary 64',
    (type) => buildMamba('mamba', MAMBA_FUZZ, type),
    (n_layer, n_embd, type) => buildMamba('mamba', mambaOf(n_layer, n_embd), type),
  ),
  ...pair('llama-loadable', 'llama', 'random llama that llama.cpp loads: 2 layers, width 64, bytes', (type) =>
    buildLlama('llama-loadable', LLAMA_LOADABLE, type),
  ),
  ...pair('mamba-loadable', 'mamba', 'random mamba that llama.cpp loads: 2 layers, width 64, bytes', (type) =>
    buildMamba('mamba-loadable', MAMBA_LOADABLE, type),
  ),
  ...pair('mamba2', 'mamba2', 'random mamba2 for llama.cpp: 2 layers, 8 heads in 2 groups', (type) =>
    buildMamba2('mamba2', MAMBA2_LOADABLE, type),
  ),
  single('mamba2-1g', 'mamba2', '2 layers, 6 heads in one group, state 24', (name, type) =>
    buildMamba2(name, MAMBA2_ONE, type),
  ),
  single('mamba2-8g', 'mamba2', '2 layers, 16 heads in 8 groups', (name, type) =>
    buildMamba2(name, MAMBA2_EIGHT, type),
  ),
  ...pair(
    'mamba2-fuzz',
    'mamba2',
    'random mamba2: 2 layers, width 32, 8 heads in 2 groups, state 8, vocabulary 64',
    (type) => buildMamba2('mamba2-fuzz', MAMBA2_FUZZ, type),
    (n_layer, n_embd, type) => buildMamba2('mamba2-fuzz', mamba2Of(n_layer, n_embd), type),
  ),
  ...pair('llama-moe', 'llama', 'random llama that llama.cpp loads: 6 experts, 3 of them used', (type) =>
    buildLlama('llama-moe', LLAMA_MOE, type),
  ),
  ...pair('gemma2', 'gemma2', 'random gemma2 for llama.cpp: 4 layers, window 8 in every second', (type) =>
    buildGemma2('gemma2', GEMMA_LOADABLE, type),
  ),
  single('gemma2-26', 'gemma2', '26 layers, which releases before b5640 demand', (name, type) =>
    buildGemma2(name, { ...GEMMA_LOADABLE, n_layer: 26 }, type),
  ),
  ...pair(
    'gemma2-fuzz',
    'gemma2',
    'random gemma2: 3 layers, width 32, window 5 in the first and last, vocabulary 64',
    (type) => buildGemma2('gemma2-fuzz', GEMMA2_FUZZ, type),
    (n_layer, n_embd, type) => buildGemma2('gemma2-fuzz', gemmaOf(GEMMA2_FUZZ, n_layer, n_embd), type),
  ),
  ...pair(
    'gemma3',
    'gemma3',
    'random gemma3 for llama.cpp: 7 layers, window 8 in all but the sixth',
    (type) => buildGemma3('gemma3', { ...GEMMA_LOADABLE, n_layer: 7 }, type),
  ),
  ...pair(
    'gemma3-fuzz',
    'gemma3',
    'random gemma3: 4 layers, width 32, window 4 in all but the third, capped logits, vocabulary 64',
    (type) => buildGemma3('gemma3-fuzz', GEMMA3_FUZZ, type, FINAL_CAP),
    (n_layer, n_embd, type) =>
      buildGemma3('gemma3-fuzz', gemmaOf(GEMMA3_FUZZ, n_layer, n_embd), type, FINAL_CAP),
  ),
  single('rwkv6', 'rwkv6', '2 layers, 4 heads of 16', (name, type) => buildRwkv6(name, RWKV6_LOADABLE, type)),
  single('rwkv7', 'rwkv7', '2 layers, one head of 64', (name, type) =>
    buildRwkv7(name, RWKV7_LOADABLE, type),
  ),
  ...pair(
    'rwkv6-fuzz',
    'rwkv6',
    'random rwkv6: 2 layers, width 32, 4 heads of 8, vocabulary 64',
    (type) => buildRwkv6('rwkv6-fuzz', rwkvFuzz(2, 32), type),
    (n_layer, n_embd, type) => buildRwkv6('rwkv6-fuzz', rwkvFuzz(n_layer, n_embd), type),
  ),
  ...pair(
    'rwkv7-fuzz',
    'rwkv7',
    'random rwkv7: 2 layers, width 32, 4 heads of 8, vocabulary 64',
    (type) => buildRwkv7('rwkv7-fuzz', rwkvFuzz(2, 32), type),
    (n_layer, n_embd, type) => buildRwkv7('rwkv7-fuzz', rwkvFuzz(n_layer, n_embd), type),
  ),
  single('jamba', 'jamba', 'mamba, attention, mamba', (name, type) => buildJamba(name, JAMBA_LOADABLE, type)),
  single('jamba-moe', 'jamba', 'attention, then mamba with 4 experts, 2 of them used', (name, type) =>
    buildJamba(name, JAMBA_MOE, type),
  ),
  ...hybrid(
    'jamba-fuzz',
    'jamba',
    'random jamba: mamba, attention, mamba, width 24, 3 heads on 1, state 8, vocabulary 64',
    [3, 24],
    (n_layer, n_embd, type) => buildJamba('jamba-fuzz', jambaOf(n_layer, n_embd), type),
  ),
  single('falcon-h1', 'falcon-h1', '2 layers with attention and state', (name, type) =>
    buildFalconH1(name, FALCON_LOADABLE, type),
  ),
  ...hybrid(
    'falcon-h1-fuzz',
    'falcon-h1',
    'random falcon-h1: 2 layers with attention and state, width 24, 2 groups, vocabulary 64',
    [2, 24],
    (n_layer, n_embd, type) => buildFalconH1('falcon-h1-fuzz', falconOf(n_layer, n_embd), type),
  ),
  single('lfm2', 'lfm2', 'short convolution, attention, short convolution', (name, type) =>
    buildLfm2(name, LFM2_LOADABLE, type),
  ),
  ...hybrid(
    'lfm2-fuzz',
    'lfm2',
    'random lfm2: convolution, attention, convolution, width 24, 3 heads on 1, vocabulary 64',
    [3, 24],
    (n_layer, n_embd, type) => buildLfm2('lfm2-fuzz', lfm2Of(n_layer, n_embd), type),
  ),
  single('openelm', 'openelm', '3 layers of 4, 2 and 4 heads', buildOpenelm),
  single('bert', 'bert', '2 layers, embeddings pooled by their mean', buildBert),
  single('t5', 't5', '2 layers of encoder, 2 of decoder', buildT5),
  single('llama4', 'llama4', '4 layers, 16 experts in every second', (name, type) =>
    buildLlama4(name, LLAMA4_LOADABLE, type),
  ),
  single('refact', 'refact', '2 layers, 6 heads on 2, whose scores fall with the distance', (name, type) =>
    buildRefact(name, REFACT_LOADABLE, type),
  ),
  ...pair(
    'refact-fuzz',
    'refact',
    'random refact: 2 layers, width 40, 5 heads on 1, vocabulary 64',
    (type) => buildRefact('refact-fuzz', REFACT_FUZZ, type),
    (n_layer, n_embd, type) => buildRefact('refact-fuzz', refactOf(n_layer, n_embd), type),
  ),
  {
    ...single('isobatch-symmetric', 'isobatch-symmetric', '', (name, type) =>
      buildSymmetric(name, SYMMETRIC_FUZZ, type),
    ),
    describe:
      'random encoder of our own: 3 layers, width 32, windows of 7 in the first and last, vocabulary 64',
  },
  ...pair(
    'llama4-fuzz',
    'llama4',
    'random llama4: 4 layers, width 24, chunks of 6, 5 experts in every second, 2 used, vocabulary 64',
    (type) => buildLlama4('llama4-fuzz', LLAMA4_FUZZ, type),
    (n_layer, n_embd, type) => buildLlama4('llama4-fuzz', llama4Of(n_layer, n_embd), type),
  ),
  {
    ...single('llama4-dense', 'llama4', '', (name, type) => buildLlama4(name, LLAMA4_DENSE, type)),
    describe: 'random llama4: 5 layers, width 24, chunks of 4, no experts, vocabulary 64',
  },
];

export const recipeNames: readonly string[] = recipes.map((recipe) => recipe.name);

/** Names of the recipes that our loader, engine and oracle take. */
export const engineRecipes: readonly string[] = recipes.filter((r) => r.engine).map((r) => r.name);

/** Names of the recipes that can be asked for in another size: `NAME@LAYERSxWIDTH`. */
export const sizableRecipes: readonly string[] = recipes.filter((r) => r.sized).map((r) => r.name);

const MOST_LAYERS = 8;
const LEAST_WIDTH = 16;
const MOST_WIDTH = 64;

/**
 * The recipe of a name, or of a size variant such as `mamba-f16@1x16`. Throws `usage`, saying what is wrong with the
 * name.
 */
export function recipeOf(name: string): Recipe {
  const known = recipes.find((candidate) => candidate.name === name);
  if (known !== undefined) return known;
  const at = name.indexOf('@');
  const base = recipes.find((candidate) => candidate.name === (at < 0 ? name : name.slice(0, at)));
  if (base === undefined)
    throw badRecipe(name, `unknown recipe ${JSON.stringify(name)}; known are ${recipeNames.join(', ')}`);
  return sized(base, name, name.slice(at + 1));
}

function badRecipe(name: string, message: string): IsobatchError {
  return new IsobatchError('usage', message, { recipe: name, known: recipeNames });
}

/** `size` is what stands behind the @. */
function sized(base: Recipe, name: string, size: string): Recipe {
  const wrong = (why: string) => badRecipe(name, `recipe ${JSON.stringify(name)}: ${why}`);
  const { sized: build } = base;
  if (build === undefined) throw wrong(`only ${sizableRecipes.join(', ')} can be asked for in another size`);
  const [, layers, width] = /^([1-9]\d*)x([1-9]\d*)$/.exec(size) ?? [];
  if (layers === undefined || width === undefined)
    throw wrong(`after @ come layers and width, as in ${base.name}@1x16`);
  const n_layer = Number(layers);
  const n_embd = Number(width);
  if (n_layer > MOST_LAYERS) throw wrong(`layers must be 1 to ${MOST_LAYERS}`);
  if (n_embd < LEAST_WIDTH || n_embd > MOST_WIDTH || n_embd % 8 !== 0)
    throw wrong(`the width must be a multiple of 8, ${LEAST_WIDTH} to ${MOST_WIDTH}`);
  const plain = base.name.endsWith('-f16') ? 'F16' : 'F32';
  return {
    name,
    arch: base.arch,
    engine: base.engine,
    overflow: base.overflow,
    describe: `${base.name} with ${n_layer} ${n_layer === 1 ? 'layer' : 'layers'} and width ${n_embd}`,
    build: (type = plain) => build(n_layer, n_embd, type),
  };
}

function llamaOf(n_layer: number, n_embd: number): LlamaShape {
  const n_head = n_embd / LLAMA_FUZZ.n_embd_head;
  // Two heads share keys and values, as in the recipe, where their number is even.
  const n_head_kv = n_head % 2 === 0 ? n_head / 2 : n_head;
  return { ...LLAMA_FUZZ, n_layer, n_embd, n_head, n_head_kv, n_ff: 1.5 * n_embd };
}

function mambaOf(n_layer: number, n_embd: number): MambaShape {
  return { ...MAMBA_FUZZ, n_layer, n_embd, dt_rank: n_embd >> 4 };
}

function refactOf(n_layer: number, n_embd: number): RefactShape {
  return { ...REFACT_FUZZ, n_layer, n_embd, n_head: n_embd / REFACT_FUZZ.n_embd_head, n_ff: 1.5 * n_embd };
}

function llama4Of(n_layer: number, n_embd: number): Llama4Shape {
  const n_head = n_embd / LLAMA4_FUZZ.n_embd_head;
  return { ...LLAMA4_FUZZ, n_layer, n_embd, n_head, n_ff: 1.5 * n_embd };
}

/** Heads stay 8 channels wide. */
function mamba2Of(n_layer: number, n_embd: number): Mamba2Shape {
  return { ...MAMBA2_FUZZ, n_layer, n_embd, d_inner: 2 * n_embd, n_ssm_head: n_embd / 4 };
}

/** The token of a model (`recipe:NAME` or any other name) that no F16 cache holds, if it has one. */
export function overflowOf(model: string): number | undefined {
  const [, name = '', size = ''] = /^recipe:([^@]*)(@\d+x\d+)?$/.exec(model) ?? [];
  return recipeNames.includes(name) ? recipeOf(name + size).overflow : undefined;
}

/** Every third layer attends, or the only one. Where the number of heads is odd, all share one of keys and values. */
function hybridOf(n_layer: number, n_embd: number) {
  const n_embd_head = 8;
  const n_head = n_embd / n_embd_head;
  const n_head_kv = n_head % 2 === 0 ? n_head / 2 : 1;
  const attends = Math.min(1, n_layer - 1);
  return {
    n_vocab: 64,
    n_embd,
    n_head,
    n_head_kv: Array.from({ length: n_layer }, (_, i) => (i % 3 === attends ? n_head_kv : 0)),
    n_embd_head,
    n_ff: 1.5 * n_embd,
    loadable: false,
  };
}

function jambaOf(n_layer: number, n_embd: number): JambaShape {
  return { ...hybridOf(n_layer, n_embd), gain: 0.25, d_conv: 4, d_state: 8, dt_rank: 2 };
}

/** Heads of the mixer stay 8 channels wide, in two groups. */
function falconOf(n_layer: number, n_embd: number): FalconShape {
  const { n_head, n_embd_head, n_ff, n_head_kv } = hybridOf(n_layer, n_embd);
  const mixer = { ...mamba2Of(n_layer, n_embd), d_state: 4 };
  return { ...mixer, n_head, n_head_kv: Math.max(...n_head_kv), n_embd_head, n_ff };
}

function lfm2Of(n_layer: number, n_embd: number): Lfm2Shape {
  return { ...hybridOf(n_layer, n_embd), d_conv: 3 };
}

function gemmaOf(fuzz: GemmaShape, n_layer: number, n_embd: number): GemmaShape {
  const { n_head, n_head_kv, n_ff } = llamaOf(n_layer, n_embd);
  return { ...fuzz, n_layer, n_embd, n_head, n_head_kv, n_ff };
}

/** The bytes of the model of a recipe or of a size variant. Throws `usage` for an unknown or impossible name. */
export function buildRecipe(name: string): Uint8Array {
  return recipeOf(name).build();
}

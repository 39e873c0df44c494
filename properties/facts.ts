/** What the generators need to know of a subject and a model, gathered once per environment. */
import type { MemoryKind, SplitPolicy } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { Choices, LegalDifferences, ModelInfo, SubjectInfo, Window } from '../contract/subject.ts';
import { overflowOf } from '../golden/recipes.ts';
import { choicesOf } from './choices.ts';
import { sampleOf } from './sample.ts';
import { type TokenTree, tokenTree } from './token-tree.ts';
import type { Env } from './types.ts';

export interface Facts {
  /** Architecture, vocabulary and kind of tokens: what the cases of a campaign depend on, beside seed and property. */
  readonly family: string;
  readonly memory: MemoryKind;
  readonly n_vocab: number;
  /** Policies that may be asked for with this memory; never empty. */
  readonly policies: readonly SplitPolicy[];
  /** Kernel implementations to choose from; empty if the subject has no choice. */
  readonly isas: readonly string[];
  readonly types_kv: readonly ('F32' | 'F16')[];
  readonly shared: boolean;
  /** States are saved and restored. */
  readonly state: boolean;
  /** Prefix and middle removal, ranged copies. */
  readonly parts: boolean;
  /** Positions are moved. */
  readonly moves: boolean;
  /** Windows whose forgetting is told and watched: what would miss it is refused. */
  readonly windows: readonly Window[];
  /** Windows forget, and nobody says what: only whole sequences are removed and copied. */
  readonly unwatched: boolean;
  /** Parameters that the subject offers besides. */
  readonly choices: Choices;
  readonly legal: LegalDifferences;
  /** Whether a refusal of this kind may be asked for. */
  refuses(kind: string): boolean;
  /** Small enough for the plain implementations of kernels. */
  readonly small: boolean;
  /** Sequences of a history, at most. */
  readonly sequences: number;
  readonly tree: TokenTree;
  /** A token that F16 caches of this subject must refuse (`Recipe.overflow`); it is in no path of the tree. */
  readonly overflow?: number;
}

const known = new WeakMap<Env, Facts>();

export function factsOf(env: Env): Facts {
  let facts = known.get(env);
  if (facts === undefined) {
    facts = gather(env);
    known.set(env, facts);
  }
  return facts;
}

/** `llama/64`, or `llama/259/text` for a trained model. */
export function familyOf(env: Pick<Env, 'model' | 'modelName'>): string {
  const { arch, n_vocab } = env.model;
  return isTrained(env) ? `${arch}/${n_vocab}/text` : `${arch}/${n_vocab}`;
}

/** Recipes have random weights and get random tokens; every other model is taken to know text. */
function isTrained(env: Pick<Env, 'modelName'>): boolean {
  return !env.modelName.startsWith('recipe:');
}

function gather(env: Env): Facts {
  const { subject, model, restrict } = env;
  const offered = subject.splits[model.memory] ?? [];
  // A subject that chooses by itself ignores the name; one that every engine has is put there.
  const policies: SplitPolicy[] = offered.length > 0 ? [...offered] : ['equal'];
  // Wherever the sequential form is legal, the newer equal split without that rule is too.
  if (policies.includes('equal-sequential') && !policies.includes('equal-batch'))
    policies.push('equal-batch');
  // A state is kept in F32; where that cannot be asked for, what can be means nothing.
  const states = model.memory === 'recurrent' && subject.types_kv.includes('F32');
  const kinds = states ? (['F32'] as const) : subject.types_kv;
  const family = familyOf(env);
  const sample = sampleOf(model);
  const { split } = restrict;
  if (split !== undefined && !policies.includes(split)) {
    throw new IsobatchError(
      'usage',
      `split policy ${split} cannot be asked of ${subject.name} with ${model.memory} memory (${policies.join(', ')})`,
      { split, policies },
    );
  }
  const allowed = split === undefined ? policies : [split];
  const overflow = overflowOf(env.modelName);
  return {
    family,
    memory: model.memory,
    n_vocab: model.n_vocab,
    policies: allowed,
    isas: restrict.isa === undefined ? subject.isas : [restrict.isa],
    // Every way of rounding has bounds of its own to be measured, so a large model gets the sharpest one.
    types_kv: restrict.type_kv !== undefined ? [restrict.type_kv] : sample ? kinds.slice(0, 1) : kinds,
    state: subject.state === true && model.encoder === undefined,
    // The sequential policy refuses batches with shared tokens, so where it is the only one there are none.
    shared:
      subject.shared_tokens &&
      (env.about_sharing === true || !subject.legal?.unshared?.includes(model.memory)) &&
      allowed.some((policy) => policy !== 'equal-sequential'),
    parts:
      subject.remove_anywhere &&
      model.memory === 'attention' &&
      !isUnwatched(subject, model) &&
      // Rows after a removal inside have bounds of their own, which a large model cannot afford.
      sample === undefined,
    // Caches of windows move only where they are as large as the others; an encoder keeps nothing.
    moves:
      subject.shifts === true &&
      (!isUnwatched(subject, model) || choicesOf(env).swa_full !== undefined) &&
      model.encoder === undefined &&
      !subject.legal?.unmoved?.includes(model.memory) &&
      sample === undefined,
    windows: isUnwatched(subject, model) ? [] : (model.windows ?? []),
    unwatched: isUnwatched(subject, model),
    choices: sample ? withoutFlash(choicesOf(env)) : choicesOf(env),
    legal: subject.legal ?? {},
    refuses: (kind) => subject.legal?.refuses?.includes(kind) ?? true,
    small: model.n_params <= 25_000,
    sequences: sample?.sequences ?? Number.POSITIVE_INFINITY,
    // Such a token is the last one of its vocabulary.
    tree: tokenTree(env.seed, family, overflow ?? model.n_vocab, isTrained(env), sample),
    overflow,
  };
}

/** Whether windows of this model forget without that anybody could tell what. */
export function isUnwatched(
  { legal }: Pick<SubjectInfo, 'legal'>,
  { windowed, windows }: Pick<ModelInfo, 'windowed' | 'windows'>,
): boolean {
  return windowed === true && (windows === undefined || legal?.silent_windows === true);
}

function withoutFlash({ flash_attn: _, ...others }: Choices): Choices {
  return others;
}

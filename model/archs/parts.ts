/**
 * What the files of the architectures are made of: the shape that each has, the hyperparameters and tensors that many
 * share, and checks of heads (spec: architectures.md 0.1). Messages name the key by `keys.arch`.
 */
import { type Keys, MAX_LAYERS } from '../keys.ts';
import type { TensorType } from '../types.ts';

/** What every model has. */
export interface CommonHparams {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_ctx_train: number;
}

/** A tensor that an architecture asks for. */
export interface Wanted {
  readonly name: string;
  readonly ne: readonly number[];
  /** F32 where other numbers are scaled or summed; matrices may be F16 too. */
  readonly types: readonly TensorType[];
  readonly optional?: boolean;
  /** Not wanted in a file that has this tensor, which stands for it. */
  readonly unless?: string;
}

export interface Architecture<H extends CommonHparams & { readonly arch: string }> {
  /** `general.architecture` of its files. */
  readonly name: H['arch'];
  /**
   * Reads its keys; n_vocab comes from the token embeddings. `has` tells whether the file has a tensor, for what no key
   * says. Throws `model`.
   */
  hparams(keys: Keys, n_vocab: number, has: (tensor: string) => boolean): H;
  /** Every tensor that a model with these hyperparameters has. */
  tensors(hparams: H): Wanted[];
  /** Why a tensor that is not wanted cannot be supported, if that is known. */
  explain(tensor: string): string | undefined;
}

/** The keys that every architecture has. Throws `model`. */
export function commonHparams(keys: Keys, n_vocab: number): CommonHparams {
  const n_ctx_train = keys.integer('context_length', { min: 1 });
  const n_embd = keys.integer('embedding_length', { min: 1 });
  const n_layer = keys.integer('block_count', { min: 1, max: MAX_LAYERS });
  return { n_vocab, n_embd, n_layer, n_ctx_train };
}

/** What RMS norms add to the mean of squares, rounded to float32 as stored. Throws `model`. */
export function rmsEps(keys: Keys): number {
  return keys.float('attention.layer_norm_rms_epsilon', { min: 0, above: true });
}

/** For models without attention: the counts of heads must be 0 if they are there. Throws `model`. */
export function refuseHeads(keys: Keys): void {
  keys.mustBe('attention.head_count', 0, `${keys.arch} has no attention`);
  keys.mustBe('attention.head_count_kv', 0, `${keys.arch} has no attention`);
}

/** Counts of heads that are the same in all layers. Throws `model`, also if K and V cannot be shared evenly. */
export function headCounts(keys: Keys, n_layer: number): { n_head: number; n_head_kv: number } {
  const n_head = keys.integerPerLayer('attention.head_count', n_layer, { min: 1 });
  const n_head_kv = keys.integerPerLayer('attention.head_count_kv', n_layer, { min: 1, default: n_head });
  if (n_head % n_head_kv !== 0) {
    keys.fail(
      `key ${keys.arch}.attention.head_count`,
      `is ${n_head}, which is not a multiple of head_count_kv ${n_head_kv}`,
    );
  }
  return { n_head, n_head_kv };
}

/**
 * Heads of a hybrid: those of keys and values by layer, where 0 stands for a layer with a recurrent state instead of
 * attention. Throws `model`, also if K and V cannot be shared evenly.
 */
export function mixedHeads(keys: Keys, n_layer: number): { n_head: number; n_head_kv: readonly number[] } {
  const n_head = keys.integerPerLayer('attention.head_count', n_layer, { min: 1 });
  const n_head_kv = keys.integersOfLayers('attention.head_count_kv', n_layer);
  const key = `key ${keys.arch}.attention.head_count_kv`;
  n_head_kv.forEach((n, i) => {
    if (n > 0 && n_head % n !== 0)
      keys.fail(key, `is ${n} in layer ${i}, which does not divide head_count ${n_head}`);
  });
  return { n_head, n_head_kv };
}

/** Channels of a head of q, k and v, which must be the same. Throws `model`. */
export function headSize(keys: Keys, n_embd: number, n_head: number): number {
  if (!keys.has('attention.key_length') && n_embd % n_head !== 0) {
    keys.fail(
      `key ${keys.arch}.attention.head_count`,
      `is ${n_head}, which does not divide embedding_length ${n_embd}`,
    );
  }
  const usual = Math.max(1, Math.floor(n_embd / n_head));
  const d_k = keys.integer('attention.key_length', { min: 1, default: usual });
  const d_v = keys.integer('attention.value_length', { min: 1, default: usual });
  if (d_v !== d_k) {
    keys.fail(
      `key ${keys.arch}.attention.value_length`,
      `is ${d_v}, but keys have ${d_k}; only equal sizes are supported`,
    );
  }
  return d_k;
}

/** Rotated channels of a head, which must be all of them. Throws `model`. */
export function rotatedChannels(keys: Keys, n_embd_head: number): number {
  const n_rot = keys.integer('rope.dimension_count', { default: n_embd_head });
  if (n_rot !== n_embd_head) {
    keys.fail(`key ${keys.arch}.rope.dimension_count`, `is ${n_rot}; wanted the head size ${n_embd_head}`, {
      wanted: n_embd_head,
      found: n_rot,
    });
  }
  if (n_rot % 2 !== 0) {
    keys.fail(`key ${keys.arch}.rope.dimension_count`, `is ${n_rot}; channels rotate in pairs`);
  }
  return n_rot;
}

/** Base of the rope frequencies. Throws `model`. */
export function ropeBase(keys: Keys): number {
  return keys.float('rope.freq_base', { min: 0, above: true, default: 10_000 });
}

/** 1 / factor of linear scaling of positions, 1 if there is none. Throws `model` for any other scaling. */
export function ropeScale(keys: Keys): number {
  const type = keys.optionalString('rope.scaling.type', 'linear');
  const old = keys.float('rope.scale_linear', { min: 0, default: 0 });
  const factor = keys.float('rope.scaling.factor', { min: 0, default: old });
  keys.ignore('rope.scaling.original_context_length'); // only YaRN and LongRoPE read it
  if (type === 'none') return 1;
  if (type !== 'linear') {
    keys.fail(
      `key ${keys.arch}.rope.scaling.type`,
      `is ${JSON.stringify(type.slice(0, 80))}; wanted "linear" or "none"`,
    );
  }
  return factor === 0 ? 1 : Math.fround(1 / factor);
}

/** For models without experts: their counts must be 0 if they are there. Throws `model`. */
export function refuseExperts(keys: Keys): void {
  keys.mustBe('expert_count', 0, 'experts are not supported');
  keys.mustBe('expert_used_count', 0, 'experts are not supported');
}

/** As many experts as releases of llama.cpp allow. */
const MAX_EXPERTS = 512;

/** Experts of a layer, and how many of them a token goes to; 0 and 0 without experts. Throws `model`. */
export function expertCounts(keys: Keys): { n_expert: number; n_expert_used: number } {
  const n_expert = keys.integer('expert_count', { default: 0, max: MAX_EXPERTS });
  const n_expert_used = keys.integer('expert_used_count', { default: 0, max: MAX_EXPERTS });
  if (n_expert_used > n_expert || (n_expert > 0 && n_expert_used === 0)) {
    keys.fail(
      `key ${keys.arch}.expert_used_count`,
      `is ${n_expert_used}, but expert_count is ${n_expert}; wanted 1 to as many, or neither`,
      { n_expert, n_expert_used },
    );
  }
  return { n_expert, n_expert_used };
}

/** What models with causal attention may say in their keys and nothing here computes. Throws `model`. */
export function refuseAttentionVariants(keys: Keys): void {
  keys.mustBe('rope.scaling.attn_factor', 1, 'scaled attention is not supported');
  keys.mustBe('attention.causal', true, 'only causal attention is supported');
  keys.mustBe('pooling_type', 0, 'pooled embeddings are not supported');
}

/** The weight of a norm over n channels; `name` without ".weight". */
export function norm(name: string, n: number): Wanted {
  return small(`${name}.weight`, n);
}

/** A matrix from n_in to n_out channels, F32 or F16; `name` without ".weight". */
export function matrix(name: string, n_in: number, n_out: number): Wanted {
  return { name: `${name}.weight`, ne: [n_in, n_out], types: ['F32', 'F16'] };
}

/** As `matrix`, one matrix an expert. */
export function matrices(name: string, n_in: number, n_out: number, n_expert: number): Wanted {
  return { ...matrix(name, n_in, n_out), ne: [n_in, n_out, n_expert] };
}

/** Any tensor that is F32 only; `name` is complete. */
export function small(name: string, ...ne: number[]): Wanted {
  return { name, ne, types: ['F32'] };
}

/** Token embeddings, the last norm, and an output that is tied to the embeddings if it is absent. */
export function ends({ n_embd, n_vocab }: CommonHparams): Wanted[] {
  return [
    matrix('token_embd', n_embd, n_vocab),
    norm('output_norm', n_embd),
    { ...matrix('output', n_embd, n_vocab), optional: true },
  ];
}

/** The matrices of attention in one layer. */
export function attention(
  blk: string,
  h: Readonly<Record<'n_embd' | 'n_head' | 'n_head_kv' | 'n_embd_head', number>>,
): Wanted[] {
  const n_q = h.n_head * h.n_embd_head;
  const n_kv = h.n_head_kv * h.n_embd_head;
  return [
    matrix(`${blk}.attn_q`, h.n_embd, n_q),
    matrix(`${blk}.attn_k`, h.n_embd, n_kv),
    matrix(`${blk}.attn_v`, h.n_embd, n_kv),
    matrix(`${blk}.attn_output`, n_q, h.n_embd),
  ];
}

/** A feed-forward net with a gate, and the norm before it. */
export function gatedFeedForward(blk: string, n_embd: number, n_ff: number): Wanted[] {
  return [
    norm(`${blk}.ffn_norm`, n_embd),
    matrix(`${blk}.ffn_gate`, n_embd, n_ff),
    matrix(`${blk}.ffn_up`, n_embd, n_ff),
    matrix(`${blk}.ffn_down`, n_ff, n_embd),
  ];
}

/** A feed-forward net of experts with gates, its router, and the norm before it. */
export function expertFeedForward(blk: string, n_embd: number, n_ff: number, n_expert: number): Wanted[] {
  return [
    norm(`${blk}.ffn_norm`, n_embd),
    matrix(`${blk}.ffn_gate_inp`, n_embd, n_expert),
    matrices(`${blk}.ffn_gate_exps`, n_embd, n_ff, n_expert),
    matrices(`${blk}.ffn_up_exps`, n_embd, n_ff, n_expert),
    matrices(`${blk}.ffn_down_exps`, n_ff, n_embd, n_expert),
  ];
}

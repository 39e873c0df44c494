/** From files to models: hyperparameters and defaults, and every refusal with the key or tensor that it must name. */
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { goldenModel } from '../golden/assets.ts';
import { f32, flag, i32s, text, u32 } from '../golden/recipe-parts.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { type GgufValue, readGguf, writeGguf } from './gguf.ts';
import { architectures, loadModel } from './load.ts';
import type { Model, Tensor } from './types.ts';

interface Changes {
  /** Keys to set or, if undefined, to remove. */
  readonly keys?: Readonly<Record<string, GgufValue | undefined>>;
  /** Tensors to replace or add or, if undefined, to remove. */
  readonly tensors?: Readonly<Record<string, Partial<Tensor> | undefined>>;
}

/** A recipe with some of its keys and tensors changed, loaded. */
function load(recipe: string, { keys = {}, tensors = {} }: Changes = {}): Model {
  const file = readGguf(buildRecipe(recipe), recipe);
  const metadata = new Map<string, GgufValue | undefined>([...file.metadata, ...Object.entries(keys)]);
  const all = new Map<string, Tensor | undefined>(file.tensors);
  for (const [name, change] of Object.entries(tensors)) {
    const before = all.get(name) ?? { name, type: 'F32', ne: [1], data: new Float32Array(1) };
    all.set(name, change === undefined ? undefined : { ...before, ...change });
  }
  const present = [...metadata].filter((entry): entry is [string, GgufValue] => entry[1] !== undefined);
  const kept = [...all.values()].filter((t) => t !== undefined);
  return loadModel(writeGguf({ metadata: present, tensors: kept }), 'm.gguf');
}

function refusal(recipe: string, changes: Changes): string {
  try {
    load(recipe, changes);
  } catch (error) {
    if (error instanceof IsobatchError && error.kind === 'model') return error.message;
    throw error;
  }
  throw new Error('was not refused');
}

const zeros = (...ne: number[]): Partial<Tensor> => {
  return { ne, data: new Float32Array(ne.reduce((product, n) => product * n, 1)) };
};

describe('models', () => {
  it('the trained ones, with their hyperparameters', () => {
    const llama = loadModel(goldenModel('tiny-llama'), 'tiny-llama');
    expect(llama).toMatchObject({ name: 'tiny-llama', n_params: 213_760, bos: 1 });
    expect(llama.hparams).toEqual({
      arch: 'llama',
      n_vocab: 259,
      n_embd: 64,
      n_layer: 4,
      n_ctx_train: 512,
      norm_rms_eps: Math.fround(1e-5),
      n_head: 4,
      n_head_kv: 2,
      n_embd_head: 16,
      n_ff: 192,
      n_expert: 0,
      n_expert_used: 0,
      n_rot: 16,
      rope_freq_base: 10_000,
      rope_freq_scale: 1,
    });
    const mamba = loadModel(goldenModel('tiny-mamba'), 'tiny-mamba');
    expect(mamba).toMatchObject({ n_params: 147_456, bos: 1 });
    expect(mamba.hparams).toEqual({
      arch: 'mamba',
      n_vocab: 259,
      n_embd: 64,
      n_layer: 4,
      n_ctx_train: 4096,
      norm_rms_eps: Math.fround(1e-5),
      d_conv: 4,
      d_inner: 128,
      d_state: 16,
      dt_rank: 4,
      dt_b_c_rms: false,
    });
    const mamba2 = loadModel(goldenModel('tiny-mamba2'), 'tiny-mamba2');
    expect(mamba2).toMatchObject({ n_params: 155_744, bos: 1 });
    expect(mamba2.hparams).toEqual({
      arch: 'mamba2',
      n_vocab: 259,
      n_embd: 64,
      n_layer: 4,
      n_ctx_train: 4096,
      norm_rms_eps: Math.fround(1e-5),
      d_conv: 4,
      d_inner: 128,
      d_state: 32,
      n_ssm_head: 8,
      n_group: 2,
    });
    const jamba = loadModel(goldenModel('tiny-jamba'), 'tiny-jamba');
    expect(jamba).toMatchObject({ n_params: 205_384, bos: 1 });
    expect(jamba.hparams).toEqual({
      arch: 'jamba',
      n_vocab: 259,
      n_embd: 64,
      n_layer: 4,
      n_ctx_train: 4096,
      norm_rms_eps: Math.fround(1e-5),
      n_head: 4,
      n_head_kv: [0, 2, 0, 2],
      n_embd_head: 16,
      n_ff: 128,
      d_conv: 4,
      d_inner: 128,
      d_state: 16,
      dt_rank: 4,
      n_expert: 0,
      n_expert_used: 0,
      has_experts: [false, false, false, false],
    });
    const rwkv7 = loadModel(goldenModel('tiny-rwkv7'), 'tiny-rwkv7');
    expect(rwkv7).toMatchObject({ n_params: 290_816, bos: 1 });
    expect(rwkv7.hparams).toEqual({
      arch: 'rwkv7',
      n_vocab: 259,
      n_embd: 128,
      n_layer: 2,
      n_ctx_train: 4096,
      norm_eps: Math.fround(1e-5),
      n_embd_head: 64,
      n_head: 2,
      n_ff: 112,
      rank_decay: 16,
      rank_iclr: 16,
      rank_value: 8,
      rank_gate: 16,
    });
  });

  it('rwkv6: five mixes in five tensors or in one; the residual stream is never halved by default', () => {
    const { hparams, tensors } = load('rwkv6', { keys: { 'rwkv6.rescale_every_n_layers': undefined } });
    expect(hparams).toMatchObject({
      rescale_every: 0,
      n_head: 4,
      n_embd_head: 16,
      rank_mix: 8,
      rank_decay: 8,
    });
    expect(tensors.has('blk.0.time_mix_lerp_fused.weight')).toBe(false);
    expect(load('rwkv6-fuzz').tensors.has('blk.0.time_mix_lerp_w.weight')).toBe(false);
    const both = { 'blk.0.time_mix_lerp_w.weight': zeros(32, 1, 1) };
    expect(refusal('rwkv6-fuzz', { tensors: both })).toContain(
      'tensor blk.0.time_mix_lerp_w.weight stands beside time_mix_lerp_fused, which holds it too',
    );
    expect(refusal('rwkv6-fuzz', { tensors: { 'blk.1.time_mix_lerp_fused.weight': undefined } })).toContain(
      'tensor blk.1.time_mix_lerp_w.weight is missing; wanted [32]',
    );
  });

  it('no BOS where the vocabulary has none; output may be tied', () => {
    expect(load('llama').bos).toBeUndefined();
    expect(load('llama').tensors.has('output.weight')).toBe(true);
    const tied = load('llama', { tensors: { 'output.weight': undefined } });
    expect(tied.tensors.has('output.weight')).toBe(false);
    expect(tied.n_params).toBe(19_616 - 2048);
  });

  it('optional keys have the defaults of the specification', () => {
    const h = load('llama', {
      keys: {
        'llama.attention.head_count_kv': undefined,
        'llama.rope.dimension_count': undefined,
        'llama.vocab_size': undefined,
      },
      tensors: {
        'blk.0.attn_k.weight': zeros(32, 32),
        'blk.0.attn_v.weight': zeros(32, 32),
        'blk.1.attn_k.weight': zeros(32, 32),
        'blk.1.attn_v.weight': zeros(32, 32),
      },
    }).hparams;
    expect(h).toMatchObject({
      n_head_kv: 4,
      n_rot: 8,
      n_embd_head: 8,
      n_vocab: 64,
      rope_freq_base: 10_000,
      rope_freq_scale: 1,
    });
    expect(load('mamba', { keys: { 'mamba.ssm.dt_b_c_rms': flag(true) } }).hparams).toMatchObject({
      dt_b_c_rms: true,
    });
  });

  it('rope scaling: linear by factor, none, and the old key', () => {
    const scale = (keys: Record<string, GgufValue>): number => {
      const { hparams } = load('llama', { keys });
      return hparams.arch === 'llama' ? hparams.rope_freq_scale : Number.NaN;
    };
    expect(scale({ 'llama.rope.scaling.factor': f32(4) })).toBe(0.25);
    expect(scale({ 'llama.rope.scaling.type': text('linear'), 'llama.rope.scaling.factor': f32(3) })).toBe(
      Math.fround(1 / 3),
    );
    expect(scale({ 'llama.rope.scaling.type': text('none'), 'llama.rope.scaling.factor': f32(4) })).toBe(1);
    expect(scale({ 'llama.rope.scaling.factor': f32(0) })).toBe(1);
    expect(scale({ 'llama.rope.scale_linear': f32(2) })).toBe(0.5);
  });

  it('sizes per layer are one size if all are equal', () => {
    const sizes = (...n: number[]): GgufValue => ({ type: 'array', of: 'i32', value: Int32Array.from(n) });
    expect(load('llama', { keys: { 'llama.feed_forward_length': sizes(48, 48) } }).hparams).toMatchObject({
      n_ff: 48,
    });
    expect(refusal('llama', { keys: { 'llama.feed_forward_length': sizes(48, 47) } })).toContain(
      'key llama.feed_forward_length is 48 in layer 0 and 47 in layer 1; only models with equal layers',
    );
    expect(refusal('llama', { keys: { 'llama.feed_forward_length': sizes(48) } })).toContain(
      'has 1 values; wanted one for each of 2',
    );
  });

  it('openelm has sizes of its own in each layer; one number stands for all', () => {
    const { hparams } = load('openelm');
    expect(hparams).toMatchObject({
      n_embd_head: 16,
      n_rot: 16,
      layers: [
        { n_head: 4, n_head_kv: 2, n_ff: 96 },
        { n_head: 2, n_head_kv: 1, n_ff: 64 },
        { n_head: 4, n_head_kv: 2, n_ff: 96 },
      ],
    });
    const keys = {
      'openelm.feed_forward_length': u32(96),
      'openelm.attention.head_count': u32(4),
      'openelm.attention.head_count_kv': u32(2),
    };
    // Only layer 1 was of another size.
    expect(refusal('openelm', { keys })).toContain(
      'tensor blk.1.attn_qkv.weight has the shape [64, 64]; wanted',
    );
    // As many heads of K and V as of q, if nothing is said.
    const none = { 'openelm.attention.head_count_kv': undefined };
    expect(refusal('openelm', { keys: none })).toContain('has the shape [64, 128]; wanted [64, 192]');
  });

  it('llama with experts: their counts, and a stack of matrices for each product', () => {
    const model = load('llama-moe');
    expect(model.hparams).toMatchObject({ n_expert: 6, n_expert_used: 3, n_ff: 40 });
    expect(model.tensors.get('blk.1.ffn_down_exps.weight')!.ne).toEqual([40, 64, 6]);
    // Without counts it is a model whose tensors do not fit.
    const keys = { 'llama.expert_count': undefined, 'llama.expert_used_count': undefined };
    expect(refusal('llama-moe', { keys })).toContain('tensor blk.0.ffn_gate.weight is missing');
  });

  it('jamba has experts where it has a router', () => {
    expect(load('jamba-moe').hparams).toMatchObject({
      n_expert: 4,
      n_expert_used: 2,
      has_experts: [false, true],
    });
    const none = { 'blk.1.ffn_gate_inp.weight': undefined };
    expect(refusal('jamba-moe', { tensors: none })).toContain('tensor blk.1.ffn_gate.weight is missing');
    const keys = { 'jamba.expert_count': undefined, 'jamba.expert_used_count': undefined };
    expect(refusal('jamba-moe', { keys })).toContain('tensor blk.1.ffn_gate.weight is missing');
    const stray = { 'blk.0.ffn_up_exps.weight': {} };
    expect(refusal('jamba-moe', { tensors: stray })).toContain('or the layer has no router');
  });

  it('shapes are equal up to trailing ones, and are then those of the architecture', () => {
    const model = load('llama', { tensors: { 'output_norm.weight': { ne: [32, 1, 1] } } });
    expect(model.tensors.get('output_norm.weight')!.ne).toEqual([32]);
  });

  it('F16 matrices stay halves', () => {
    const model = load('mamba-f16');
    expect(model.tensors.get('blk.0.ssm_in.weight')!.data).toBeInstanceOf(Uint16Array);
    expect(model.tensors.get('blk.0.ssm_conv1d.weight')!.data).toBeInstanceOf(Float32Array);
  });
});

describe('refused keys', () => {
  it('unknown architectures, with the known ones', () => {
    expect(architectures).toEqual(expect.arrayContaining(['llama', 'mamba', 'openelm', 'jamba', 'lfm2']));
    expect(refusal('llama', { keys: { 'general.architecture': text('gemma') } })).toBe(
      `m.gguf: general.architecture "gemma" is not known; known are ${architectures.join(', ')}`,
    );
    expect(refusal('llama', { keys: { 'general.architecture': undefined } })).toBe(
      'm.gguf: key general.architecture is missing; wanted a string',
    );
    expect(refusal('llama', { keys: { 'general.architecture': u32(1) } })).toContain(
      'is u32; wanted a string',
    );
  });

  const required: [string, string[]][] = [
    [
      'llama',
      [
        'context_length',
        'embedding_length',
        'block_count',
        'feed_forward_length',
        'attention.head_count',
        'attention.layer_norm_rms_epsilon',
      ],
    ],
    [
      'mamba',
      [
        'context_length',
        'embedding_length',
        'block_count',
        'attention.layer_norm_rms_epsilon',
        'ssm.conv_kernel',
        'ssm.inner_size',
        'ssm.state_size',
        'ssm.time_step_rank',
      ],
    ],
    [
      'mamba2',
      [
        'context_length',
        'embedding_length',
        'block_count',
        'attention.layer_norm_rms_epsilon',
        'ssm.conv_kernel',
        'ssm.inner_size',
        'ssm.state_size',
        'ssm.time_step_rank',
        'ssm.group_count',
      ],
    ],
    ['openelm', ['feed_forward_length', 'attention.head_count', 'attention.layer_norm_rms_epsilon']],
    ['lfm2', ['feed_forward_length', 'attention.head_count_kv', 'shortconv.l_cache']],
    ['falcon-h1', ['feed_forward_length', 'attention.head_count', 'ssm.group_count', 'ssm.time_step_rank']],
    ['llama4', ['feed_forward_length', 'expert_feed_forward_length', 'interleave_moe_layer_step']],
    [
      'jamba',
      [
        'context_length',
        'feed_forward_length',
        'attention.head_count',
        'attention.head_count_kv',
        'attention.layer_norm_rms_epsilon',
        'ssm.conv_kernel',
        'ssm.state_size',
      ],
    ],
    [
      'rwkv6',
      [
        'feed_forward_length',
        'attention.layer_norm_epsilon',
        'wkv.head_size',
        'time_mix_extra_dim',
        'time_decay_extra_dim',
      ],
    ],
    [
      'rwkv7',
      [
        'feed_forward_length',
        'attention.layer_norm_epsilon',
        'wkv.head_size',
        'attention.decay_lora_rank',
        'attention.iclr_lora_rank',
        'attention.value_residual_mix_lora_rank',
        'attention.gate_lora_rank',
      ],
    ],
  ];
  it.each(required)('%s without a required key', (arch, keys) => {
    for (const key of keys) {
      expect(refusal(arch, { keys: { [`${arch}.${key}`]: undefined } })).toContain(
        `key ${arch}.${key} is missing`,
      );
      expect(refusal(arch, { keys: { [`${arch}.${key}`]: text('x') } })).toContain(
        `key ${arch}.${key} is string; wanted`,
      );
    }
  });

  const wrong: [string, string, GgufValue, string][] = [
    ['llama', 'llama.block_count', u32(0), 'is 0; wanted 1 to 1024'],
    ['llama', 'llama.embedding_length', u32(2 ** 24 + 1), 'is 16777217; wanted 1 to 16777216'],
    [
      'llama',
      'llama.embedding_length',
      { type: 'u64', value: 2n ** 63n },
      'is 9223372036854775808; wanted 1 to',
    ],
    ['llama', 'llama.embedding_length', { type: 'i32', value: -32 }, 'is -32; wanted 1 to'],
    ['llama', 'llama.embedding_length', f32(32), 'is f32; wanted an integer'],
    [
      'llama',
      'llama.attention.head_count',
      u32(3),
      'head_count is 3, which is not a multiple of head_count_kv 2',
    ],
    [
      'llama',
      'llama.attention.head_count',
      u32(6),
      'head_count is 6, which does not divide embedding_length 32',
    ],
    ['llama', 'llama.attention.layer_norm_rms_epsilon', f32(0), 'is 0; wanted a finite number above 0'],
    ['llama', 'llama.attention.layer_norm_rms_epsilon', f32(Number.NaN), 'is NaN; wanted a finite number'],
    ['llama', 'llama.rope.dimension_count', u32(4), 'is 4; wanted the head size 8'],
    [
      'llama',
      'llama.attention.value_length',
      u32(4),
      'is 4, but keys have 8; only equal sizes are supported',
    ],
    ['llama', 'llama.rope.freq_base', f32(-1), 'is -1; wanted a finite number above 0'],
    ['llama', 'llama.rope.scaling.type', text('yarn'), 'is "yarn"; wanted "linear" or "none"'],
    ['llama', 'llama.rope.scaling.factor', f32(-2), 'is -2; wanted a finite number not below 0'],
    ['llama', 'llama.rope.scaling.attn_factor', f32(2), 'is 2; wanted 1: scaled attention is not supported'],
    [
      'llama',
      'llama.expert_used_count',
      u32(2),
      'is 2, but expert_count is 0; wanted 1 to as many, or neither',
    ],
    ['llama-moe', 'llama.expert_used_count', u32(7), 'is 7, but expert_count is 6; wanted 1 to as many'],
    ['llama-moe', 'llama.expert_used_count', u32(0), 'is 0, but expert_count is 6; wanted 1 to as many'],
    ['llama-moe', 'llama.expert_count', u32(513), 'is 513; wanted 0 to 512'],
    ['llama-moe', 'llama.expert_count', f32(6), 'is f32; wanted an integer'],
    ['llama-moe', 'llama.expert_weights_scale', f32(2), 'is not supported for the architecture llama'],
    ['llama', 'llama.attention.causal', flag(false), 'is false; wanted true'],
    [
      'llama',
      'llama.attention.sliding_window',
      u32(8),
      '"llama.attention.sliding_window" is not supported for the architecture llama',
    ],
    ['llama', 'llama.vocab_size', u32(65), 'is 65, but token_embd.weight has 64 rows'],
    ['llama', 'tokenizer.ggml.bos_token_id', u32(64), 'is 64; wanted 0 to 63'],
    [
      'llama',
      'tokenizer.ggml.tokens',
      { type: 'array', of: 'string', value: ['a'] },
      'has 1 tokens, but token_embd.weight has 64 rows',
    ],
    ['llama', 'tokenizer.ggml.tokens', u32(1), 'is not an array of strings'],
    ['mamba', 'mamba.ssm.inner_size', u32(32), 'is 32; wanted twice embedding_length, 64'],
    ['mamba', 'mamba.ssm.conv_kernel', u32(1), 'is 1; wanted 2 to'],
    ['mamba', 'mamba.ssm.dt_b_c_rms', u32(1), 'is u32; wanted bool'],
    ['mamba', 'mamba.ssm.group_count', u32(1), '"mamba.ssm.group_count" is not supported'],
    ['mamba', 'mamba.feed_forward_length', u32(8), 'is 8; wanted 0: mamba has no feed-forward net'],
    ['mamba', 'mamba.attention.head_count', u32(8), 'is 8; wanted 0: mamba has no attention'],
    ['mamba2', 'mamba2.ssm.time_step_rank', u32(12), 'is 12, which does not divide inner_size 128'],
    ['mamba2', 'mamba2.ssm.group_count', u32(3), 'is 3, which does not divide time_step_rank 8'],
    ['mamba2', 'mamba2.ssm.group_count', u32(0), 'is 0; wanted 1 to'],
    ['mamba2', 'mamba2.ssm.conv_kernel', u32(1), 'is 1; wanted 2 to'],
    ['mamba2', 'mamba2.ssm.dt_b_c_rms', flag(true), '"mamba2.ssm.dt_b_c_rms" is not supported'],
    ['mamba2', 'mamba2.feed_forward_length', u32(8), 'is 8; wanted 0: mamba2 has no feed-forward net'],
    ['mamba2', 'mamba2.attention.head_count', u32(8), 'is 8; wanted 0: mamba2 has no attention'],
    [
      'openelm',
      'openelm.attention.head_count',
      i32s([4, 1, 3]),
      'is 3 in layer 2, which is not a multiple of head_count_kv 2',
    ],
    [
      'openelm',
      'openelm.attention.head_count_kv',
      i32s([2, 1]),
      'has 2 values; wanted one for each of 3 layers',
    ],
    ['openelm', 'openelm.attention.head_count_kv', i32s([2, 0, 2]), 'is 0; wanted 1 to'],
    ['openelm', 'openelm.feed_forward_length', f32(96), 'is f32; wanted an integer'],
    ['openelm', 'openelm.rope.dimension_count', u32(8), 'is 8; wanted the head size 16'],
    ['openelm', 'openelm.expert_count', u32(8), 'is 8; wanted 0: experts are not supported'],
    ['openelm', 'openelm.attention.sliding_window', u32(8), 'is not supported for the architecture openelm'],
    ['jamba', 'jamba.attention.head_count_kv', i32s([0, 2]), 'has 2 values; wanted one for each of 3 layers'],
    [
      'jamba',
      'jamba.attention.head_count_kv',
      i32s([0, 3, 0]),
      'is 3 in layer 1, which does not divide head_count 4',
    ],
    ['jamba', 'jamba.attention.head_count_kv', i32s([0, -2, 0]), 'is -2; wanted 0 to'],
    ['jamba', 'jamba.ssm.inner_size', u32(64), 'is 64; wanted twice embedding_length, 128'],
    ['lfm2', 'lfm2.attention.head_count_kv', i32s([0, 3, 0]), 'is 3 in layer 1, which does not divide'],
    ['falcon-h1', 'falcon-h1.ssm.group_count', u32(3), 'is 3, which does not divide time_step_rank 8'],
    ['falcon-h1', 'falcon-h1.attention.scale', f32(2), 'is not supported for the architecture falcon-h1'],
    ['lfm2', 'lfm2.shortconv.l_cache', u32(1), 'is 1; wanted 2 to'],
    ['lfm2', 'lfm2.rope.dimension_count', u32(8), 'is 8; wanted the head size 16'],
    ['lfm2', 'lfm2.attention.sliding_window', u32(8), 'is not supported for the architecture lfm2'],
    ['isobatch-symmetric', 'isobatch-symmetric.attention.causal', flag(true), 'it sees to both sides'],
    ['refact', 'refact.attention.max_alibi_bias', f32(4), 'is 4; wanted 8: refact has one bias'],
    ['refact', 'refact.rope.freq_base', f32(100), 'is not supported for the architecture refact'],
    ['llama4', 'llama4.expert_used_count', u32(17), 'is 17, but expert_count is 16'],
    ['llama4', 'llama4.expert_weights_scale', f32(2), 'scaled experts are not supported'],
    ['llama4', 'llama4.attention.temperature_length', u32(0), 'is 0; wanted 1 to'],
    ['llama4', 'llama4.attention.sliding_window_pattern', u32(0), 'is 0; wanted 1 to'],
    ['jamba', 'jamba.ssm.dt_b_c_rms', flag(true), '"jamba.ssm.dt_b_c_rms" is not supported'],
    ['jamba', 'jamba.rope.dimension_count', u32(16), '"jamba.rope.dimension_count" is not supported'],
    ['rwkv6', 'rwkv6.wkv.head_size', u32(24), 'is 24, which does not divide embedding_length 64'],
    ['rwkv6', 'rwkv6.token_shift_count', u32(1), 'is 1; wanted 2: one token shift before the time mix'],
    ['rwkv6', 'rwkv6.attention.head_count', u32(4), 'is 4; wanted 0: rwkv6 has no attention'],
    ['rwkv7', 'rwkv7.attention.gate_lora_rank', u32(0), 'is 0; wanted 1 to'],
    ['rwkv7', 'rwkv7.rescale_every_n_layers', u32(6), '"rwkv7.rescale_every_n_layers" is not supported'],
  ];
  it.each(wrong)('%s: %s of another value', (recipe, key, value, message) => {
    const found = refusal(recipe, { keys: { [key]: value } });
    expect(found).toContain(message);
    expect(found).toContain(key);
  });

  it('an odd head size, since channels rotate in pairs', () => {
    const keys = {
      'llama.attention.key_length': u32(7),
      'llama.attention.value_length': u32(7),
      'llama.rope.dimension_count': u32(7),
    };
    expect(refusal('llama', { keys })).toContain(
      'key llama.rope.dimension_count is 7; channels rotate in pairs',
    );
  });
});

describe('refused tensors', () => {
  it.each([
    'llama',
    'llama-moe',
    'mamba',
    'mamba2',
    'openelm',
    'rwkv6',
    'rwkv7',
    'jamba',
    'lfm2',
    'falcon-h1',
    'llama4-fuzz',
    'refact-fuzz',
    'isobatch-symmetric',
    'gemma2-fuzz',
    'gemma3-fuzz',
  ])('%s: every tensor is needed, in its shape', (recipe) => {
    const file = readGguf(buildRecipe(recipe), recipe);
    for (const [name, t] of file.tensors) {
      if (name === 'output.weight' && !recipe.startsWith('rwkv')) continue;
      expect(refusal(recipe, { tensors: { [name]: undefined } })).toContain(`tensor ${name} is missing`);
      const ne = t.ne.map((n, d) => (d === 0 ? n + 1 : n));
      const message = refusal(recipe, { tensors: { [name]: { ...zeros(...ne), type: 'F32' } } });
      const wanted = t.ne.join(', ').replace(/(, 1)+$/, recipe.startsWith('rwkv') ? '' : '$&');
      expect(message).toContain(`tensor ${name} has the shape [${ne.join(', ')}]; wanted [${wanted}]`);
    }
  });

  it('halves where float32 is needed', () => {
    for (const name of [
      'blk.0.ssm_a',
      'blk.1.ssm_d',
      'blk.0.ssm_conv1d.weight',
      'blk.0.ssm_dt.bias',
      'output_norm.weight',
    ]) {
      const { ne } = readGguf(buildRecipe('mamba'), 'x').tensors.get(name)!;
      const data = new Uint16Array(ne.reduce((product, n) => product * n, 1));
      expect(refusal('mamba', { tensors: { [name]: { type: 'F16', data } } })).toContain(
        `tensor ${name} is F16; wanted F32`,
      );
    }
  });

  it('mamba2: halves where float32 is needed, and norms of other groups', () => {
    const halves = (name: string, n: number) =>
      refusal('mamba2', { tensors: { [name]: { type: 'F16', data: new Uint16Array(n) } } });
    expect(halves('blk.0.ssm_a', 8)).toContain('tensor blk.0.ssm_a is F16; wanted F32');
    expect(halves('blk.1.ssm_norm.weight', 128)).toContain('blk.1.ssm_norm.weight is F16; wanted F32');
    const tensors = { 'blk.0.ssm_norm.weight': zeros(128) };
    expect(refusal('mamba2', { tensors })).toContain('has the shape [128]; wanted [64, 2]');
  });

  const unknown: [string, string, string][] = [
    ['llama', 'blk.0.attn_q.bias', 'is a bias; models with biases are not supported'],
    ['llama', 'rope_freqs.weight', 'changes the rope frequencies, which is not supported'],
    ['llama', 'blk.1.rope_freqs.weight', 'changes the rope frequencies'],
    ['llama', 'blk.0.ffn_gate_inp.weight', 'belongs to experts, but expert_count is 0'],
    ['llama', 'blk.0.ffn_up_exps.weight', 'belongs to experts'],
    ['llama-moe', 'blk.0.ffn_up.weight', 'is not part of the architecture llama'],
    [
      'llama-moe',
      'blk.0.ffn_up.3.weight',
      'is one expert; only files with the experts of a layer in one tensor',
    ],
    ['llama', 'blk.2.attn_norm.weight', 'is not part of the architecture llama'],
    ['mamba', 'blk.0.ssm_a.weight', 'is misnamed: ssm_a and ssm_d have no ".weight"'],
    ['mamba', 'blk.0.ssm_dt_norm.weight', 'belongs to jamba'],
    ['mamba2', 'blk.0.ssm_d.weight', 'is misnamed: ssm_a and ssm_d have no ".weight"'],
    ['mamba2', 'blk.0.ssm_x.weight', 'belongs to mamba; mamba2 has steps, B and C in ssm_in'],
    ['mamba2', 'blk.0.ssm_dt.weight', 'belongs to mamba'],
    ['jamba', 'blk.0.ssm_d.weight', 'is misnamed: ssm_a and ssm_d have no ".weight"'],
    ['jamba', 'blk.1.ssm_dt_norm.weight', 'is not part of the architecture jamba'],
    ['jamba', 'blk.0.attn_q.weight', 'is not part of the architecture jamba'],
    ['falcon-h1', 'blk.0.ffn_norm.weight', 'is misnamed: ffn_norm of falcon-h1 has no ".weight"'],
    ['llama4-fuzz', 'blk.0.ffn_gate_exps.weight', 'belongs to experts, which this layer has not'],
    ['isobatch-symmetric', 'output.weight', 'is not part of an encoder, whose rows are embeddings'],
    ['refact', 'rope_freqs.weight', 'belongs to a model that turns q and k; refact does not'],
    ['llama4-fuzz', 'rope_freqs.weight', 'changes the rope frequencies, which is not supported'],
    ['falcon-h1', 'blk.1.ssm_norm.weight', 'is a norm behind the gate, which is not supported in falcon-h1'],
    ['falcon-h1', 'blk.0.attn_q.bias', 'is a bias; models with biases are not supported'],
    ['falcon-h1', 'blk.0.ssm_d.weight', 'is misnamed: ssm_a and ssm_d have no ".weight"'],
    ['lfm2', 'output_norm.weight', 'is called token_embd_norm.weight in lfm2'],
    ['lfm2', 'blk.0.attn_q_norm.weight', 'is not part of the architecture lfm2'],
    ['mamba', 'position_embd.weight', 'is not part of the architecture mamba'],
    ['openelm', 'output.weight', 'is not part of openelm, whose output is tied to its embeddings'],
    ['openelm', 'blk.0.attn_q.weight', 'is part of attn_qkv in openelm'],
    ['openelm', 'blk.3.attn_norm.weight', 'is not part of the architecture openelm'],
  ];
  it.each(unknown)('%s with %s', (recipe, name, message) => {
    expect(refusal(recipe, { tensors: { [name]: {} } })).toContain(`m.gguf: tensor ${name} ${message}`);
  });

  it('numbers that are not finite', () => {
    const data = new Float32Array(32).fill(1);
    data[5] = Number.NaN;
    expect(refusal('llama', { tensors: { 'output_norm.weight': { data } } })).toContain(
      'tensor output_norm.weight has an element that is not finite, number 5',
    );
    const half = new Uint16Array(2048);
    half[2047] = 0xfc00;
    expect(refusal('llama-f16', { tensors: { 'output.weight': { data: half } } })).toContain('number 2047');
  });
});

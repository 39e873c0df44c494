/**
 * What the oracle's tests share: seeded random numbers, random legal batches, and models of a few dozen weights, built
 * directly. Nothing of the product uses this file.
 */
import type { CompleteBatch, SeqId } from '../contract/batch.ts';
import type { Hparams, Model, Tensor } from '../model/types.ts';
import { completeBatch } from './batch.ts';
import type { Entry, Sequences } from './entries.ts';

/** Integers from 0 to n-1, the same for the same seed (a linear congruential generator, upper bits). */
export type Random = (n: number) => number;

export function seeded(seed: number): Random {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

/** A float32 in [-1, 1). */
export function signed(random: Random): number {
  return random(2 ** 24) / 2 ** 23 - 1;
}

export interface BatchShape {
  readonly n_tokens: number;
  readonly n_seq_max: number;
  readonly n_vocab: number;
  /** Of 100 tokens, how many may be shared. */
  readonly shared: number;
}

/** A random legal batch that goes on where the sequences end. */
export function randomBatch(random: Random, memory: Sequences, shape: BatchShape): CompleteBatch {
  const { n_tokens, n_seq_max, n_vocab } = shape;
  // Sequences with the same history have the same name.
  const names = new Map<Entry, number>();
  const name = (entry: Entry) => names.get(entry) ?? names.set(entry, names.size).get(entry);
  const history = Array.from({ length: n_seq_max }, (_, seq) => memory.list(seq).map(name).join());
  const seq_id: SeqId[][] = [];
  for (let i = 0; i < n_tokens; i++) {
    const seq = random(n_seq_max);
    const equals = history.flatMap((h, other) => (h === history[seq] ? [other] : []));
    const ids = random(100) < shape.shared ? equals.filter((other) => other === seq || random(3) > 0) : [seq];
    seq_id.push(ids);
    for (const id of ids) {
      history[id] += `/${i}`;
    }
  }
  return completeBatch(
    {
      token: Array.from({ length: n_tokens }, () => random(n_vocab)),
      seq_id,
      logits: Array.from({ length: n_tokens }, () => random(2) === 0),
    },
    memory,
    { n_vocab, n_batch: n_tokens, n_seq_max },
  );
}

/** Batch with everything given; pos and logits by default as `completeBatch` fills them in for an empty memory. */
export function batchOf(
  seq_id: readonly (readonly SeqId[])[],
  logits?: readonly boolean[],
  token?: readonly number[],
): CompleteBatch {
  const n = seq_id.length;
  return completeBatch(
    { token: token ?? Array.from({ length: n }, (_, i) => i), seq_id, ...(logits ? { logits } : {}) },
    { posMax: () => -1, owned: () => [] },
    { n_vocab: 1000, n_batch: n, n_seq_max: 100 },
  );
}

/** Weights between -1 and 1, float32, by name. */
export function randomTensor(random: Random, name: string, ne: readonly number[]): [string, Tensor] {
  const data = new Float32Array(ne.reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i++) {
    data[i] = random(2001) / 1000 - 1;
  }
  return [name, { name, ne, type: 'F32', data }];
}

export function modelOf(hparams: Hparams, tensors: [string, Tensor][]): Model {
  return {
    name: `micro-${hparams.arch}`,
    hparams,
    tensors: new Map(tensors),
    n_params: tensors.reduce((sum, [, tensor]) => sum + tensor.data.length, 0),
  };
}

/**
 * Four heads of two channels over two K and V heads, vocabulary 6; `tied` leaves out `output.weight`; `n_expert` experts,
 * two of them used, or none.
 */
export function microLlama(seed = 1, { n_layer = 1, tied = false, n_expert = 0 } = {}): Model {
  const random = seeded(seed);
  const tensor = (name: string, ...ne: number[]) => randomTensor(random, name, ne);
  const E = 4;
  const F = 5;
  const tensors = [tensor('token_embd.weight', E, 6), tensor('output_norm.weight', E)];
  for (let il = 0; il < n_layer; il++) {
    tensors.push(
      tensor(`blk.${il}.attn_norm.weight`, E),
      tensor(`blk.${il}.attn_q.weight`, E, 8),
      tensor(`blk.${il}.attn_k.weight`, E, 4),
      tensor(`blk.${il}.attn_v.weight`, E, 4),
      tensor(`blk.${il}.attn_output.weight`, 8, E),
      tensor(`blk.${il}.ffn_norm.weight`, E),
      ...(n_expert > 0
        ? [
            tensor(`blk.${il}.ffn_gate_inp.weight`, E, n_expert),
            tensor(`blk.${il}.ffn_gate_exps.weight`, E, F, n_expert),
            tensor(`blk.${il}.ffn_up_exps.weight`, E, F, n_expert),
            tensor(`blk.${il}.ffn_down_exps.weight`, F, E, n_expert),
          ]
        : [
            tensor(`blk.${il}.ffn_gate.weight`, E, F),
            tensor(`blk.${il}.ffn_up.weight`, E, F),
            tensor(`blk.${il}.ffn_down.weight`, F, E),
          ]),
    );
  }
  if (!tied) {
    tensors.push(tensor('output.weight', E, 6));
  }
  return modelOf(
    {
      arch: 'llama',
      n_vocab: 6,
      n_embd: E,
      n_layer,
      n_ctx_train: 64,
      norm_rms_eps: 1e-5,
      n_head: 4,
      n_head_kv: 2,
      n_embd_head: 2,
      n_ff: F,
      n_expert,
      n_expert_used: n_expert > 0 ? 2 : 0,
      n_rot: 2,
      rope_freq_base: 100,
      rope_freq_scale: 0.5,
    },
    tensors,
  );
}

/** d_inner 8, d_state 3, dt_rank 2, d_conv 3, vocabulary 6, tied output. */
export function microMamba(seed = 1, { n_layer = 1, dt_b_c_rms = false } = {}): Model {
  const random = seeded(seed);
  const tensor = (name: string, ...ne: number[]) => randomTensor(random, name, ne);
  const E = 4;
  const D = 8;
  const N = 3;
  const R = 2;
  const tensors = [tensor('token_embd.weight', E, 6), tensor('output_norm.weight', E)];
  for (let il = 0; il < n_layer; il++) {
    const a = tensor(`blk.${il}.ssm_a`, N, D);
    a[1].data.forEach((value, i) => {
      a[1].data[i] = -Math.abs(value) - 0.1;
    });
    tensors.push(
      a,
      tensor(`blk.${il}.attn_norm.weight`, E),
      tensor(`blk.${il}.ssm_in.weight`, E, 2 * D),
      tensor(`blk.${il}.ssm_conv1d.weight`, 3, D),
      tensor(`blk.${il}.ssm_conv1d.bias`, D),
      tensor(`blk.${il}.ssm_x.weight`, D, R + 2 * N),
      tensor(`blk.${il}.ssm_dt.weight`, R, D),
      tensor(`blk.${il}.ssm_dt.bias`, D),
      tensor(`blk.${il}.ssm_d`, D),
      tensor(`blk.${il}.ssm_out.weight`, D, E),
    );
  }
  return modelOf(
    {
      arch: 'mamba',
      n_vocab: 6,
      n_embd: E,
      n_layer,
      n_ctx_train: 64,
      norm_rms_eps: 1e-5,
      d_conv: 3,
      d_inner: D,
      d_state: N,
      dt_rank: R,
      dt_b_c_rms,
    },
    tensors,
  );
}

/** Four heads of two channels in two groups, d_state 3, d_conv 3, vocabulary 6, tied output. */
export function microMamba2(seed = 1, { n_layer = 1, n_group = 2 } = {}): Model {
  const random = seeded(seed);
  const tensor = (name: string, ...ne: number[]) => randomTensor(random, name, ne);
  const E = 4;
  const D = 8;
  const N = 3;
  const H = 4;
  const tensors = [tensor('token_embd.weight', E, 6), tensor('output_norm.weight', E)];
  for (let il = 0; il < n_layer; il++) {
    const a = tensor(`blk.${il}.ssm_a`, 1, H);
    a[1].data.forEach((value, i) => {
      a[1].data[i] = -Math.abs(value) - 0.1;
    });
    tensors.push(
      a,
      tensor(`blk.${il}.attn_norm.weight`, E),
      tensor(`blk.${il}.ssm_in.weight`, E, 2 * D + 2 * n_group * N + H),
      tensor(`blk.${il}.ssm_conv1d.weight`, 3, D + 2 * n_group * N),
      tensor(`blk.${il}.ssm_conv1d.bias`, D + 2 * n_group * N),
      tensor(`blk.${il}.ssm_dt.bias`, H),
      tensor(`blk.${il}.ssm_d`, 1, H),
      tensor(`blk.${il}.ssm_norm.weight`, D / n_group, n_group),
      tensor(`blk.${il}.ssm_out.weight`, D, E),
    );
  }
  return modelOf(
    {
      arch: 'mamba2',
      n_vocab: 6,
      n_embd: E,
      n_layer,
      n_ctx_train: 64,
      norm_rms_eps: 1e-5,
      d_conv: 3,
      d_inner: D,
      d_state: N,
      n_ssm_head: H,
      n_group,
    },
    tensors,
  );
}

/** What the micro models of RWKV have alike: two heads of two channels, vocabulary 6. */
function microRwkv(
  random: Random,
  n_layer: number,
  own: (blk: string, tensor: MicroTensor) => [string, Tensor][],
) {
  const tensor: MicroTensor = (name, ...ne) => randomTensor(random, name, ne);
  const normed = (name: string) => [tensor(`${name}.weight`, 4), tensor(`${name}.bias`, 4)];
  const tensors = [
    tensor('token_embd.weight', 4, 6),
    ...normed('token_embd_norm'),
    ...normed('output_norm'),
    tensor('output.weight', 4, 6),
  ];
  for (let il = 0; il < n_layer; il++) {
    const blk = `blk.${il}`;
    for (const name of ['attn_norm', 'attn_norm_2', 'time_mix_ln']) tensors.push(...normed(`${blk}.${name}`));
    for (const name of ['receptance', 'key', 'value', 'output'])
      tensors.push(tensor(`${blk}.time_mix_${name}.weight`, 4, 4));
    tensors.push(
      tensor(`${blk}.channel_mix_lerp_k.weight`, 4),
      tensor(`${blk}.channel_mix_key.weight`, 4, 5),
      tensor(`${blk}.channel_mix_value.weight`, 5, 4),
      ...own(blk, tensor),
    );
  }
  const hparams = {
    n_vocab: 6,
    n_embd: 4,
    n_layer,
    n_ctx_train: 64,
    norm_eps: 1e-5,
    n_embd_head: 2,
    n_head: 2,
    n_ff: 5,
  };
  return { hparams, tensors };
}

type MicroTensor = (name: string, ...ne: number[]) => [string, Tensor];

/** Ranks 3 and 2; `fused` has the five mixes in one tensor. */
export function microRwkv6(seed = 1, { n_layer = 1, fused = false, rescale_every = 0 } = {}): Model {
  const { hparams, tensors } = microRwkv(seeded(seed), n_layer, (blk, tensor) => {
    const own = (name: string, ...ne: number[]) => tensor(`${blk}.time_mix_${name}.weight`, ...ne);
    const lerps = fused
      ? [own('lerp_fused', 4, 1, 1, 5)]
      : ['w', 'k', 'v', 'r', 'g'].map((x) => own(`lerp_${x}`, 4));
    return [
      own('w1', 4, 15),
      own('w2', 3, 4, 5),
      own('lerp_x', 4),
      ...lerps,
      own('first', 2, 2),
      own('decay', 4),
      own('decay_w1', 4, 2),
      own('decay_w2', 2, 4),
      own('gate', 4, 4),
      tensor(`${blk}.channel_mix_lerp_r.weight`, 4),
      tensor(`${blk}.channel_mix_receptance.weight`, 4, 4),
    ];
  });
  return modelOf({ arch: 'rwkv6', ...hparams, rank_mix: 3, rank_decay: 2, rescale_every }, tensors);
}

/** Ranks 2, 3, 1 and 2. */
export function microRwkv7(seed = 1, { n_layer = 1 } = {}): Model {
  const ranks = { w: 2, a: 3, v: 1, g: 2 };
  const { hparams, tensors } = microRwkv(seeded(seed), n_layer, (blk, tensor) => {
    const own = (name: string, ...ne: number[]) => tensor(`${blk}.time_mix_${name}.weight`, ...ne);
    return [
      ...Object.entries(ranks).flatMap(([x, rank]) => [own(`${x}1`, 4, rank), own(`${x}2`, rank, 4)]),
      ...['w0', 'a0', 'v0', 'k_k', 'k_a', 'r_k'].map((name) => own(name, 4)),
      own('lerp_fused', 4, 1, 1, 6),
    ];
  });
  const { w: rank_decay, a: rank_iclr, v: rank_value, g: rank_gate } = ranks;
  return modelOf({ arch: 'rwkv7', ...hparams, rank_decay, rank_iclr, rank_value, rank_gate }, tensors);
}

/**
 * gemma2 (or gemma3, with norms of heads and other angles in its windows): four heads of four channels over two, windows
 * of 3 in every layer but each `swa_period`th, caps that are felt, vocabulary 6, tied output.
 */
export function microGemma(
  arch: 'gemma2' | 'gemma3',
  seed = 1,
  {
    n_layer = 2,
    n_swa = 3,
    swa_period = 2,
    attn_softcap = arch === 'gemma2' ? 2 : 0,
    final_softcap = 4,
  } = {},
): Model {
  const random = seeded(seed);
  const tensor = (name: string, ...ne: number[]) => randomTensor(random, name, ne);
  const [E, F, d] = [6, 5, 4];
  const tensors = [tensor('token_embd.weight', E, 6), tensor('output_norm.weight', E)];
  for (let il = 0; il < n_layer; il++) {
    const blk = (name: string, ...ne: number[]) => tensor(`blk.${il}.${name}.weight`, ...ne);
    tensors.push(
      blk('attn_norm', E),
      blk('attn_q', E, 4 * d),
      blk('attn_k', E, 2 * d),
      blk('attn_v', E, 2 * d),
      ...(arch === 'gemma3' ? [blk('attn_q_norm', d), blk('attn_k_norm', d)] : []),
      blk('attn_output', 4 * d, E),
      blk('post_attention_norm', E),
      blk('ffn_norm', E),
      blk('ffn_gate', E, F),
      blk('ffn_up', E, F),
      blk('ffn_down', F, E),
      blk('post_ffw_norm', E),
    );
  }
  const hparams = {
    n_vocab: 6,
    n_embd: E,
    n_layer,
    n_ctx_train: 64,
    norm_rms_eps: 1e-5,
    n_head: 4,
    n_head_kv: 2,
    n_embd_head: d,
    n_ff: F,
    n_rot: d,
    rope_freq_base: 100,
    rope_freq_scale: 0.5,
    rope_freq_base_swa: arch === 'gemma3' ? 30 : 100,
    rope_freq_scale_swa: arch === 'gemma3' ? 1 : 0.5,
    n_swa,
    windowed: Array.from({ length: n_layer }, (_, il) => (il + 1) % swa_period !== 0),
    score_divisor: d,
    attn_softcap,
    final_softcap,
  };
  return modelOf({ arch, ...hparams }, tensors);
}

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
function randomTensor(random: Random, name: string, ne: readonly number[]): [string, Tensor] {
  const data = new Float32Array(ne.reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i++) {
    data[i] = random(2001) / 1000 - 1;
  }
  return [name, { name, ne, type: 'F32', data }];
}

function modelOf(hparams: Hparams, tensors: [string, Tensor][]): Model {
  return {
    name: `micro-${hparams.arch}`,
    hparams,
    tensors: new Map(tensors),
    n_params: tensors.reduce((sum, [, tensor]) => sum + tensor.data.length, 0),
  };
}

/** Four heads of two channels over two K and V heads, vocabulary 6; `tied` leaves out `output.weight`. */
export function microLlama(seed = 1, { n_layer = 1, tied = false } = {}): Model {
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
      tensor(`blk.${il}.ffn_gate.weight`, E, F),
      tensor(`blk.${il}.ffn_up.weight`, E, F),
      tensor(`blk.${il}.ffn_down.weight`, F, E),
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

/**
 * Keys and tensors of `llama`: grouped-query attention with rotated pairs, and a gated feed-forward net.
 *
 * Rule: spec: architectures.md 0.1 and 3. Refused, because nothing here computes them: experts, biases, factors of
 * rope frequencies, YaRN, values of another head size than keys, partial rotation.
 */

import { type Keys, MAX_LAYERS } from './keys.ts';
import type { Architecture, Wanted } from './load.ts';
import type { LlamaHparams } from './types.ts';

function hparams(keys: Keys, n_vocab: number): LlamaHparams {
  const n_ctx_train = keys.integer('context_length', { min: 1 });
  const n_embd = keys.integer('embedding_length', { min: 1 });
  const n_layer = keys.integer('block_count', { min: 1, max: MAX_LAYERS });
  const n_ff = keys.integerPerLayer('feed_forward_length', n_layer, { min: 1 });
  const n_head = keys.integerPerLayer('attention.head_count', n_layer, { min: 1 });
  const n_head_kv = keys.integerPerLayer('attention.head_count_kv', n_layer, { min: 1, default: n_head });
  if (n_head % n_head_kv !== 0) {
    keys.fail(
      'key llama.attention.head_count',
      `is ${n_head}, which is not a multiple of head_count_kv ${n_head_kv}`,
    );
  }
  const n_embd_head = headSize(keys, n_embd, n_head);
  refuseUnsupported(keys);
  return {
    arch: 'llama',
    n_vocab,
    n_embd,
    n_layer,
    n_ctx_train,
    norm_rms_eps: keys.float('attention.layer_norm_rms_epsilon', { min: 0, above: true }),
    n_head,
    n_head_kv,
    n_embd_head,
    n_ff,
    n_rot: n_embd_head,
    rope_freq_base: keys.float('rope.freq_base', { min: 0, above: true, default: 10_000 }),
    rope_freq_scale: ropeScale(keys),
  };
}

function headSize(keys: Keys, n_embd: number, n_head: number): number {
  if (!keys.has('attention.key_length') && n_embd % n_head !== 0) {
    keys.fail(
      'key llama.attention.head_count',
      `is ${n_head}, which does not divide embedding_length ${n_embd}`,
    );
  }
  const usual = Math.max(1, Math.floor(n_embd / n_head));
  const d_k = keys.integer('attention.key_length', { min: 1, default: usual });
  const d_v = keys.integer('attention.value_length', { min: 1, default: usual });
  if (d_v !== d_k) {
    keys.fail(
      'key llama.attention.value_length',
      `is ${d_v}, but keys have ${d_k}; only equal sizes are supported`,
    );
  }
  const n_rot = keys.integer('rope.dimension_count', { default: d_k });
  if (n_rot !== d_k) {
    keys.fail('key llama.rope.dimension_count', `is ${n_rot}; wanted the head size ${d_k}`, {
      wanted: d_k,
      found: n_rot,
    });
  }
  if (d_k % 2 !== 0) keys.fail('key llama.rope.dimension_count', `is ${d_k}; channels rotate in pairs`);
  return d_k;
}

/** 1 / factor of linear scaling. */
function ropeScale(keys: Keys): number {
  const type = keys.optionalString('rope.scaling.type', 'linear');
  const old = keys.float('rope.scale_linear', { min: 0, default: 0 });
  const factor = keys.float('rope.scaling.factor', { min: 0, default: old });
  keys.ignore('rope.scaling.original_context_length'); // only YaRN and LongRoPE read it
  if (type === 'none') return 1;
  if (type !== 'linear') {
    keys.fail(
      'key llama.rope.scaling.type',
      `is ${JSON.stringify(type.slice(0, 80))}; wanted "linear" or "none"`,
    );
  }
  return factor === 0 ? 1 : Math.fround(1 / factor);
}

function refuseUnsupported(keys: Keys): void {
  keys.mustBe('expert_count', 0, 'experts are not supported');
  keys.mustBe('expert_used_count', 0, 'experts are not supported');
  keys.mustBe('rope.scaling.attn_factor', 1, 'scaled attention is not supported');
  keys.mustBe('attention.causal', true, 'only causal attention is supported');
  keys.mustBe('pooling_type', 0, 'pooled embeddings are not supported');
  keys.ignore('tensor_data_layout'); // names the order of q and k rows that every file of this architecture has
}

function tensors(h: LlamaHparams): Wanted[] {
  const { n_embd: e, n_ff: f, n_vocab } = h;
  const n_q = h.n_head * h.n_embd_head;
  const n_kv = h.n_head_kv * h.n_embd_head;
  const norm = (name: string): Wanted => ({ name: `${name}.weight`, ne: [e], types: ['F32'] });
  const matrix = (name: string, n_in: number, n_out: number): Wanted => ({
    name: `${name}.weight`,
    ne: [n_in, n_out],
    types: ['F32', 'F16'],
  });
  const all = [
    matrix('token_embd', e, n_vocab),
    norm('output_norm'),
    { ...matrix('output', e, n_vocab), optional: true }, // tied to token_embd if absent
  ];
  for (let i = 0; i < h.n_layer; i++) {
    const blk = `blk.${i}`;
    all.push(
      norm(`${blk}.attn_norm`),
      matrix(`${blk}.attn_q`, e, n_q),
      matrix(`${blk}.attn_k`, e, n_kv),
      matrix(`${blk}.attn_v`, e, n_kv),
      matrix(`${blk}.attn_output`, n_q, e),
      norm(`${blk}.ffn_norm`),
      matrix(`${blk}.ffn_gate`, e, f),
      matrix(`${blk}.ffn_up`, e, f),
      matrix(`${blk}.ffn_down`, f, e),
    );
  }
  return all;
}

function explain(tensor: string): string | undefined {
  if (tensor.endsWith('.bias')) return 'is a bias; models with biases are not supported';
  if (/(^|\.)rope_(freqs|factors_\w+)\.weight$/.test(tensor)) {
    return 'changes the rope frequencies, which is not supported';
  }
  if (/ffn_(gate_inp|(gate|up|down)_exps)/.test(tensor)) return 'belongs to experts, which are not supported';
  return undefined;
}

export const llama: Architecture<LlamaHparams> = { name: 'llama', hparams, tensors, explain };

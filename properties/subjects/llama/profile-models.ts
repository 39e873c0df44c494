/**
 * Tiny models whose weights are chosen by hand, so that one logit tells how one operator rounds. All else in them is
 * exact: embeddings are 1 and -1, so a norm divides by exactly 1, and every weight that is not named is zero.
 *
 * What a probe computes is added to channel READ of the residual stream. Channel REFERENCE stays 1, so the quotient of
 * two logits gives the sum back, whatever the last norm divides by.
 */
import {
  byteVocabulary,
  f32,
  fileOf,
  type Metadata,
  text,
  u32,
  Weights,
} from '../../../golden/recipe-parts.ts';
import type { TensorType } from '../../../model/types.ts';

/** The two tokens of a probe: FIRST has +1 in channel TELLS, SECOND has -1 there. */
export const FIRST = 10;
export const SECOND = 11;
const TELLS = 3;

/** Channels, and the tokens whose logits read them. */
export const READ = 5;
export const REFERENCE = 6;

const WIDTH = 32;
const N_VOCAB = 259;
/** Norms divide by exactly 1. */
const EPS = 1e-30;

type Cell = readonly [out: number, from: number, value: number];

/** Adds a matrix {n_in, n_out} that is zero but for these cells. */
function sparse(w: Weights, name: string, n_in: number, n_out: number, cells: readonly Cell[]): void {
  sparseAs(w, 'F32', name, n_in, n_out, cells);
}

function sparseAs(
  w: Weights,
  type: TensorType,
  name: string,
  n_in: number,
  n_out: number,
  cells: readonly Cell[],
): void {
  const at = new Map(cells.map(([out, from, value]) => [out * n_in + from, value]));
  w.add(name, [n_in, n_out], type, (_, i) => at.get(i) ?? 0);
}

function filled(w: Weights, name: string, ne: readonly number[], value: (i: number) => number): void {
  w.add(name, ne, 'F32', (_, i) => value(i));
}

function edges(w: Weights, type: TensorType, norm: number): void {
  filled(w, 'token_embd.weight', [WIDTH, N_VOCAB], (i) => (i === SECOND * WIDTH + TELLS ? -1 : 1));
  filled(w, 'output_norm.weight', [WIDTH], (i) => (i === READ ? norm : 1));
  const cells = [READ, REFERENCE].map((c): Cell => [c, c, 1]);
  sparseAs(w, type, 'output.weight', WIDTH, N_VOCAB, cells);
}

/** What a head channel holds for the two tokens. */
export type Pair = readonly [first: number, second: number];

export interface AttentionProbe {
  /** Queries and keys by channel of the head, values in channel 0. */
  readonly q?: Readonly<Record<number, Pair>>;
  readonly k?: Readonly<Record<number, Pair>>;
  readonly v?: Pair;
  /** What comes out of attention is added to the residual stream so many times. */
  readonly gain?: number;
  readonly freq_base?: number;
  readonly freq_scale?: number;
  /** Type of the output matrix, and the weight of the norm before it in channel READ. */
  readonly output?: TensorType;
  readonly norm?: number;
}

/** Width of the one head, all of it rotated. */
export const HEAD = WIDTH;

/** With this base the last pairs of a head do not turn at all. */
const STILL = 1e20;

/** One layer of llama with one head, and a feed-forward part that adds nothing. */
export function attentionProbe(p: AttentionProbe): Uint8Array {
  const w = new Weights('profile', 'F32');
  edges(w, p.output ?? 'F32', p.norm ?? 1);
  const name = (part: string): string => `blk.0.${part}.weight`;
  // a for FIRST and b for SECOND: (a + b) / 2 from a channel that is 1, (a - b) / 2 from the one that tells them apart.
  const pair = ([a, b]: Pair, out: number): Cell[] => [
    [out, 0, (a + b) / 2],
    [out, TELLS, (a - b) / 2],
  ];
  const head = (of: Readonly<Record<number, Pair>> = {}): Cell[] =>
    Object.entries(of).flatMap(([channel, ab]) => pair(ab, Number(channel)));
  filled(w, name('attn_norm'), [WIDTH], () => 1);
  sparse(w, name('attn_q'), WIDTH, HEAD, head(p.q));
  sparse(w, name('attn_k'), WIDTH, HEAD, head(p.k));
  sparse(w, name('attn_v'), WIDTH, HEAD, pair(p.v ?? [0, 0], 0));
  sparse(w, name('attn_output'), HEAD, WIDTH, [[READ, 0, p.gain ?? 1]]);
  filled(w, name('ffn_norm'), [WIDTH], () => 1);
  for (const part of ['ffn_gate', 'ffn_up', 'ffn_down']) sparse(w, name(part), WIDTH, WIDTH, []);
  return fileOf(
    [
      ...common('llama', 1),
      ['llama.feed_forward_length', u32(WIDTH)],
      ['llama.attention.head_count', u32(1)],
      ['llama.attention.head_count_kv', u32(1)],
      ['llama.rope.dimension_count', u32(HEAD)],
      ['llama.rope.freq_base', f32(p.freq_base ?? STILL)],
      ...(p.freq_scale === undefined ? [] : scaling(p.freq_scale)),
      ...byteVocabulary(),
    ],
    w,
  );
}

function scaling(freq_scale: number): Metadata {
  return [
    ['llama.rope.scaling.type', text('linear')],
    ['llama.rope.scaling.factor', f32(1 / freq_scale)],
  ];
}

function common(arch: string, n_layer: number): Metadata {
  return [
    ['general.architecture', text(arch)],
    ['general.name', text('profile')],
    [`${arch}.context_length`, u32(512)],
    [`${arch}.embedding_length`, u32(WIDTH)],
    [`${arch}.block_count`, u32(n_layer)],
    [`${arch}.attention.layer_norm_rms_epsilon`, f32(EPS)],
  ];
}

/** Layers of the probe of GELU: releases before b5640 take no other number of a gemma2. */
const GELU_LAYERS = 26;

/**
 * A gemma2 whose first feed-forward part adds gelu(x) to READ and gelu(reference) to REFERENCE, both 0 in the embedding, and
 * whose other parts add nothing. The norm behind it divides both by the same, and the last cap is too far to be felt.
 */
export function geluProbe(x: number, reference: number): Uint8Array {
  const w = new Weights('profile', 'F32');
  const alone = [READ, REFERENCE];
  filled(w, 'token_embd.weight', [WIDTH, N_VOCAB], (i) => {
    const [token, channel] = [Math.floor(i / WIDTH), i % WIDTH];
    if (alone.includes(token)) return token === channel ? 1 : 0;
    return alone.includes(channel) ? 0 : 1;
  });
  filled(w, 'output_norm.weight', [WIDTH], () => 1);
  // What the first norm makes of a 1.
  const one = Math.sqrt(WIDTH / (WIDTH - alone.length));
  for (let i = 0; i < GELU_LAYERS; i++) {
    const name = (part: string): string => `blk.${i}.${part}.weight`;
    for (const part of ['attn_norm', 'post_attention_norm', 'ffn_norm', 'post_ffw_norm'])
      filled(w, name(part), [WIDTH], () => 1);
    for (const part of ['attn_q', 'attn_k', 'attn_v', 'attn_output']) sparse(w, name(part), WIDTH, WIDTH, []);
    const cells = (of: readonly Cell[]): readonly Cell[] => (i === 0 ? of : []);
    sparse(
      w,
      name('ffn_gate'),
      WIDTH,
      WIDTH,
      cells([
        [0, 0, x / one],
        [1, 0, reference / one],
      ]),
    );
    sparse(
      w,
      name('ffn_up'),
      WIDTH,
      WIDTH,
      cells([
        [0, 0, 1],
        [1, 0, 1],
      ]),
    );
    sparse(
      w,
      name('ffn_down'),
      WIDTH,
      WIDTH,
      cells([
        [READ, 0, 1],
        [REFERENCE, 1, 1],
      ]),
    );
  }
  return fileOf(
    [
      ...common('gemma2', GELU_LAYERS),
      ['gemma2.feed_forward_length', u32(WIDTH)],
      ['gemma2.attention.head_count', u32(1)],
      ['gemma2.attention.head_count_kv', u32(1)],
      ['gemma2.attention.key_length', u32(WIDTH)],
      ['gemma2.attention.value_length', u32(WIDTH)],
      ['gemma2.rope.dimension_count', u32(WIDTH)],
      ['gemma2.attention.sliding_window', u32(64)],
      ['gemma2.attn_logit_softcapping', f32(50)],
      ['gemma2.final_logit_softcapping', f32(2 ** 20)],
      ...byteVocabulary(),
    ],
    w,
  );
}

/** softplus of this is y. */
function softplusInverse(y: number): number {
  return Math.log(Math.expm1(y));
}

/**
 * One layer of Mamba whose first two channels are the same but for the step: softplus gives `small` in the first and 1/1024
 * in the second. After one token the state is B x step; with the gains below both add about 1, the first to READ and
 * the second to REFERENCE.
 */
export function stepProbe(small: number): Uint8Array {
  const [d_inner, d_state, dt_rank, d_conv] = [2 * WIDTH, 16, 4, 4];
  const w = new Weights('profile', 'F32');
  edges(w, 'F32', 1);
  const name = (part: string): string => `blk.0.${part}`;
  filled(w, name('attn_norm.weight'), [WIDTH], () => 1);
  // x and the gate z are 8 in both channels; silu(8) is nearly 8.
  const both = [0, 1, d_inner, d_inner + 1].map((c): Cell => [c, 0, 8]);
  sparse(w, name('ssm_in.weight'), WIDTH, 2 * d_inner, both);
  const newest = [0, 1].map((c): Cell => [c, d_conv - 1, 1]);
  sparse(w, name('ssm_conv1d.weight'), d_conv, d_inner, newest);
  filled(w, name('ssm_conv1d.bias'), [d_inner], () => 0);
  // B and C of the first state are 2^13.
  const selectors = [dt_rank, dt_rank + d_state].map((row): Cell => [row, 0, 2 ** 10]);
  sparse(w, name('ssm_x.weight'), d_inner, dt_rank + 2 * d_state, selectors);
  sparse(w, name('ssm_dt.weight'), dt_rank, d_inner, []);
  const steps = [softplusInverse(small), softplusInverse(2 ** -10)];
  filled(w, name('ssm_dt.bias'), [d_inner], (i) => steps[i] ?? 0);
  filled(w, name('ssm_a'), [d_state, d_inner], () => -1);
  filled(w, name('ssm_d'), [d_inner], () => 0);
  // y is 2^26 * 8 * step, times the gate.
  sparse(w, name('ssm_out.weight'), d_inner, WIDTH, [
    [READ, 0, 2 ** -32 / small],
    [REFERENCE, 1, 2 ** -22],
  ]);
  return fileOf(
    [
      ...common('mamba', 1),
      ['mamba.feed_forward_length', u32(0)],
      ['mamba.attention.head_count', u32(0)],
      ['mamba.ssm.conv_kernel', u32(d_conv)],
      ['mamba.ssm.inner_size', u32(d_inner)],
      ['mamba.ssm.state_size', u32(d_state)],
      ['mamba.ssm.time_step_rank', u32(dt_rank)],
      ...byteVocabulary(),
    ],
    w,
  );
}

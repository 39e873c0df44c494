/**
 * What all probes share (spec: probes.md 1): tensors that are zero but for chosen elements, the ballast that turns
 * every norm into a constant scale, and the readers through which the logits show the normed state.
 *
 * A row of the residual: dims 0..P-1 are the token's own code, then come the regions that layers write, the last dim
 * is the ballast sqrt(E) * 2^20. The last E tokens of the vocabulary are readers: their rows of the output matrix are
 * unit vectors, so logit n_vocab - E + d is dim d of the normed state. (The recipe ties the output to the embeddings.
 * Here they are apart: a tied reader has no ballast, so as an input it makes values of millions, too large for F16;
 * apart, every token of the vocabulary is a legal input, and campaigns can run on a probe like on any model.)
 */
import { type GgufValue, writeGguf } from '../../model/gguf.ts';
import type { Tensor } from '../../model/types.ts';
import { f32, flag, type Metadata, text, u32 } from '../recipe-parts.ts';
import { type Code, countsOf, dimOf, idsOf, integersOf, weightOf } from './codes.ts';
import type { Row, Unreadable } from './types.ts';

/** RMSNorm divides by this, to about 3e-8, as long as the other dims stay below some thousands. */
export const BALLAST = 2 ** 20;
/** Not zero: norms of zero vectors stay zero. */
export const NORM_EPS = 1e-6;
const N_SPECIAL = 3;
/** Width of the feed-forward nets, which add nothing. */
export const N_FF = 32;

export interface Frame {
  readonly n_embd: number;
  readonly code: Code;
}

export function tokenOf(id: number): number {
  return N_SPECIAL + id;
}

export function vocabOf({ n_embd, code }: Frame): number {
  return N_SPECIAL + idsOf(code) + n_embd;
}

/** Tensors of float32, zero but for what is set. */
export class Chosen {
  readonly tensors: Tensor[] = [];

  zeros(name: string, ...ne: number[]): Float32Array {
    const data = new Float32Array(ne.reduce((product, n) => product * n, 1));
    this.tensors.push({ name, ne, type: 'F32', data });
    return data;
  }

  filled(name: string, value: number, ...ne: number[]): void {
    this.zeros(name, ...ne).fill(value);
  }

  /** A matrix {n_in, n_out}; the setter puts one weight from an input to an output. */
  matrix(name: string, n_in: number, n_out: number): (from: number, to: number, w: number) => void {
    const data = this.zeros(name, n_in, n_out);
    return (from, to, w) => {
      data[to * n_in + from] = w;
    };
  }
}

export type Setter = ReturnType<Chosen['matrix']>;

/** Attention that copies: values are the token's own code and a constant 1, written into a region and the dim behind. */
export function copyCodes({ n_embd, code }: Frame, v: Setter, o: Setter, region: number): void {
  const P = code.n_dims;
  for (let d = 0; d < P; d++) v(d, d, BALLAST);
  v(n_embd - 1, P, 1 / Math.sqrt(n_embd));
  for (let d = 0; d <= P; d++) o(d, region + d, 1);
}

/** A feed-forward net that adds nothing. */
export function addIdleFfn(chosen: Chosen, blk: string, n_embd: number): void {
  chosen.filled(`${blk}.ffn_norm.weight`, 1, n_embd);
  chosen.zeros(`${blk}.ffn_gate.weight`, n_embd, N_FF);
  chosen.zeros(`${blk}.ffn_up.weight`, n_embd, N_FF);
  chosen.zeros(`${blk}.ffn_down.weight`, N_FF, n_embd);
}

/** Embeddings (codes with ballast), readers, and the output norm that undoes the scale. */
export function addFrame(chosen: Chosen, { n_embd, code }: Frame): void {
  const n_ids = idsOf(code);
  const n_vocab = vocabOf({ n_embd, code });
  const embd = chosen.zeros('token_embd.weight', n_embd, n_vocab);
  for (let token = 0; token < n_vocab; token++) embd[(token + 1) * n_embd - 1] = Math.sqrt(n_embd) * BALLAST;
  for (let id = 0; id < n_ids; id++) embd[tokenOf(id) * n_embd + dimOf(code, id)] = weightOf(code, id);
  const read = chosen.matrix('output.weight', n_embd, n_vocab);
  for (let d = 0; d < n_embd; d++) read(d, n_vocab - n_embd + d, 1);
  const norm = chosen.zeros('output_norm.weight', n_embd);
  norm.fill(BALLAST);
  norm[n_embd - 1] = 1;
}

/** The file: keys that all share, the vocabulary in the form that llama.cpp loads, and the tensors. */
export function probeFile(
  arch: string,
  name: string,
  frame: Frame,
  keys: Metadata,
  chosen: Chosen,
  n_layer = 1,
): Uint8Array {
  return writeGguf({
    metadata: [
      ['general.architecture', text(arch)],
      ['general.name', text(`probe ${name}`)],
      [`${arch}.context_length`, u32(4096)],
      [`${arch}.embedding_length`, u32(frame.n_embd)],
      [`${arch}.block_count`, u32(n_layer)],
      [`${arch}.attention.layer_norm_rms_epsilon`, f32(NORM_EPS)],
      ...keys,
      ...vocabulary(vocabOf(frame)),
    ],
    tensors: chosen.tensors,
  });
}

/** Three special tokens, the bytes, and names for the rest: llama.cpp wants to find the bytes in a vocabulary. */
function vocabulary(n_vocab: number): Metadata {
  const special = ['<unk>', '<s>', '</s>'];
  const word = (i: number): string => {
    const k = i - N_SPECIAL;
    if (k < 0) return special[i]!;
    return k < 256 ? `<0x${k.toString(16).toUpperCase().padStart(2, '0')}>` : `id${k}`;
  };
  const type = (i: number): number => (i === 0 ? 2 : i < N_SPECIAL ? 3 : i < N_SPECIAL + 256 ? 6 : 1);
  const words: GgufValue = {
    type: 'array',
    of: 'string',
    value: Array.from({ length: n_vocab }, (_, i) => word(i)),
  };
  return [
    ['tokenizer.ggml.model', text('llama')],
    ['tokenizer.ggml.tokens', words],
    ['tokenizer.ggml.scores', { type: 'array', of: 'f32', value: new Float32Array(n_vocab) }],
    [
      'tokenizer.ggml.token_type',
      { type: 'array', of: 'i32', value: Int32Array.from({ length: n_vocab }, (_, i) => type(i)) },
    ],
    ['tokenizer.ggml.bos_token_id', u32(1)],
    ['tokenizer.ggml.eos_token_id', u32(2)],
    ['tokenizer.ggml.unknown_token_id', u32(0)],
    ['tokenizer.ggml.add_bos_token', flag(false)],
    ['tokenizer.ggml.add_eos_token', flag(false)],
    ['tokenizer.ggml.add_space_prefix', flag(false)],
  ];
}

export function unreadable(reason: string, blank = false): Unreadable {
  return { kind: 'unreadable', reason, blank };
}

/** The state that the readers show, {n_embd}, in units of the embeddings: all relative to the ballast. */
export function stateOf(row: Row, frame: Frame): { state: Float64Array; own: number } | Unreadable {
  const { n_embd, code } = frame;
  if (row.length !== vocabOf(frame))
    return unreadable(`it has ${row.length} logits, the probe has ${vocabOf(frame)}`);
  if (row.every((x) => x === 0)) return unreadable('all its logits are 0', true);
  const state = Float64Array.from(row.subarray(row.length - n_embd));
  const scale = state[n_embd - 1]! / Math.sqrt(n_embd);
  if (!Number.isFinite(scale) || scale <= 0)
    return unreadable(`its ballast is ${state[n_embd - 1]}, which no token of the probe has`);
  for (let d = 0; d < n_embd; d++) state[d]! /= scale;
  return withOwn(state, code);
}

/** The state with the id whose code stands in the token's own region. */
export function withOwn(state: Float64Array, code: Code): { state: Float64Array; own: number } | Unreadable {
  const own = ownOf(state, code);
  return own === null ? unreadable('it carries the code of no token of the history') : { state, own };
}

/** The one id whose code stands in the token's own region. */
function ownOf(state: Float64Array, code: Code): number | null {
  const found = integersOf(state.subarray(0, code.n_dims));
  const counts = found === null ? null : countsOf(code, found.integers);
  if (counts === null || counts.size !== 1) return null;
  const [[id, count]] = [...counts] as [[number, number]];
  return count === 1 ? id : null;
}

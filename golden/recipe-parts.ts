/**
 * What recipes of tiny models are made of: weights drawn per tensor, and the vocabularies that they carry.
 *
 * Rule of the gains: spec: libllama.md 1. Weights are N(0, 1) / sqrt(fan_in) times a gain, norms 1 + N / 10,
 * embeddings N(0, 1): such models decode to logits that depend on the whole context.
 */
import { floatsToHalves } from '../model/f16.ts';
import { type GgufValue, writeGguf } from '../model/gguf.ts';
import type { Tensor, TensorType } from '../model/types.ts';
import { Random } from './random.ts';

export type Metadata = readonly (readonly [string, GgufValue])[];

export const u32 = (value: number): GgufValue => ({ type: 'u32', value });
/** The value as it is stored, rounded to float32. */
export const f32 = (value: number): GgufValue => ({ type: 'f32', value: Math.fround(value) });
export const text = (value: string): GgufValue => ({ type: 'string', value });
export const flag = (value: boolean): GgufValue => ({ type: 'bool', value });
/** One value a layer. */
export const i32s = (values: readonly number[]): GgufValue => ({
  type: 'array',
  of: 'i32',
  value: Int32Array.from(values),
});

/** Collects the tensors of one recipe, in the order in which they are asked for. */
export class Weights {
  readonly tensors: Tensor[] = [];
  readonly #seed: string;
  readonly #matrixType: TensorType;

  constructor(seed: string, matrixType: TensorType) {
    this.#seed = seed;
    this.#matrixType = matrixType;
  }

  /** One tensor, each element from `draw`, which gets the tensor's own generator and the element's index. */
  add(
    name: string,
    ne: readonly number[],
    type: TensorType,
    draw: (random: Random, i: number) => number,
  ): void {
    const random = new Random(`${this.#seed}/${name}`);
    const n = ne.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length: n }, (_, i) => draw(random, i));
    this.tensors.push({ name, ne, type, data: type === 'F32' ? values : floatsToHalves(values) });
  }

  /** A matrix {n_in, n_out} whose products with unit inputs have the standard deviation `gain`. */
  matrix(name: string, n_in: number, n_out: number, gain = 1): void {
    const scale = gain / Math.sqrt(n_in);
    this.add(name, [n_in, n_out], this.#matrixType, (random) => random.normal() * scale);
  }

  /** As `matrix`, in F32 whatever the others are: the router of experts, as converters write it. */
  router(name: string, n_in: number, n_expert: number, gain: number): void {
    const scale = gain / Math.sqrt(n_in);
    this.add(name, [n_in, n_expert], 'F32', (random) => random.normal() * scale);
  }

  /** As `matrix`, one matrix an expert or a share. */
  matrices(name: string, n_in: number, n_out: number, n: number, gain = 1): void {
    const scale = gain / Math.sqrt(n_in);
    this.add(name, [n_in, n_out, n], this.#matrixType, (random) => random.normal() * scale);
  }

  embeddings(n_embd: number, n_vocab: number, gain = 1): void {
    this.add('token_embd.weight', [n_embd, n_vocab], this.#matrixType, (random) => random.normal() * gain);
  }

  norm(name: string, n: number, gain = 1): void {
    this.add(name, [n], 'F32', (random) => gain * (1 + random.normal() / 10));
  }

  /** N(0, 1) / 10. */
  bias(name: string, n: number): void {
    this.add(name, [n], 'F32', (random) => random.normal() / 10);
  }

  /** A layer norm, with weight and bias; `name` is without suffix. */
  layerNorm(name: string, n: number): void {
    this.norm(`${name}.weight`, n);
    this.bias(`${name}.bias`, n);
  }

  /** N(0, 1) times a gain. */
  vector(name: string, n: number, gain: number): void {
    this.add(name, [n], 'F32', (random) => gain * random.normal());
  }

  /** Numbers between two bounds. */
  spread(name: string, ne: readonly number[], low: number, high: number): void {
    this.add(name, ne, 'F32', (random) => low + (high - low) * random.uniform());
  }
}

/** Metadata for models whose tokens are only numbers. */
export function noVocabulary(arch: string, n_vocab: number): Metadata {
  return [
    [`${arch}.vocab_size`, u32(n_vocab)],
    ['tokenizer.ggml.model', text('none')],
  ];
}

/** Size of the byte vocabulary: three special tokens and the 256 bytes. */
export const BYTE_VOCAB = 259;

/** The vocabulary that real llama.cpp loads: <unk>, <s>, </s> and one token a byte (spec: libllama.md 1). */
export function byteVocabulary(): Metadata {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const types = Int32Array.from({ length: BYTE_VOCAB }, (_, i) => (i === 0 ? 2 : i < 3 ? 3 : 6));
  return [
    ['tokenizer.ggml.model', text('llama')],
    ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: ['<unk>', '<s>', '</s>', ...bytes] }],
    ['tokenizer.ggml.scores', { type: 'array', of: 'f32', value: new Float32Array(BYTE_VOCAB) }],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: types }],
    ['tokenizer.ggml.bos_token_id', u32(1)],
    ['tokenizer.ggml.eos_token_id', u32(2)],
    ['tokenizer.ggml.unknown_token_id', u32(0)],
    ['tokenizer.ggml.add_bos_token', flag(true)],
    ['tokenizer.ggml.add_eos_token', flag(false)],
    ['tokenizer.ggml.add_space_prefix', flag(false)],
  ];
}

export function fileOf(metadata: Metadata, weights: Weights): Uint8Array {
  return writeGguf({ metadata, tensors: weights.tensors });
}

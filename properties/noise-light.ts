/**
 * Noise for models that cannot be copied in memory, or whose weights we cannot read (quantized ones): only the small
 * F32 tensors of a file are moved (norms, biases, steps), and each norm carries the noise of the matrices of its block
 * besides. What a matrix reads has gone through a norm, and noise of its own on each of n weights of a sum and noise
 * on the n values that are read have the same variance in the sum:
 *
 *   sum (w_i e_i)^2 x_i^2 = sum w_i^2 (x_i e_i)^2.
 *
 * So the variances of `noiseOf` are added to the norm that the matrix reads; those of the matrix after it (attention
 * output, down projection), whose input no norm touches, are relative to the same stream and are added too. A file is
 * copied once, on disk, and a copy is a few kilobytes written over its norms.
 *
 * Products with quantized weights round what they read to 8 bits a block of n values (spec: verdicts.md 5): an error
 * of at most max/127 uniform, so max^2 / (12 127^2) of each value, and max^2 <= sum x^2: at most n / (12 127^2) of
 * the mean square. That is derived for any block; of a usual one it is two to five times more than there is.
 */
import { closeSync, constants, copyFileSync, openSync, writeSync } from 'node:fs';
import { IsobatchError } from '../contract/errors.ts';
import { type GgufHead, type HeadTensor, readF32 } from '../model/gguf-head.ts';
import { U16 } from '../oracle/rounding.ts';
import { type CopyOf, type HalfPlaces, halfNoiseOf, layersOf, movedTensor, noiseOf } from './noise.ts';

/** Larger F32 tensors are not moved: they are matrices, whose noise is carried. */
const MOST_MOVED = 2 ** 16;

const NORM = /norm(_2)?(\.weight)?$/;
const FEED_FORWARD = /\.(ffn|channel_mix)_/;

/** Variances of all weights of a tensor besides its own: in units of u^2, and of u16^2. */
interface Extra {
  fine: number;
  half(places: HalfPlaces): number;
}

export class LightNoise {
  readonly #head: GgufHead;
  readonly #halves: boolean;
  readonly #moved: readonly HeadTensor[];
  readonly #carried = new Map<string, Extra[]>();
  /** Some weights make products round to less than float32. */
  readonly coarse: boolean;

  /**
   * `halves`: what meets F16 weights is rounded to F16 (`RoundingProfile.f16_activations`). `most_moved`: elements of
   * the largest tensor that is moved itself; less for tests. Throws `model` where a block has no norm that could carry
   * its noise.
   */
  constructor(head: GgufHead, halves = true, most_moved = MOST_MOVED) {
    this.#head = head;
    this.#halves = halves;
    const tensors = [...head.tensors.values()];
    this.#moved = tensors.filter((t) => t.type?.name === 'F32' && t.n_elements <= most_moved);
    const fine = halves ? ['F32'] : ['F32', 'F16'];
    this.coarse = tensors.some((t) => !fine.includes(t.type?.name ?? ''));
    const moved = new Set(this.#moved.map(({ name }) => name));
    for (const t of tensors) if (!moved.has(t.name)) this.#carry(t.name, t);
    // The table of embeddings is the last matrix too.
    const embd = head.tensors.get('token_embd.weight');
    if (embd !== undefined && !head.tensors.has('output.weight')) this.#carry('output.weight', embd);
  }

  get hasFeedForward(): boolean {
    return [...this.#head.tensors.keys()].some((name) => name.includes('ffn_down'));
  }

  /** Copies the file to `path`, sharing blocks where the file system can. */
  copyTo(path: string): void {
    copyFileSync(this.#head.path, path, constants.COPYFILE_FICLONE);
  }

  /** Writes the tensors of a copy over those of the file at `path`, which is a copy of this file. */
  write(path: string, copy: CopyOf): void {
    const file = openSync(path, 'r+');
    try {
      for (const t of this.#moved) {
        const data = this.#data(t, copy);
        writeAll(file, new Uint8Array(data.buffer, 0, data.byteLength), t.offset);
      }
    } finally {
      closeSync(file);
    }
  }

  #data(t: HeadTensor, copy: CopyOf): Float32Array<ArrayBuffer> {
    const extra = this.#carried.get(t.name) ?? [];
    const sum = (of: (e: Extra) => number): number => extra.reduce((s, e) => s + of(e), 0);
    const fine = noiseOf(t.name, t.ne, layersOf(this.#head.metadata));
    const half = halfNoiseOf(t.name, 'F32', copy.half);
    return movedTensor(t.name, t.ne, readF32(this.#head, t), copy, {
      fine: { ...fine, own: fine.own + sum((e) => e.fine) },
      half: { ...half, own: half.own + sum((e) => e.half(copy.half)) },
    });
  }

  #carry(name: string, t: HeadTensor): void {
    const norm = this.#normFor(name);
    if (norm === undefined)
      throw new IsobatchError('model', `no norm carries the noise of ${name}, so no bounds can be measured`);
    const extra: Extra = {
      fine: total(noiseOf(name, t.ne, layersOf(this.#head.metadata))),
      half: (places) => {
        const stored = this.#halves && t.type?.name === 'F16' ? 'F16' : 'F32';
        return total(halfNoiseOf(name, stored, places)) + readNoise(t);
      },
    };
    this.#carried.set(norm, [...(this.#carried.get(norm) ?? []), extra]);
  }

  /** The norm that a matrix reads, or the first of its block. */
  #normFor(name: string): string | undefined {
    const moved = this.#moved.map((t) => t.name).filter((other) => NORM.test(other));
    const block = /^((enc\.|dec\.)?blk\.\d+\.)/.exec(name)?.[1];
    if (block === undefined) {
      const first = name.startsWith('token_') || name.startsWith('position_');
      const ends = first ? ['token_embd_norm.weight', 'blk.0.attn_norm.weight'] : ['output_norm.weight'];
      return ends.find((end) => moved.includes(end)) ?? (first ? moved[0] : moved.at(-1));
    }
    const own = moved.filter((other) => other.startsWith(block));
    const names = FEED_FORWARD.test(name)
      ? ['ffn_norm', 'attn_norm_2', 'post_attention_norm', 'attn_norm']
      : ['attn_norm', 'ffn_norm'];
    for (const wanted of names)
      for (const end of [`${block}${wanted}.weight`, `${block}${wanted}`]) if (own.includes(end)) return end;
    return own[0];
  }
}

function total({ own, row, column }: { own: number; row: number; column: number }): number {
  return own + row + column;
}

/** What products round of what they read, by the type of their weights: in units of u16^2. */
function readNoise({ type, ne, name }: HeadTensor): number {
  if (type?.name === 'F32' || type?.name === 'F16' || ne.length < 2) return 0; // F16 is in `halfNoiseOf`
  if (name === 'token_embd.weight') return 0; // rows are looked up
  // 8 bits of a bfloat16: an error of 2^-9 at most.
  if (type?.name === 'BF16') return 2 ** -18 / 3 / U16 ** 2;
  // Types that are not known here have blocks of 256 at most.
  return (type?.elements ?? 256) / (12 * 127 ** 2) / U16 ** 2;
}

function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, position + at);
}

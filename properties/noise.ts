/**
 * Weights as noise: a copy of a GGUF file whose weights are moved by random amounts that stand for the roundings of
 * the operations that they take part in (spec: verdicts.md 5). Answers of many copies spread as the roundings would
 * spread them, for architectures that the oracle has no formula for.
 *
 * A product of n terms has the variance u^2/3 (n/6 sum t^2 + n/3 (sum t)^2 + sum t^2): the first and third term are an
 * error of its own for each weight, the second is one error for all weights of an output. An operation without
 * weights is carried by a neighbour, as `noiseOf` says. Weights are the same at every token, so errors that are
 * independent in truth add up here: sums over keys and steps come out rather too large than too small.
 */
import { halvesToFloats } from '../model/f16.ts';
import { type GgufFile, type GgufValue, writeGguf } from '../model/gguf.ts';
import type { Tensor } from '../model/types.ts';
import { U16, U32 } from '../oracle/rounding.ts';
import { hashText, Random } from './random.ts';

/** Longest list that the rules reckon with: keys of a query, steps of a state. That of a path of the token tree. */
const LENGTH = 64;

/** Relative variances of the weights of one tensor: in units of u^2, or of u16^2. */
export interface Noise {
  /** Of each weight by itself. */
  readonly own: number;
  /** One error for all weights that make one output. */
  readonly row: number;
  /** One error for all weights that read one input: what was rounded before it was read. */
  readonly column: number;
}

const NONE: Noise = { own: 0, row: 0, column: 0 };

/** Where a context rounds to F16. */
export interface HalfPlaces {
  /** K and V, and what meets them. */
  readonly attention: boolean;
  /** The sums over keys (flash attention): u16^2/9 m, for the m of the middle of a list. */
  readonly sums: boolean;
  /** The activation of the feed-forward part (ggml's table of GELU), or what any product reads. */
  readonly activation: 'none' | 'feed-forward' | 'anywhere';
}

const NORM = /(norm|norm_2|_ln)\.weight$|ffn_norm$/;
const FREQUENCIES = /^rope_freqs|\.rope_freqs/;

/**
 * Roundings to float32. `embeds`: the tensor is the table of embeddings; then each row also carries the additions of
 * the residual stream, two a layer, which no weight takes part in.
 */
export function noiseOf(name: string, ne: readonly number[], n_layer: number): Noise {
  const n = ne[0]!;
  // Angles are the same numbers on every route.
  if (FREQUENCIES.test(name)) return NONE;
  if (NORM.test(name)) return { own: 2 / 3 + 1 / 3, row: (n / 12 + 2) / 3, column: 0 };
  if (name.endsWith('.bias')) return { own: 1, row: 0, column: 0 };
  const [own, row] = [(n / 6 + 1) / 3, n / 9];
  if (name === 'token_embd.weight') return { own: own + (2 * n_layer + 1) / 3, row: row + 4, column: 5 };
  if (isVector(name, ne)) return { own: 4, row: 0, column: 0 };
  const { rows, columns, twice } = CARRIED.find((c) => c.name.test(name)) ?? PLAIN;
  return { own: own * (twice ? 2 : 1), row: row * (twice ? 2 : 1) + rows, column: columns };
}

interface Carried {
  readonly name: RegExp;
  /** Added to each row and to each column, in units of u^2. */
  readonly rows: number;
  readonly columns: number;
  /** The result goes into another sum that has no weights, of at most as many terms. */
  readonly twice: boolean;
}

/** What is read was multiplied, or went through SiLU, a sigmoid, or the square of ReLU: 4 u^2 and a product or two. */
const PLAIN: Carried = { name: /./, rows: 0, columns: 5, twice: false };

const CARRIED: readonly Carried[] = [
  // Rotation (1.2 u), exponent (0.6 (|s - max| + 2) u, by a score of about one), and the sum of a query with a key.
  { name: /attn_(q|k|qkv)\.weight$/, rows: 5, columns: 1, twice: true },
  // The sum over keys (LENGTH / 9) and that of the exponentials (LENGTH / 9).
  { name: /attn_o(utput)?\.weight$/, rows: 0, columns: 1 + (2 * LENGTH) / 9, twice: false },
  // SiLU, then LENGTH steps of a state: u^2/4 (2^2 + 2 + 1) each.
  {
    name: /ssm_conv1d\.weight$|shortconv\.conv\.weight$/,
    rows: 4 + (7 / 4) * LENGTH,
    columns: 1,
    twice: false,
  },
  // B and C, with the sum over the states.
  { name: /ssm_(x|in)\.weight$/, rows: 4, columns: 5, twice: true },
  // Steps of the state of RWKV: a product and an addition each.
  { name: /time_mix_(key|value)\.weight$/, rows: (2 / 3) * LENGTH, columns: 1, twice: false },
  // The sum over the state.
  { name: /time_mix_receptance\.weight$/, rows: 4, columns: 1, twice: true },
];

/** One number a channel, which multiplies or is added: mixing, decays, A and D. */
function isVector(name: string, ne: readonly number[]): boolean {
  return ne.slice(1).every((n) => n === 1) || /ssm_[ad]$|lerp_|time_mix_first/.test(name);
}

/** Roundings to F16, one each: u16^2/3. */
export function halfNoiseOf(name: string, stored: Tensor['type'], places: HalfPlaces): Noise {
  let { row, column } = NONE;
  // ggml rounds what meets F16 weights too. Such errors are the same at every token here, so they may cancel where
  // independent ones do not: each token has some of its own besides.
  if (stored === 'F16' || places.activation === 'anywhere') column += 1 / 3;
  const own = stored === 'F16' && name === 'token_embd.weight' ? 1 : 0;
  if (places.attention && /attn_(q|k|v|qkv)\.weight$/.test(name)) row += 1 / 3;
  if (places.attention && /attn_o(utput)?\.weight$/.test(name)) column += 1 / 3;
  if (places.sums && /attn_o(utput)?\.weight$/.test(name)) column += LENGTH / 18;
  const table = places.activation === 'feed-forward';
  if (table && /ffn_(gate|up)\.weight$/.test(name)) row += 1 / 3;
  if (table && /ffn_down\.weight$/.test(name)) column += 1 / 3;
  return { own, row, column };
}

/** How a copy is made. */
export interface CopyOf {
  /** Copies of other numbers have other noise. */
  readonly number: number;
  /** All noise is so many times larger than roundings are. */
  readonly amplify: number;
  readonly half: HalfPlaces;
}

/** The bytes of a copy with noise. F16 tensors become F32, which can be moved by less than an F16. */
export function noisyCopy(file: GgufFile, copy: CopyOf): Uint8Array {
  const n_layer = layersOf(file.metadata);
  const tensors = [...file.tensors.values()].map((t): Tensor => {
    const fine = noiseOf(t.name, t.ne, n_layer);
    const half = halfNoiseOf(t.name, t.type, copy.half);
    const values = t.type === 'F32' ? (t.data as Float32Array) : halvesToFloats(t.data as Uint16Array);
    return {
      name: t.name,
      ne: t.ne,
      type: 'F32',
      data: movedTensor(t.name, t.ne, values, copy, { fine, half }),
    };
  });
  return writeGguf({ metadata: file.metadata, tensors, alignment: file.alignment });
}

/** The values of a tensor, moved by noise of these variances, in units of u^2 and of u16^2. */
export function movedTensor(
  name: string,
  ne: readonly number[],
  values: Float32Array,
  copy: CopyOf,
  { fine, half }: { readonly fine: Noise; readonly half: Noise },
): Float32Array<ArrayBuffer> {
  const sd = (part: keyof Noise) => copy.amplify * Math.sqrt(U32 * U32 * fine[part] + U16 * U16 * half[part]);
  const draw = drawsOf(name, copy.number);
  const data = moved(values, ne[0]!, { own: sd('own'), row: sd('row'), column: sd('column') }, draw);
  if (name.endsWith('ssm_dt.bias')) moveSteps(data, copy.amplify, draw);
  return data;
}

/** Uniform, centred, of variance 1. */
function drawsOf(name: string, number: number): () => number {
  const r = new Random(hashText(name, 1), hashText(name, 2), number);
  return () => Math.sqrt(3) * ((2 * (r.u32() + 0.5)) / 2 ** 32 - 1);
}

function moved(values: Float32Array, n: number, sd: Noise, draw: () => number): Float32Array<ArrayBuffer> {
  const columns = Float64Array.from({ length: n }, () => 1 + sd.column * draw());
  const out = new Float32Array(values.length);
  for (let begin = 0; begin < values.length; begin += n) {
    const row = sd.row * draw();
    for (let i = 0; i < n; i++) out[begin + i] = values[begin + i]! * (columns[i]! + row + sd.own * draw());
  }
  return out;
}

/**
 * The bias of the time step carries softplus, log(1 + e^x), which rounds 1 + e^x and so loses what is small: u / sqrt(3)
 * of the step itself, by its slope that of x.
 */
function moveSteps(bias: Float32Array, amplify: number, draw: () => number): void {
  for (let i = 0; i < bias.length; i++) {
    const x = bias[i]!;
    const step = Math.log1p(Math.exp(x));
    const slope = 1 / (1 + Math.exp(-x));
    bias[i] = x + ((amplify * U32 * Math.sqrt(1 / 3 + 4 * step * step)) / slope) * draw();
  }
}

/** Layers that the metadata name, 1 if they name none. */
export function layersOf(metadata: ReadonlyMap<string, GgufValue>): number {
  for (const [key, entry] of metadata) if (key.endsWith('.block_count')) return Number(entry.value);
  return 1;
}

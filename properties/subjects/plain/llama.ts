/**
 * llama, one token at a time: grouped-query attention with rotated pairs and a gated feed-forward net (spec:
 * architectures.md 3). K is kept after the rotation.
 *
 * Rotation: the frequency base^(-2i/n_rot) is a double power rounded once; position times scale, and that times the
 * frequency, are float32 products; cosine and sine of that angle are rounded once.
 */
import { IsobatchError } from '../../../contract/errors.ts';
import type { HparamsOf, Model } from '../../../model/types.ts';
import type { Deviation } from './deviation.ts';
import type { Entry, Forward, Step } from './forward.ts';
import { addTo, dot, exp, rmsNorm, roundToHalf, silu } from './numbers.ts';
import { type Matrix, Weights } from './weights.ts';

const f32 = Math.fround;

/** Keys (rotated) and values of a token: n_layer rows of n_head_kv x n_embd_head. */
interface KvEntry extends Entry {
  readonly k: Float32Array;
  readonly v: Float32Array;
}

interface Block {
  readonly attn_norm: Float32Array;
  readonly attn_q: Matrix;
  readonly attn_k: Matrix;
  readonly attn_v: Matrix;
  readonly attn_output: Matrix;
  readonly ffn_norm: Float32Array;
  readonly ffn_gate: Matrix;
  readonly ffn_up: Matrix;
  readonly ffn_down: Matrix;
}

function blockOf(w: Weights, il: number): Block {
  const name = (part: string): string => `blk.${il}.${part}.weight`;
  return {
    attn_norm: w.vector(name('attn_norm')),
    attn_q: w.matrix(name('attn_q')),
    attn_k: w.matrix(name('attn_k')),
    attn_v: w.matrix(name('attn_v')),
    attn_output: w.matrix(name('attn_output')),
    ffn_norm: w.vector(name('ffn_norm')),
    ffn_gate: w.matrix(name('ffn_gate')),
    ffn_up: w.matrix(name('ffn_up')),
    ffn_down: w.matrix(name('ffn_down')),
  };
}

/** Cosines and sines of each position, made when they are first asked for. */
class Rope {
  readonly #frequency: Float32Array;
  readonly #scale: number;
  readonly #rows = new Map<number, Float32Array>();

  constructor({ n_rot, rope_freq_base, rope_freq_scale }: HparamsOf<'llama'>) {
    this.#frequency = Float32Array.from(
      { length: n_rot / 2 },
      (_, i) => rope_freq_base ** ((-2 * i) / n_rot),
    );
    this.#scale = rope_freq_scale;
  }

  /** cos, sin of pair 0, cos, sin of pair 1, ... */
  row(pos: number): Float32Array {
    let row = this.#rows.get(pos);
    if (row === undefined) {
      const scaled = f32(pos * this.#scale);
      row = new Float32Array(this.#frequency.length * 2);
      for (let i = 0; i < this.#frequency.length; i++) {
        const angle = f32(scaled * this.#frequency[i]!);
        row[2 * i] = Math.cos(angle);
        row[2 * i + 1] = Math.sin(angle);
      }
      this.#rows.set(pos, row);
    }
    return row;
  }
}

/** Rotates the pairs (2i, 2i+1) of every head of x, in place. */
function rotate(x: Float32Array, row: Float32Array): void {
  for (let at = 0; at < x.length; at += row.length) {
    for (let i = 0; i < row.length; i += 2) {
      const [c, s] = [row[i]!, row[i + 1]!];
      const [a, b] = [x[at + i]!, x[at + i + 1]!];
      x[at + i] = f32(f32(a * c) - f32(b * s));
      x[at + i + 1] = f32(f32(a * s) + f32(b * c));
    }
  }
}

/** Rounds to F16 in place. Throws `memory.overflow` if a number is too large for that. */
function roundRow(x: Float32Array, what: 'K' | 'V', step: Step): void {
  for (let i = 0; i < x.length; i++) {
    const half = roundToHalf(x[i]!);
    if (Math.abs(half) === Infinity)
      throw new IsobatchError(
        'memory.overflow',
        `${what} of token ${step.token} at position ${step.pos} holds ${x[i]}, which is too large for F16`,
        { what, token: step.token, pos: step.pos, value: x[i] },
      );
    x[i] = half;
  }
}

export class Llama implements Forward {
  readonly memory = 'attention';
  readonly #h: HparamsOf<'llama'>;
  readonly #always_f16: boolean;
  readonly #eps: number;
  readonly #scale: number;
  readonly #rope: Rope;
  readonly #blocks: readonly Block[];
  readonly #embd: Matrix;
  readonly #output_norm: Float32Array;
  readonly #output: Matrix;
  /** The residual stream, its norm, and what a part of a block adds to it. */
  readonly #x: Float32Array;
  readonly #normed: Float32Array;
  readonly #added: Float32Array;
  readonly #q: Float32Array;
  readonly #k: Float32Array;
  readonly #v: Float32Array;
  readonly #mixed: Float32Array;
  readonly #gate: Float32Array;
  readonly #up: Float32Array;
  /** Scores, then probabilities, of the keys; grows. */
  #p = new Float32Array(64);

  constructor(model: Model, deviation: Deviation) {
    const h = model.hparams as HparamsOf<'llama'>;
    const w = new Weights(model, deviation);
    const [n_q, n_kv] = [h.n_head * h.n_embd_head, h.n_head_kv * h.n_embd_head];
    this.#h = h;
    this.#always_f16 = deviation.kind === 'f16-kv';
    this.#eps = deviation.kind === 'eps' ? 2 * h.norm_rms_eps : h.norm_rms_eps;
    this.#scale = f32(1 / f32(Math.sqrt(h.n_embd_head)));
    this.#rope = new Rope(h);
    this.#embd = w.matrix('token_embd.weight');
    this.#output_norm = w.vector('output_norm.weight');
    this.#output = w.has('output.weight') ? w.matrix('output.weight') : this.#embd;
    this.#blocks = Array.from({ length: h.n_layer }, (_, il) => blockOf(w, il));
    this.#x = new Float32Array(h.n_embd);
    this.#normed = new Float32Array(h.n_embd);
    this.#added = new Float32Array(h.n_embd);
    this.#q = new Float32Array(n_q);
    this.#k = new Float32Array(n_kv);
    this.#v = new Float32Array(n_kv);
    this.#mixed = new Float32Array(n_q);
    this.#gate = new Float32Array(h.n_ff);
    this.#up = new Float32Array(h.n_ff);
  }

  step(step: Step, out: Float32Array | null): KvEntry {
    const n_kv = this.#k.length * this.#h.n_layer;
    const entry = { pos: step.pos, k: new Float32Array(n_kv), v: new Float32Array(n_kv) };
    const keys = [...(step.before as readonly KvEntry[]), entry];
    if (this.#p.length < keys.length) this.#p = new Float32Array(2 * keys.length);
    this.#embd.row(this.#x, step.token);
    this.#blocks.forEach((block, il) => {
      this.#mix(block, il, step, entry, keys);
      this.#feedForward(block);
    });
    if (out !== null) {
      rmsNorm(this.#normed, this.#x, this.#output_norm, this.#eps);
      if (step.embeddings) out.set(this.#normed);
      else this.#output.mul(out, this.#normed);
    }
    return entry;
  }

  /** x += Wo attention(q, K, V); the token's own K and V are stored first, and read back as all others. */
  #mix(block: Block, il: number, step: Step, entry: KvEntry, keys: readonly KvEntry[]): void {
    rmsNorm(this.#normed, this.#x, block.attn_norm, this.#eps);
    block.attn_q.mul(this.#q, this.#normed);
    block.attn_k.mul(this.#k, this.#normed);
    block.attn_v.mul(this.#v, this.#normed);
    const angles = this.#rope.row(step.pos);
    rotate(this.#q, angles);
    rotate(this.#k, angles);
    if (step.type_kv === 'F16' || this.#always_f16) {
      roundRow(this.#k, 'K', step);
      roundRow(this.#v, 'V', step);
    }
    entry.k.set(this.#k, il * this.#k.length);
    entry.v.set(this.#v, il * this.#v.length);
    const missing = step.missing?.layer === il ? step.missing.key : -1;
    for (let head = 0; head < this.#h.n_head; head++) this.#attend(head, il, keys, missing);
    block.attn_output.mul(this.#added, this.#mixed);
    addTo(this.#x, this.#added);
  }

  /** softmax(q k / sqrt(d)) v of one head, keys in the order of their positions; `missing` is left out. */
  #attend(head: number, il: number, keys: readonly KvEntry[], missing: number): void {
    const { n_head, n_head_kv, n_embd_head: d } = this.#h;
    const at = il * this.#k.length + Math.floor((head * n_head_kv) / n_head) * d;
    const p = this.#p;
    let max = -Infinity;
    for (let t = 0; t < keys.length; t++) {
      if (t === missing) continue;
      const score = f32(dot(this.#q, head * d, keys[t]!.k, at, d) * this.#scale);
      p[t] = score;
      if (score > max) max = score;
    }
    let sum = 0;
    for (let t = 0; t < keys.length; t++) {
      if (t === missing) continue;
      const e = exp(f32(p[t]! - max));
      p[t] = e;
      sum = f32(sum + e);
    }
    const mixed = this.#mixed;
    mixed.fill(0, head * d, (head + 1) * d);
    for (let t = 0; t < keys.length; t++) {
      if (t === missing) continue;
      const weight = f32(p[t]! / sum);
      const { v } = keys[t]!;
      for (let i = 0; i < d; i++) mixed[head * d + i] = f32(mixed[head * d + i]! + f32(weight * v[at + i]!));
    }
  }

  /** x += down (silu(gate n) * up n). */
  #feedForward(block: Block): void {
    rmsNorm(this.#normed, this.#x, block.ffn_norm, this.#eps);
    block.ffn_gate.mul(this.#gate, this.#normed);
    block.ffn_up.mul(this.#up, this.#normed);
    for (let i = 0; i < this.#gate.length; i++) this.#gate[i] = f32(silu(this.#gate[i]!) * this.#up[i]!);
    block.ffn_down.mul(this.#added, this.#gate);
    addTo(this.#x, this.#added);
  }
}

/**
 * mamba, one token at a time: a causal convolution over the last inputs and a selective scan over a state (spec:
 * architectures.md 1, batching.md 11 "ssm_conv", "ssm_scan"). Positions play no part.
 */
import type { HparamsOf, Model } from '../../../model/types.ts';
import type { Deviation } from './deviation.ts';
import type { Entry, Forward, Step } from './forward.ts';
import { addTo, dot, exp, rmsNorm, rmsNormPlain, silu, softplus } from './numbers.ts';
import { type Matrix, Weights } from './weights.ts';

const f32 = Math.fround;

/** The state after a token, layer by layer. */
interface StateEntry extends Entry {
  /** n_layer x d_inner x (d_conv - 1): the last inputs of each channel, oldest first. */
  readonly conv: Float32Array;
  /** n_layer x d_inner x d_state. */
  readonly ssm: Float32Array;
}

interface Block {
  readonly attn_norm: Float32Array;
  readonly ssm_in: Matrix;
  readonly conv1d: Float32Array;
  readonly conv1d_bias: Float32Array;
  readonly ssm_x: Matrix;
  readonly ssm_dt: Matrix;
  readonly ssm_dt_bias: Float32Array;
  readonly ssm_a: Float32Array;
  readonly ssm_d: Float32Array;
  readonly ssm_out: Matrix;
}

function blockOf(w: Weights, il: number): Block {
  const blk = `blk.${il}`;
  return {
    attn_norm: w.vector(`${blk}.attn_norm.weight`),
    ssm_in: w.matrix(`${blk}.ssm_in.weight`),
    conv1d: w.vector(`${blk}.ssm_conv1d.weight`),
    conv1d_bias: w.vector(`${blk}.ssm_conv1d.bias`),
    ssm_x: w.matrix(`${blk}.ssm_x.weight`),
    ssm_dt: w.matrix(`${blk}.ssm_dt.weight`),
    ssm_dt_bias: w.vector(`${blk}.ssm_dt.bias`),
    ssm_a: w.vector(`${blk}.ssm_a`),
    ssm_d: w.vector(`${blk}.ssm_d`),
    ssm_out: w.matrix(`${blk}.ssm_out.weight`),
  };
}

export class Mamba implements Forward {
  readonly memory = 'recurrent';
  readonly #h: HparamsOf<'mamba'>;
  readonly #eps: number;
  readonly #threshold: number;
  readonly #blocks: readonly Block[];
  readonly #embd: Matrix;
  readonly #output_norm: Float32Array;
  readonly #output: Matrix;
  /** The residual stream, its norm, and what a block adds to it. */
  readonly #x: Float32Array;
  readonly #normed: Float32Array;
  readonly #added: Float32Array;
  /** x and z, d_inner each. */
  readonly #xz: Float32Array;
  /** x after the convolution. */
  readonly #inner: Float32Array;
  /** dt (dt_rank), B and C (d_state each). */
  readonly #dt_b_c: Float32Array;
  readonly #dt: Float32Array;
  readonly #y: Float32Array;

  constructor(model: Model, deviation: Deviation) {
    const h = model.hparams as HparamsOf<'mamba'>;
    const w = new Weights(model, deviation);
    this.#h = h;
    this.#eps = deviation.kind === 'eps' ? 2 * h.norm_rms_eps : h.norm_rms_eps;
    this.#threshold = deviation.kind === 'softplus' ? 2 : 20;
    this.#embd = w.matrix('token_embd.weight');
    this.#output_norm = w.vector('output_norm.weight');
    this.#output = w.has('output.weight') ? w.matrix('output.weight') : this.#embd;
    this.#blocks = Array.from({ length: h.n_layer }, (_, il) => blockOf(w, il));
    this.#x = new Float32Array(h.n_embd);
    this.#normed = new Float32Array(h.n_embd);
    this.#added = new Float32Array(h.n_embd);
    this.#xz = new Float32Array(2 * h.d_inner);
    this.#inner = new Float32Array(h.d_inner);
    this.#dt_b_c = new Float32Array(h.dt_rank + 2 * h.d_state);
    this.#dt = new Float32Array(h.d_inner);
    this.#y = new Float32Array(h.d_inner);
  }

  step(step: Step, out: Float32Array | null): StateEntry {
    const entry = this.#newEntry(step);
    this.#embd.row(this.#x, step.token);
    this.#blocks.forEach((block, il) => {
      rmsNorm(this.#normed, this.#x, block.attn_norm, this.#eps);
      block.ssm_in.mul(this.#xz, this.#normed);
      this.#convolve(block, entry.conv, il);
      this.#selectors(block);
      this.#scan(block, entry.ssm, il);
      block.ssm_out.mul(this.#added, this.#y);
      addTo(this.#x, this.#added);
    });
    if (out !== null) {
      rmsNorm(this.#normed, this.#x, this.#output_norm, this.#eps);
      if (step.embeddings) out.set(this.#normed);
      else this.#output.mul(out, this.#normed);
    }
    return entry;
  }

  /** A copy of the state before, which the layers then move on; zero for a new sequence. */
  #newEntry({ pos, before }: Step): StateEntry {
    const last = before.at(-1) as StateEntry | undefined;
    if (last !== undefined) return { pos, conv: last.conv.slice(), ssm: last.ssm.slice() };
    const { n_layer, d_inner, d_conv, d_state } = this.#h;
    const channels = n_layer * d_inner;
    return {
      pos,
      conv: new Float32Array(channels * (d_conv - 1)),
      ssm: new Float32Array(channels * d_state),
    };
  }

  /** inner = silu(sum over taps + bias); the channel's oldest input leaves, the newest enters. */
  #convolve(block: Block, conv: Float32Array, il: number): void {
    const { d_inner, d_conv } = this.#h;
    for (let c = 0; c < d_inner; c++) {
      const tap = c * d_conv;
      const at = (il * d_inner + c) * (d_conv - 1);
      const newest = this.#xz[c]!;
      let sum = dot(conv, at, block.conv1d, tap, d_conv - 1);
      sum = f32(sum + f32(newest * block.conv1d[tap + d_conv - 1]!));
      this.#inner[c] = silu(f32(sum + block.conv1d_bias[c]!));
      for (let k = 0; k < d_conv - 2; k++) conv[at + k] = conv[at + k + 1]!;
      conv[at + d_conv - 2] = newest;
    }
  }

  /** dt, B and C from the convolved input; dt is widened to all channels. */
  #selectors(block: Block): void {
    const { dt_rank, d_state, dt_b_c_rms } = this.#h;
    block.ssm_x.mul(this.#dt_b_c, this.#inner);
    if (dt_b_c_rms) {
      rmsNormPlain(this.#dt_b_c, 0, dt_rank, this.#eps);
      rmsNormPlain(this.#dt_b_c, dt_rank, d_state, this.#eps);
      rmsNormPlain(this.#dt_b_c, dt_rank + d_state, d_state, this.#eps);
    }
    block.ssm_dt.mul(this.#dt, this.#dt_b_c);
    addTo(this.#dt, block.ssm_dt_bias);
  }

  /** state = state exp(dt A) + B (x dt); y = (sum of state C + D x) silu(z). */
  #scan(block: Block, ssm: Float32Array, il: number): void {
    const { d_inner, d_state, dt_rank } = this.#h;
    const dt_b_c = this.#dt_b_c;
    for (let c = 0; c < d_inner; c++) {
      const at = (il * d_inner + c) * d_state;
      const x = this.#inner[c]!;
      const dt = softplus(this.#dt[c]!, this.#threshold);
      const x_dt = f32(x * dt);
      let sum = 0;
      for (let n = 0; n < d_state; n++) {
        const decay = exp(f32(dt * block.ssm_a[c * d_state + n]!));
        const state = f32(f32(ssm[at + n]! * decay) + f32(dt_b_c[dt_rank + n]! * x_dt));
        ssm[at + n] = state;
        sum = f32(sum + f32(state * dt_b_c[dt_rank + d_state + n]!));
      }
      const y = f32(sum + f32(block.ssm_d[c]! * x));
      this.#y[c] = f32(y * silu(this.#xz[d_inner + c]!));
    }
  }
}

import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model, Tensor } from '../model/types.ts';
import { logits } from './forward.ts';
import { modelOf, randomTensor, seeded } from './testing.ts';
import {
  attended,
  entriesOf,
  expectClose,
  normalized,
  plus,
  type Rows,
  rowsOf,
  sigmoid,
  times,
} from './testing-plain.ts';

/** Two heads of two channels, three taps, vocabulary 6; tied or not. */
function microLfm2(seed: number, n_head_kv: readonly number[], tied: boolean): Model {
  const random = seeded(seed);
  const tensors: [string, Tensor][] = [];
  const tensor = (name: string, ...ne: number[]) => tensors.push(randomTensor(random, `${name}.weight`, ne));
  tensor('token_embd', 4, 6);
  tensor('token_embd_norm', 4);
  if (!tied) tensor('output', 4, 6);
  n_head_kv.forEach((n, il) => {
    const blk = `blk.${il}`;
    for (const name of ['attn_norm', 'ffn_norm']) tensor(`${blk}.${name}`, 4);
    tensor(`${blk}.ffn_gate`, 4, 5);
    tensor(`${blk}.ffn_up`, 4, 5);
    tensor(`${blk}.ffn_down`, 5, 4);
    if (n > 0) {
      for (const name of ['attn_q', 'attn_output']) tensor(`${blk}.${name}`, 4, 4);
      for (const name of ['attn_k', 'attn_v']) tensor(`${blk}.${name}`, 4, 2 * n);
      for (const name of ['attn_q_norm', 'attn_k_norm']) tensor(`${blk}.${name}`, 2);
      return;
    }
    tensor(`${blk}.shortconv.in_proj`, 4, 12);
    tensor(`${blk}.shortconv.conv`, 3, 4);
    tensor(`${blk}.shortconv.out_proj`, 4, 4);
  });
  const shape = { n_vocab: 6, n_embd: 4, n_layer: n_head_kv.length, n_ctx_train: 64, norm_rms_eps: 1e-5 };
  const heads = { n_head: 2, n_head_kv, n_embd_head: 2, n_ff: 5, d_conv: 3 };
  const rope = { n_rot: 2, rope_freq_base: 100, rope_freq_scale: 0.5 };
  return modelOf({ arch: 'lfm2', ...shape, ...heads, ...rope }, tensors);
}

// Written apart from the oracle, on nested arrays and whole sequences, to be its check.
function plainLfm2(model: Model, tokens: readonly number[]): Rows {
  const { norm_rms_eps: eps, n_head_kv } = model.hparams as HparamsOf<'lfm2'>;
  const w = (name: string) => rowsOf(model, `${name}.weight`);
  const normed = (x: number[], name: string) => normalized(x, eps).map((v, i) => v * w(name)[0]![i]!);
  let h = tokens.map((token) => w('token_embd')[token]!);
  n_head_kv.forEach((kv, il) => {
    const b = `blk.${il}`;
    const u = h.map((x) => normed(x, `${b}.attn_norm`));
    const m = kv > 0 ? attention(b, u, kv, w, normed) : convolution(b, u, w);
    h = h.map((x, t) => {
      const mid = plus(x, m[t]!);
      const n = normed(mid, `${b}.ffn_norm`);
      const up = times(w(`${b}.ffn_up`), n);
      const act = times(w(`${b}.ffn_gate`), n).map((g, i) => g * sigmoid(g) * up[i]!);
      return plus(mid, times(w(`${b}.ffn_down`), act));
    });
  });
  const output = model.tensors.has('output.weight') ? 'output' : 'token_embd';
  return h.map((x) => times(w(output), normed(x, 'token_embd_norm')));
}

/** Each token looks back at the gated inputs of itself and the two before it. */
function convolution(b: string, u: Rows, w: (name: string) => Rows): Rows {
  const bcx = u.map((x) => times(w(`${b}.shortconv.in_proj`), x));
  const input = (t: number, i: number) => (t < 0 ? 0 : bcx[t]![i]! * bcx[t]![8 + i]!);
  return u.map((_, t) => {
    const y = w(`${b}.shortconv.conv`).map((taps, i) => {
      const sum = taps[0]! * input(t - 2, i) + taps[1]! * input(t - 1, i) + taps[2]! * input(t, i);
      return bcx[t]![4 + i]! * sum;
    });
    return times(w(`${b}.shortconv.out_proj`), y);
  });
}

/** A head is one pair of channels, so NEOX pairs are what they always are: turned by half a radian a position. */
function attention(
  b: string,
  u: Rows,
  kv: number,
  w: (name: string) => Rows,
  normed: (x: number[], name: string) => number[],
): Rows {
  const heads = (x: number[]) => x.flatMap((_, i) => (i % 2 === 0 ? [x.slice(i, i + 2)] : []));
  const turned = ([re, im]: number[], p: number) => [
    re! * Math.cos(p / 2) - im! * Math.sin(p / 2),
    re! * Math.sin(p / 2) + im! * Math.cos(p / 2),
  ];
  const placed = (name: string) =>
    u.map((x, p) =>
      heads(times(w(`${b}.${name}`), x)).map((head) => turned(normed(head, `${b}.${name}_norm`), p)),
    );
  const [q, k] = [placed('attn_q'), placed('attn_k')];
  const v = u.map((x) => heads(times(w(`${b}.attn_v`), x)));
  return u.map((_, t) => {
    const out = [0, 1].flatMap((head) => {
      const at = kv === 1 ? 0 : head;
      const past = (rows: number[][][]) => rows.slice(0, t + 1).map((row) => row[at]!);
      return attended(q[t]![head]!, past(k), past(v));
    });
    return times(w(`${b}.attn_output`), out);
  });
}

describe('lfm2', () => {
  const tokens = [3, 0, 5, 5, 1, 2, 4];

  it.each([
    [[0], true],
    [[1], true],
    [[2], false],
    [[0, 1, 0, 2], false],
  ] as const)('is the formula: heads %j, tied %s', (n_head_kv, tied) => {
    const model = microLfm2(7, n_head_kv, tied);
    expectClose(logits(model, entriesOf(tokens)), plainLfm2(model, tokens));
  });

  it('remembers as many tokens as its convolutions reach back', () => {
    const model = microLfm2(3, [0, 0], true);
    const last = (first: number, n: number) =>
      logits(model, entriesOf([first, ...new Array<number>(n).fill(1)])).at(-1);
    expect(last(2, 4)).not.toEqual(last(5, 4));
    expect(last(2, 5)).toEqual(last(5, 5));
  });
});

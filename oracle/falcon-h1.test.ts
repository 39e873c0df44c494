import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model, Tensor } from '../model/types.ts';
import { logits } from './forward.ts';
import { modelOf, randomTensor, seeded } from './testing.ts';
import {
  attended,
  dot,
  entriesOf,
  expectClose,
  normalized,
  plus,
  type Rows,
  rowsOf,
  sigmoid,
  times,
} from './testing-plain.ts';

/** Two heads of two channels on one; a mixer of four heads of two channels, d_state 3, d_conv 3; vocabulary 6, tied. */
function microFalcon(seed: number, n_layer: number, n_group: number): Model {
  const random = seeded(seed);
  const tensors: [string, Tensor][] = [];
  const tensor = (name: string, ...ne: number[]) => {
    const [, made] = randomTensor(random, name, ne);
    tensors.push([name, made]);
    return made.data;
  };
  const channels = 8 + 2 * n_group * 3;
  tensor('token_embd.weight', 4, 6);
  tensor('output_norm.weight', 4);
  for (let il = 0; il < n_layer; il++) {
    const blk = `blk.${il}`;
    tensor(`${blk}.attn_norm.weight`, 4);
    for (const name of ['attn_q', 'attn_output']) tensor(`${blk}.${name}.weight`, 4, 4);
    for (const name of ['attn_k', 'attn_v']) tensor(`${blk}.${name}.weight`, 4, 2);
    tensor(`${blk}.ssm_in.weight`, 4, 8 + channels + 4);
    tensor(`${blk}.ssm_conv1d.weight`, 3, channels);
    tensor(`${blk}.ssm_conv1d.bias`, channels);
    tensor(`${blk}.ssm_dt.bias`, 4);
    tensor(`${blk}.ssm_d`, 1, 4);
    tensor(`${blk}.ssm_out.weight`, 8, 4);
    const a = tensor(`${blk}.ssm_a`, 1, 4);
    a.forEach((value, i) => {
      a[i] = -Math.abs(value) - 0.1;
    });
    tensor(`${blk}.ffn_norm`, 4);
    tensor(`${blk}.ffn_gate.weight`, 4, 5);
    tensor(`${blk}.ffn_up.weight`, 4, 5);
    tensor(`${blk}.ffn_down.weight`, 5, 4);
  }
  const shape = { n_vocab: 6, n_embd: 4, n_layer, n_ctx_train: 64, norm_rms_eps: 1e-5 };
  const heads = { n_head: 2, n_head_kv: 1, n_embd_head: 2, n_ff: 5 };
  const rope = { n_rot: 2, rope_freq_base: 100, rope_freq_scale: 0.5 };
  const mixer = { d_conv: 3, d_inner: 8, d_state: 3, n_ssm_head: 4, n_group };
  return modelOf({ arch: 'falcon-h1', ...shape, ...heads, ...rope, ...mixer }, tensors);
}

const silu = (x: number) => x * sigmoid(x);

// Written apart from the oracle, on nested arrays and whole sequences, to be its check.
function plainFalcon(model: Model, tokens: readonly number[]): Rows {
  const { norm_rms_eps: eps, n_layer, n_group } = model.hparams as HparamsOf<'falcon-h1'>;
  const normed = (x: number[], name: string) =>
    normalized(x, eps).map((v, i) => v * rowsOf(model, name)[0]![i]!);
  let h = tokens.map((token) => rowsOf(model, 'token_embd.weight')[token]!);
  for (let il = 0; il < n_layer; il++) {
    const w = (name: string) => rowsOf(model, `blk.${il}.${name}`);
    const u = h.map((x) => normed(x, `blk.${il}.attn_norm.weight`));
    const [a, s] = [attention(w, u), mixed(w, u, n_group)];
    h = h.map((x, t) => {
      const mid = plus(x, plus(a[t]!, s[t]!));
      const n = normed(mid, `blk.${il}.ffn_norm`);
      const up = times(w('ffn_up.weight'), n);
      const act = times(w('ffn_gate.weight'), n).map((g, i) => silu(g) * up[i]!);
      return plus(mid, times(w('ffn_down.weight'), act));
    });
  }
  return h.map((x) => times(rowsOf(model, 'token_embd.weight'), normed(x, 'output_norm.weight')));
}

/** A head is one pair of channels, turned by half a radian a position; both heads use the only key. */
function attention(w: (name: string) => Rows, u: Rows): Rows {
  const turned = ([re, im]: number[], p: number) => [
    re! * Math.cos(p / 2) - im! * Math.sin(p / 2),
    re! * Math.sin(p / 2) + im! * Math.cos(p / 2),
  ];
  const q = u.map((x) => times(w('attn_q.weight'), x));
  const k = u.map((x, p) => turned(times(w('attn_k.weight'), x), p));
  const v = u.map((x) => times(w('attn_v.weight'), x));
  return u.map((_, t) => {
    const head = (at: number) =>
      attended(turned(q[t]!.slice(at, at + 2), t), k.slice(0, t + 1), v.slice(0, t + 1));
    return times(w('attn_output.weight'), [...head(0), ...head(2)]);
  });
}

/** As attention without softmax: token t takes x of token j as much as C_t meets B_j, decayed by what came between. */
function mixed(w: (name: string) => Rows, u: Rows, n_group: number): Rows {
  const p = u.map((x) => times(w('ssm_in.weight'), x));
  const conv = p.map((_, t) =>
    w('ssm_conv1d.weight').map((taps, c) => {
      const past = taps.map((tap, j) => tap * (p[t - 2 + j]?.[8 + c] ?? 0));
      return silu(past.reduce((sum, x) => sum + x, 0) + w('ssm_conv1d.bias')[0]![c]!);
    }),
  );
  const step = (t: number, head: number) =>
    Math.log(1 + Math.exp(p[t]!.slice(-4)[head]! + w('ssm_dt.bias')[0]![head]!));
  return u.map((_, t) => {
    const y = [0, 1, 2, 3].flatMap((head) => {
      const group = Math.floor((head * n_group) / 4);
      const [b, c] = [8 + 3 * group, 8 + 3 * (n_group + group)];
      const weights = conv.slice(0, t + 1).map((row, j) => {
        let between = 0;
        for (let i = j + 1; i <= t; i++) between += step(i, head);
        const meet = dot(conv[t]!.slice(c, c + 3), row.slice(b, b + 3));
        return Math.exp(w('ssm_a').flat()[head]! * between) * meet * step(j, head);
      });
      return [2 * head, 2 * head + 1].map((at) => {
        const state = weights.reduce((sum, weight, j) => sum + weight * conv[j]![at]!, 0);
        return (state + w('ssm_d').flat()[head]! * conv[t]![at]!) * silu(p[t]![at]!);
      });
    });
    return times(w('ssm_out.weight'), y);
  });
}

describe('falcon-h1', () => {
  it.each([
    [1, 1],
    [1, 2],
    [2, 4],
  ])('is the formula: %i layers, %i groups', (n_layer, n_group) => {
    const tokens = [3, 0, 5, 5, 1, 2, 4];
    const model = microFalcon(7, n_layer, n_group);
    expectClose(logits(model, entriesOf(tokens)), plainFalcon(model, tokens));
  });

  it('needs both halves: each sees the first token', () => {
    const last = (model: Model, first: number) => logits(model, entriesOf([first, 1, 2, 3, 4, 0])).at(-1);
    for (const silent of ['ssm_out.weight', 'attn_output.weight']) {
      const model = microFalcon(5, 1, 1);
      model.tensors.get(`blk.0.${silent}`)!.data.fill(0);
      expect(last(model, 2)).not.toEqual(last(model, 5));
    }
  });
});

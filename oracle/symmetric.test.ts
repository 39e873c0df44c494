import { describe, expect, it } from 'vitest';
import type { Model, Tensor } from '../model/types.ts';
import { completeBatch } from './batch.ts';
import { encodedEntries, Sequences } from './entries.ts';
import { logits } from './forward.ts';
import { modelOf, randomTensor, seeded } from './testing.ts';
import {
  attended,
  expectClose,
  normalized,
  plus,
  type Rows,
  rowsOf,
  sigmoid,
  times,
} from './testing-plain.ts';

/** Two heads of two channels on one, vocabulary 6. */
function micro(n_layer: number, n_swa: number): Model {
  const random = seeded(9);
  const tensors: [string, Tensor][] = [];
  const tensor = (name: string, ...ne: number[]) => tensors.push(randomTensor(random, `${name}.weight`, ne));
  tensor('token_embd', 4, 6);
  tensor('output_norm', 4);
  for (let il = 0; il < n_layer; il++) {
    const blk = `blk.${il}`;
    for (const name of ['attn_norm', 'ffn_norm']) tensor(`${blk}.${name}`, 4);
    for (const name of ['attn_q', 'attn_output']) tensor(`${blk}.${name}`, 4, 4);
    for (const name of ['attn_k', 'attn_v']) tensor(`${blk}.${name}`, 4, 2);
    for (const name of ['ffn_gate', 'ffn_up']) tensor(`${blk}.${name}`, 4, 5);
    tensor(`${blk}.ffn_down`, 5, 4);
  }
  const shape = { n_vocab: 6, n_embd: 4, n_layer, n_ctx_train: 64, norm_rms_eps: 1e-5 };
  const heads = { n_head: 2, n_head_kv: 1, n_embd_head: 2, n_ff: 5, n_swa };
  const rope = { n_rot: 2, rope_freq_base: 100, rope_freq_scale: 0.5 };
  return modelOf({ arch: 'isobatch-symmetric', ...shape, ...heads, ...rope }, tensors);
}

// Written apart from the oracle, on nested arrays and whole sequences, to be its check. A head is one pair of channels,
// turned by half a radian a position.
function plain(model: Model, tokens: readonly number[], n_layer: number, half: number): Rows {
  const w = (name: string) => rowsOf(model, `${name}.weight`);
  const normed = (x: number[], name: string) => normalized(x, 1e-5).map((v, i) => v * w(name)[0]![i]!);
  const turned = ([re, im]: number[], p: number) => [
    re! * Math.cos(p / 2) - im! * Math.sin(p / 2),
    re! * Math.sin(p / 2) + im! * Math.cos(p / 2),
  ];
  let x = tokens.map((token) => w('token_embd')[token]!);
  for (let il = 0; il < n_layer; il++) {
    const b = `blk.${il}`;
    const u = x.map((row) => normed(row, `${b}.attn_norm`));
    const k = u.map((row, p) => turned(times(w(`${b}.attn_k`), row), p));
    const v = u.map((row) => times(w(`${b}.attn_v`), row));
    x = x.map((row, t) => {
      const reach = il % 2 === 0 ? half : tokens.length;
      const near = (list: Rows) => list.filter((_, j) => j >= t - reach && j <= t + reach);
      const q = times(w(`${b}.attn_q`), u[t]!);
      const heads = [0, 2].flatMap((at) => attended(turned(q.slice(at, at + 2), t), near(k), near(v)));
      const mid = plus(row, times(w(`${b}.attn_output`), heads));
      const n = normed(mid, `${b}.ffn_norm`);
      const up = times(w(`${b}.ffn_up`), n);
      const act = times(w(`${b}.ffn_gate`), n).map((g, i) => g * sigmoid(g) * up[i]!);
      return plus(mid, times(w(`${b}.ffn_down`), act));
    });
  }
  return x.map((row) => normed(row, 'output_norm'));
}

function encoded(model: Model, token: number[], seq_id: number[][]): Rows {
  const limits = { n_vocab: 6, n_batch: token.length, n_seq_max: 4 };
  const batch = completeBatch({ token, seq_id }, new Sequences(4), limits);
  return logits(model, encodedEntries(batch), { embeddings: true }).map((row) => [...row]);
}

describe('isobatch-symmetric', () => {
  const tokens = [3, 0, 5, 5, 1, 2, 4];
  const alone = tokens.map(() => [0]);

  it.each([
    [1, 2, 1],
    [1, 3, 1],
    [2, 4, 2],
    [3, 1, 0],
  ])('is the formula: %i layers, window %i, which reaches %i to both sides', (n_layer, n_swa, half) => {
    const model = micro(n_layer, n_swa);
    const rows = encoded(model, tokens, alone).map((row) => Float64Array.from(row));
    expectClose(rows, plain(model, tokens, n_layer, half));
  });

  it('sequences in one batch do not see each other, however they are mixed', () => {
    const model = micro(2, 4);
    const other = [2, 2, 1];
    const mixed = encoded(
      model,
      [3, 2, 0, 5, 2, 5, 1, 1, 2, 4],
      [[1], [3], [1], [1], [3], [1], [3], [1], [1], [1]],
    );
    const [first, second] = [
      encoded(model, tokens, alone),
      encoded(
        model,
        other,
        other.map(() => [0]),
      ),
    ];
    expect([0, 2, 3, 5, 7, 8, 9].map((i) => mixed[i])).toEqual(first);
    expect([1, 4, 6].map((i) => mixed[i])).toEqual(second);
  });
});

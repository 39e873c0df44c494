import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model, Tensor } from '../model/types.ts';
import { slopesOf } from './alibi.ts';
import { Sequences } from './entries.ts';
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

describe('slopes', () => {
  it('of a power of two: a geometric series that ends at 2^-max_bias', () => {
    expect(slopesOf(8, 8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((h) => 2 ** -h));
    expect(slopesOf(4, 8)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8]);
    expect(slopesOf(1, 8)).toEqual([2 ** -8]);
  });

  it('of another number: those of the power below, then every second one of the power above', () => {
    expect(slopesOf(6, 8)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8, 2 ** -1, 2 ** -3]);
    expect(slopesOf(3, 8)).toEqual([2 ** -4, 2 ** -8, 2 ** -2]);
    expect(slopesOf(5, 4)).toEqual([2 ** -1, 2 ** -2, 2 ** -3, 2 ** -4, 2 ** -0.5]);
  });
});

/** Three heads of two channels on one, vocabulary 6. */
function microRefact(n_layer: number): Model {
  const random = seeded(5);
  const tensors: [string, Tensor][] = [];
  const tensor = (name: string, ...ne: number[]) => tensors.push(randomTensor(random, `${name}.weight`, ne));
  tensor('token_embd', 6, 6);
  tensor('output_norm', 6);
  tensor('output', 6, 6);
  for (let il = 0; il < n_layer; il++) {
    const blk = `blk.${il}`;
    for (const name of ['attn_norm', 'ffn_norm']) tensor(`${blk}.${name}`, 6);
    for (const name of ['attn_q', 'attn_output']) tensor(`${blk}.${name}`, 6, 6);
    for (const name of ['attn_k', 'attn_v']) tensor(`${blk}.${name}`, 6, 2);
    for (const name of ['ffn_gate', 'ffn_up']) tensor(`${blk}.${name}`, 6, 5);
    tensor(`${blk}.ffn_down`, 5, 6);
  }
  const shape = { n_vocab: 6, n_embd: 6, n_layer, n_ctx_train: 64, norm_rms_eps: 1e-5 };
  const heads = { n_head: 3, n_head_kv: 1, n_embd_head: 2, n_ff: 5, max_alibi_bias: 8 };
  return modelOf({ arch: 'refact', ...shape, ...heads }, tensors);
}

// Written apart from the oracle, on nested arrays and whole sequences, to be its check: what a distance costs is a channel
// more of q and k.
function plainRefact(model: Model, tokens: readonly number[], pos = tokens.map((_, t) => t)): Rows {
  const h = model.hparams as HparamsOf<'refact'>;
  const w = (name: string) => rowsOf(model, `${name}.weight`);
  const normed = (x: number[], name: string) => normalized(x, 1e-5).map((v, i) => v * w(name)[0]![i]!);
  const slope = [1 / 16, 1 / 256, 1 / 4];
  let x = tokens.map((token) => w('token_embd')[token]!);
  for (let il = 0; il < h.n_layer; il++) {
    const b = `blk.${il}`;
    const u = x.map((row) => normed(row, `${b}.attn_norm`));
    // attended() divides scores by the root of the number of channels, which is 3 here and should be 2.
    const far = u.map((row, j) => [...times(w(`${b}.attn_k`), row), pos[j]!]);
    const v = u.map((row) => times(w(`${b}.attn_v`), row));
    x = x.map((row, t) => {
      const q = times(w(`${b}.attn_q`), u[t]!);
      const heads = slope.flatMap((m, head) => {
        const [q0, q1] = [q[2 * head]!, q[2 * head + 1]!].map((c) => c * Math.sqrt(3 / 2));
        return attended([q0!, q1!, m * Math.sqrt(3)], far.slice(0, t + 1), v.slice(0, t + 1));
      });
      const mid = plus(row, times(w(`${b}.attn_output`), heads));
      const n = normed(mid, `${b}.ffn_norm`);
      const up = times(w(`${b}.ffn_up`), n);
      const act = times(w(`${b}.ffn_gate`), n).map((g, i) => g * sigmoid(g) * up[i]!);
      return plus(mid, times(w(`${b}.ffn_down`), act));
    });
  }
  return x.map((row) => times(w('output'), normed(row, 'output_norm')));
}

describe('refact', () => {
  const tokens = [3, 0, 5, 5, 1, 2, 4];

  it.each([1, 2])('is the formula: %i layers', (n_layer) => {
    const model = microRefact(n_layer);
    expectClose(logits(model, entriesOf(tokens)), plainRefact(model, tokens));
  });

  it('distances are those of the moment: a prefix that was moved away counts less', () => {
    const model = microRefact(1);
    const sequences = new Sequences(1);
    const batch = (token: number[], first: number) => ({
      token,
      pos: token.map((_, i) => first + i),
      seq_id: token.map(() => [0]),
      logits: token.map(() => true),
    });
    sequences.decode(batch([3, 0, 5], 0));
    sequences.seqAdd(0, 2, -1, 9);
    const last = sequences.decode(batch([1], 12));
    const wanted = plainRefact(model, [3, 0, 5, 1], [0, 1, 11, 12]);
    expectClose(logits(model, last), wanted.slice(3));
    expect(logits(model, last)).not.toEqual(logits(model, entriesOf([3, 0, 5, 1])).slice(3));
  });
});

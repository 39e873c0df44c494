/** openelm against a second formula, on a model of two layers that have nothing the same size. */
import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model } from '../../model/types.ts';
import { logits } from '../forward.ts';
import { modelOf, randomTensor, seeded } from '../testing.ts';
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
} from '../testing-plain.ts';

const E = 4;
const D = 4;
const LAYERS = [
  { n_head: 2, n_head_kv: 1, n_ff: 5 },
  { n_head: 3, n_head_kv: 3, n_ff: 2 },
];

/** Heads of four channels, vocabulary 6. */
function microOpenelm(seed: number): Model {
  const random = seeded(seed);
  const tensor = (name: string, ...ne: number[]) => randomTensor(random, name, ne);
  const tensors = [tensor('token_embd.weight', E, 6), tensor('output_norm.weight', E)];
  LAYERS.forEach(({ n_head, n_head_kv, n_ff }, il) => {
    tensors.push(
      tensor(`blk.${il}.attn_norm.weight`, E),
      tensor(`blk.${il}.attn_qkv.weight`, E, (n_head + 2 * n_head_kv) * D),
      tensor(`blk.${il}.attn_q_norm.weight`, D),
      tensor(`blk.${il}.attn_k_norm.weight`, D),
      tensor(`blk.${il}.attn_output.weight`, n_head * D, E),
      tensor(`blk.${il}.ffn_norm.weight`, E),
      tensor(`blk.${il}.ffn_gate.weight`, E, n_ff),
      tensor(`blk.${il}.ffn_up.weight`, E, n_ff),
      tensor(`blk.${il}.ffn_down.weight`, n_ff, E),
    );
  });
  return modelOf(
    {
      arch: 'openelm',
      n_vocab: 6,
      n_embd: E,
      n_layer: LAYERS.length,
      n_ctx_train: 64,
      norm_rms_eps: 1e-5,
      layers: LAYERS,
      n_embd_head: D,
      n_rot: D,
      rope_freq_base: 100,
      rope_freq_scale: 1,
    },
    tensors,
  );
}

function plainOpenelm(model: Model, tokens: readonly number[]): Rows {
  const { norm_rms_eps: eps } = model.hparams as HparamsOf<'openelm'>;
  const w = (name: string) => rowsOf(model, name);
  const norm = (x: number[], name: string) => normalized(x, eps).map((v, i) => v * w(name)[0]![i]!);
  // Channels 0 and 2 are a complex number that turns by p, 1 and 3 one that turns by p / 10 (base 100, n_rot 4).
  const turned = ([a, b, c, d]: number[], p: number) => [
    a! * Math.cos(p) - c! * Math.sin(p),
    b! * Math.cos(p / 10) - d! * Math.sin(p / 10),
    a! * Math.sin(p) + c! * Math.cos(p),
    b! * Math.sin(p / 10) + d! * Math.cos(p / 10),
  ];
  let h = tokens.map((token) => w('token_embd.weight')[token]!);
  LAYERS.forEach(({ n_head, n_head_kv }, il) => {
    const b = `blk.${il}.`;
    const qkv = h.map((x) => times(w(`${b}attn_qkv.weight`), norm(x, `${b}attn_norm.weight`)));
    const heads = qkv.map((x) => Array.from({ length: x.length / D }, (_, i) => x.slice(i * D, (i + 1) * D)));
    const q = heads.map((x, p) =>
      x.slice(0, n_head).map((head) => turned(norm(head, `${b}attn_q_norm.weight`), p)),
    );
    const k = heads.map((x, p) =>
      x.slice(n_head, n_head + n_head_kv).map((head) => turned(norm(head, `${b}attn_k_norm.weight`), p)),
    );
    const v = heads.map((x) => x.slice(n_head + n_head_kv));
    h = h.map((x, p) => {
      const out = q[p]!.flatMap((head, i) => {
        const kv = Math.floor((i * n_head_kv) / n_head);
        const past = (of: Rows[]) => of.slice(0, p + 1).map((row) => row[kv]!);
        return attended(head, past(k), past(v));
      });
      const mid = plus(x, times(w(`${b}attn_output.weight`), out));
      const n = norm(mid, `${b}ffn_norm.weight`);
      const up = times(w(`${b}ffn_up.weight`), n);
      const gate = times(w(`${b}ffn_gate.weight`), n);
      const inner = gate.map((g, i) => g * sigmoid(g) * up[i]!);
      return plus(mid, times(w(`${b}ffn_down.weight`), inner));
    });
  });
  return h.map((x) => times(w('token_embd.weight'), norm(x, 'output_norm.weight')));
}

describe('openelm', () => {
  const tokens = [3, 0, 5, 5, 1, 2, 4];

  it.each([3, 8])('is the formula (seed %i)', (seed) => {
    const model = microOpenelm(seed);
    expectClose(logits(model, entriesOf(tokens)), plainOpenelm(model, tokens));
  });

  it('has last logits that depend on the first token', () => {
    const last = (first: number) => logits(microOpenelm(3), entriesOf([first, 1, 2, 3])).at(-1);
    expect(last(0)).not.toEqual(last(5));
  });
});

import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model, Tensor } from '../model/types.ts';
import { logits } from './forward.ts';
import { temperatureAt } from './temperature.ts';
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

interface Shape {
  readonly n_layer?: number;
  readonly n_chunk?: number;
  readonly used?: number;
  readonly norm_heads?: boolean;
}

const N_EXPERT = 3;

/** Two heads of two channels on one, experts in every second layer, vocabulary 6; every fourth layer turns nothing. */
function microLlama4({ n_layer = 4, n_chunk = 3, used = 1, norm_heads = true }: Shape): Model {
  const random = seeded(11);
  const tensors: [string, Tensor][] = [];
  const tensor = (name: string, ...ne: number[]) => tensors.push(randomTensor(random, `${name}.weight`, ne));
  const layers = Array.from({ length: n_layer }, (_, il) => il);
  tensor('token_embd', 4, 6);
  tensor('output_norm', 4);
  tensor('output', 4, 6);
  for (const il of layers) {
    const blk = `blk.${il}`;
    for (const name of ['attn_norm', 'ffn_norm']) tensor(`${blk}.${name}`, 4);
    for (const name of ['attn_q', 'attn_output']) tensor(`${blk}.${name}`, 4, 4);
    for (const name of ['attn_k', 'attn_v']) tensor(`${blk}.${name}`, 4, 2);
    const nets: [string, number[]][] =
      il % 2 === 1
        ? [
            ['_exps', [N_EXPERT]],
            ['_shexp', []],
          ]
        : [['', []]];
    if (il % 2 === 1) tensor(`${blk}.ffn_gate_inp`, 4, N_EXPERT);
    for (const [of, n] of nets) {
      tensor(`${blk}.ffn_gate${of}`, 4, 5, ...n);
      tensor(`${blk}.ffn_up${of}`, 4, 5, ...n);
      tensor(`${blk}.ffn_down${of}`, 5, 4, ...n);
    }
  }
  const shape = { n_vocab: 6, n_embd: 4, n_layer, n_ctx_train: 64, norm_rms_eps: 1e-5 };
  const heads = { n_head: 2, n_head_kv: 1, n_embd_head: 2, n_ff: 5, norm_heads };
  const rope = { n_rot: 2, rope_freq_base: 100, rope_freq_scale: 0.5, rope_freq_base_swa: 100 };
  const experts = {
    n_expert: N_EXPERT,
    n_expert_used: used,
    n_ff_exp: 5,
    routed: layers.map((il) => il % 2 === 1),
  };
  const chunks = {
    n_chunk,
    chunked: layers.map((il) => n_chunk > 0 && il % 4 < 3),
    turned: layers.map((il) => (il + 1) % 4 !== 0),
    temperature: n_chunk > 0 ? { length: 2, scale: 0.25 } : null,
  };
  return modelOf({ arch: 'llama4', ...shape, ...heads, ...rope, ...experts, ...chunks }, tensors);
}

// Written apart from the oracle, on nested arrays and whole sequences, to be its check.
function plainLlama4(model: Model, tokens: readonly number[]): Rows {
  const h = model.hparams as HparamsOf<'llama4'>;
  const w = (name: string) => rowsOf(model, `${name}.weight`);
  const normed = (x: number[], name: string) => normalized(x, 1e-5).map((v, i) => v * w(name)[0]![i]!);
  const net = (x: number[], from: (name: string) => Rows): number[] => {
    const up = times(from('up'), x);
    return times(
      from('down'),
      times(from('gate'), x).map((g, i) => g * sigmoid(g) * up[i]!),
    );
  };
  let x = tokens.map((token) => w('token_embd')[token]!);
  for (let il = 0; il < h.n_layer; il++) {
    const b = `blk.${il}`;
    const heads = attention(
      h,
      il,
      x.map((row) => normed(row, `${b}.attn_norm`)),
      (name) => w(`${b}.${name}`),
    );
    x = x.map((row, t) => {
      const mid = plus(row, times(w(`${b}.attn_output`), heads[t]!));
      const n = normed(mid, `${b}.ffn_norm`);
      if (il % 2 === 0)
        return plus(
          mid,
          net(n, (name) => w(`${b}.ffn_${name}`)),
        );
      const logit = times(w(`${b}.ffn_gate_inp`), n);
      const best = [...logit.keys()].sort((i, j) => logit[j]! - logit[i]!).slice(0, h.n_expert_used);
      return best.reduce(
        (sum, e) => {
          const open = n.map((v) => v / (1 + Math.exp(-logit[e]!)));
          const own = (name: string) => {
            const all = w(`${b}.ffn_${name}_exps`);
            return all.slice((e * all.length) / N_EXPERT, ((e + 1) * all.length) / N_EXPERT);
          };
          return plus(sum, net(open, own));
        },
        plus(
          mid,
          net(n, (name) => w(`${b}.ffn_${name}_shexp`)),
        ),
      );
    });
  }
  return x.map((row) => times(w('output'), normed(row, 'output_norm')));
}

/** A head is one pair of channels, turned by half a radian a position; both heads use the only key. */
function attention(h: HparamsOf<'llama4'>, il: number, u: Rows, w: (name: string) => Rows): Rows {
  const placed = ([re, im]: number[], p: number): number[] => {
    if ((il + 1) % 4 === 0) return [re!, im!];
    const turned = [
      re! * Math.cos(p / 2) - im! * Math.sin(p / 2),
      re! * Math.sin(p / 2) + im! * Math.cos(p / 2),
    ];
    return h.norm_heads ? normalized(turned, 1e-5) : turned;
  };
  const warm = (x: number[], p: number): number[] => {
    if ((il + 1) % 4 !== 0 || h.n_chunk === 0) return x;
    return x.map((v) => v * Math.fround(1 + 0.25 * Math.log(1 + Math.floor((p + 1) / 2))));
  };
  const k = u.map((x, p) => placed(times(w('attn_k'), x), p));
  const v = u.map((x) => times(w('attn_v'), x));
  return u.map((x, t) => {
    const q = warm(times(w('attn_q'), x), t);
    const first = h.n_chunk > 0 && il % 4 < 3 ? h.n_chunk * Math.floor(t / h.n_chunk) : 0;
    const head = (at: number) =>
      attended(placed(q.slice(at, at + 2), t), k.slice(first, t + 1), v.slice(first, t + 1));
    return [...head(0), ...head(2)];
  });
}

describe('llama4', () => {
  const tokens = [3, 0, 5, 5, 1, 2, 4, 4, 0, 1];

  it.each<Shape>([
    {},
    { used: 2 },
    { n_layer: 6, n_chunk: 4 },
    { n_layer: 3, norm_heads: false },
    { n_chunk: 0 },
    { n_layer: 8, n_chunk: 1, used: 3 },
  ])('is the formula: %j', (shape) => {
    const model = microLlama4(shape);
    expectClose(logits(model, entriesOf(tokens)), plainLlama4(model, tokens));
  });

  it('chunks hide what came before, but for the layer that turns nothing', () => {
    const last = (n_layer: number, first: number) =>
      logits(microLlama4({ n_layer }), entriesOf([first, 1, 2, 3])).at(-1);
    expect(last(3, 4)).toEqual(last(3, 5));
    expect(last(4, 4)).not.toEqual(last(4, 5));
  });

  it('temperatures grow in steps, the first one short', () => {
    const at = (pos: number) => temperatureAt({ length: 4, scale: 0.5 }, pos);
    expect([0, 1, 2].map(at)).toEqual([1, 1, 1]);
    expect([3, 6].map(at)).toEqual(new Array(2).fill(Math.fround(1 + 0.5 * Math.log(2))));
    expect(at(7)).toBe(Math.fround(1 + 0.5 * Math.log(3)));
  });
});

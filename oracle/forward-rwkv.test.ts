/**
 * RWKV-6 and RWKV-7 against second formulas, on nested arrays and whole sequences: states in closed form, as sums over
 * all earlier tokens or products of matrices. Written apart from the oracle, to be its check.
 */
import { describe, expect, it } from 'vitest';
import { goldenModel } from '../golden/assets.ts';
import { loadModel } from '../model/load.ts';
import type { HparamsOf, Model } from '../model/types.ts';
import { Sequences } from './entries.ts';
import { logits } from './forward.ts';
import { microRwkv6, microRwkv7 } from './testing.ts';

function alone(model: Model, token: readonly number[]): Float64Array[] {
  const pos = token.map((_, i) => i);
  const seq_id = token.map(() => [0]);
  return logits(model, new Sequences(1).decode({ token, pos, seq_id, logits: token.map(() => true) }));
}

type Rows = number[][];
const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const times = (w: Rows, x: number[]) => w.map((row) => dot(row, x));
const zip = (a: number[], b: number[], f: (x: number, y: number) => number) => a.map((x, i) => f(x, b[i]!));
const mul = (a: number[], b: number[]) => zip(a, b, (x, y) => x * y);
const add = (a: number[], b: number[]) => zip(a, b, (x, y) => x + y);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const chunks = (x: number[], n: number) =>
  Array.from({ length: x.length / n }, (_, h) => x.slice(h * n, (h + 1) * n));

/** Tensors by short names, and the parts that both versions have. */
function partsOf(model: Model) {
  const { norm_eps, n_embd_head: n } = model.hparams as HparamsOf<'rwkv6' | 'rwkv7'>;
  const flat = (name: string) => Array.from(model.tensors.get(name)!.data);
  const rows = (name: string) => chunks(flat(name), model.tensors.get(name)!.ne[0]!);
  const unit = (x: number[], eps: number) => {
    const mean = x.reduce((a, b) => a + b) / x.length;
    const square = x.reduce((a, b) => a + b * b, 0) / x.length - mean * mean;
    return x.map((v) => (v - mean) / Math.sqrt(square + eps));
  };
  const scaled = (x: number[], name: string) => add(mul(x, flat(`${name}.weight`)), flat(`${name}.bias`));
  return {
    flat,
    rows,
    n,
    norm: (x: number[], name: string) => scaled(unit(x, norm_eps), name),
    headNorm: (x: number[], name: string) =>
      scaled(
        chunks(x, n).flatMap((head) => unit(head, 0.00064)),
        name,
      ),
    /** Each row with its share taken from the row before it. */
    blend: (x: Rows, t: number, share: number[]) => {
      const past = x[t - 1] ?? x[t]!.map(() => 0);
      return x[t]!.map((v, c) => (1 - share[c]!) * v + share[c]! * past[c]!);
    },
  };
}

const relu2 = (x: number[]) => x.map((v) => (v > 0 ? v * v : 0));

function plainRwkv6(model: Model, tokens: readonly number[]): Rows {
  const { rescale_every, rank_mix } = model.hparams as HparamsOf<'rwkv6'>;
  const { flat, rows, n, norm, headNorm, blend } = partsOf(model);
  let h = tokens.map((token) => norm(rows('token_embd.weight')[token]!, 'token_embd_norm'));
  for (let il = 0; il < model.hparams.n_layer; il++) {
    const w = (name: string) => rows(`blk.${il}.time_mix_${name}.weight`);
    const v = (name: string) => flat(`blk.${il}.time_mix_${name}.weight`);
    const lerp = ['w', 'k', 'v', 'r', 'g'].map((part, j) =>
      model.tensors.has(`blk.${il}.time_mix_lerp_fused.weight`)
        ? v('lerp_fused').slice(4 * j, 4 * j + 4)
        : v(`lerp_${part}`),
    );
    const x = h.map((row) => norm(row, `blk.${il}.attn_norm`));
    const inputs = x.map((_, t) => {
      const low = chunks(times(w('w1'), blend(x, t, v('lerp_x'))).map(Math.tanh), rank_mix);
      return lerp.map((own, j) => blend(x, t, add(own, times(w('w2').slice(4 * j, 4 * j + 4), low[j]!))));
    });
    const r = inputs.map((all) => times(w('receptance'), all[3]!));
    const k = inputs.map((all) => times(w('key'), all[1]!));
    const val = inputs.map((all) => times(w('value'), all[2]!));
    const g = inputs.map((all) => times(w('gate'), all[4]!).map((y) => y * sigmoid(y)));
    const rate = inputs.map((all) =>
      add(v('decay'), times(w('decay_w2'), times(w('decay_w1'), all[0]!).map(Math.tanh))).map(Math.exp),
    );
    const middle = h.map((row, t) => {
      const out = row.map((_, c) => {
        const head = Math.floor(c / n) * n;
        let sum = 0;
        for (let i = head; i < head + n; i++) {
          sum += r[t]![i]! * v('first')[i]! * k[t]![i]! * val[t]![c]!;
          // What token j put in was kept by all between it and this one.
          for (let j = 0; j < t; j++) {
            let lost = 0;
            for (let s = j + 1; s < t; s++) lost += rate[s]![i]!;
            sum += r[t]![i]! * Math.exp(-lost) * k[j]![i]! * val[j]![c]!;
          }
        }
        return sum;
      });
      return add(row, times(w('output'), mul(headNorm(out, `blk.${il}.time_mix_ln`), g[t]!)));
    });
    const c = (name: string) => `blk.${il}.channel_mix_${name}.weight`;
    const y = middle.map((row) => norm(row, `blk.${il}.attn_norm_2`));
    h = middle.map((row, t) => {
      const open = times(rows(c('receptance')), blend(y, t, flat(c('lerp_r')))).map(sigmoid);
      const inner = relu2(times(rows(c('key')), blend(y, t, flat(c('lerp_k')))));
      const sum = add(row, mul(open, times(rows(c('value')), inner)));
      return rescale_every > 0 && il % rescale_every === rescale_every - 1 ? sum.map((s) => s / 2) : sum;
    });
  }
  return h.map((row) => times(rows('output.weight'), norm(row, 'output_norm')));
}

function plainRwkv7(model: Model, tokens: readonly number[]): Rows {
  const { flat, rows, n, norm, headNorm, blend } = partsOf(model);
  const { n_embd } = model.hparams;
  let h = tokens.map((token) => norm(rows('token_embd.weight')[token]!, 'token_embd_norm'));
  let first: Rows = [];
  for (let il = 0; il < model.hparams.n_layer; il++) {
    const w = (name: string) => rows(`blk.${il}.time_mix_${name}.weight`);
    const v = (name: string) => flat(`blk.${il}.time_mix_${name}.weight`);
    const lerp = chunks(v('lerp_fused'), n_embd);
    const low = (name: string, x: number[], f: (y: number) => number) =>
      times(w(`${name}2`), times(w(`${name}1`), x).map(f));
    const x = h.map((row) => norm(row, `blk.${il}.attn_norm`));
    const input = (t: number, part: number) => blend(x, t, lerp[part]!);
    const same = (y: number) => y;
    let value = x.map((_, t) => times(w('value'), input(t, 3)));
    if (il === 0) first = value;
    else {
      value = value.map((row, t) => {
        const share = add(v('v0'), low('v', input(t, 3), same)).map(sigmoid);
        return row.map((y, c) => (1 - share[c]!) * y + share[c]! * first[t]![c]!);
      });
    }
    const steps = x.map((_, t) => {
      const key = times(w('key'), input(t, 2));
      const a = add(v('a0'), low('a', input(t, 4), same)).map(sigmoid);
      const long = chunks(mul(key, v('k_k')), n);
      return {
        r: times(w('receptance'), input(t, 0)),
        w: add(v('w0'), low('w', input(t, 1), Math.tanh)).map((y) =>
          Math.exp(Math.fround(-0.606531) * sigmoid(y)),
        ),
        k: key.map((y, c) => y * (1 - v('k_a')[c]! + a[c]! * v('k_a')[c]!)),
        v: value[t]!,
        kappa: long.flatMap((head) => head.map((y) => y / Math.sqrt(dot(head, head)))),
        a,
        g: low('g', input(t, 5), sigmoid),
      };
    });
    const states = Array.from({ length: n_embd / n }, () =>
      Array.from({ length: n }, () => new Array<number>(n).fill(0)),
    );
    const middle = h.map((row, t) => {
      const step = steps[t]!;
      const heads = states.map((M, head) => {
        const of = (y: number[]) => y.slice(head * n, (head + 1) * n);
        const [r, decay, k, val, kappa, a] = [step.r, step.w, step.k, step.v, step.kappa, step.a].map(of) as [
          number[],
          number[],
          number[],
          number[],
          number[],
          number[],
        ];
        // M (diag(w) - kappa (kappa a)^T) + v k^T
        const turn = kappa.map((x1, i) => kappa.map((x2, j) => (i === j ? decay[j]! : 0) - x1 * x2 * a[j]!));
        const next = M.map((own, i) =>
          own.map(
            (_, j) =>
              dot(
                own,
                turn.map((column) => column[j]!),
              ) +
              val[i]! * k[j]!,
          ),
        );
        states[head] = next;
        return { out: times(next, r), bonus: val.map((y) => y * dot(mul(r, k), of(v('r_k')))) };
      });
      const normed = headNorm(
        heads.flatMap(({ out }) => out),
        `blk.${il}.time_mix_ln`,
      );
      const sum = add(
        normed,
        heads.flatMap(({ bonus }) => bonus),
      );
      return add(row, times(w('output'), mul(sum, step.g)));
    });
    const c = (name: string) => `blk.${il}.channel_mix_${name}.weight`;
    const y = middle.map((row) => norm(row, `blk.${il}.attn_norm_2`));
    h = middle.map((row, t) =>
      add(row, times(rows(c('value')), relu2(times(rows(c('key')), blend(y, t, flat(c('lerp_k'))))))),
    );
  }
  return h.map((row) => times(rows('output.weight'), norm(row, 'output_norm')));
}

function expectClose(found: readonly Float64Array[], wanted: Rows, tolerance: number): void {
  expect(found).toHaveLength(wanted.length);
  found.forEach((row, t) => {
    expect(row).toHaveLength(wanted[t]!.length);
    row.forEach((value, i) => {
      expect(Math.abs(value - wanted[t]![i]!)).toBeLessThan(tolerance * (1 + Math.abs(value)));
    });
  });
}

const tokens = [3, 0, 5, 5, 1, 2, 4];

describe('rwkv6', () => {
  it.each([
    { n_layer: 1 },
    { n_layer: 2, fused: true },
    { n_layer: 3, rescale_every: 2 },
    { n_layer: 2, rescale_every: 1, fused: true },
  ])('is the formula: %j', (shape) => {
    const model = microRwkv6(7, shape);
    expectClose(alone(model, tokens), plainRwkv6(model, tokens), 1e-11);
  });
});

describe('rwkv7', () => {
  it.each([1, 2, 3])('is the formula: %i layers', (n_layer) => {
    const model = microRwkv7(7, { n_layer });
    expectClose(alone(model, tokens), plainRwkv7(model, tokens), 1e-11);
  });

  it('the trained model too', () => {
    const model = loadModel(goldenModel('tiny-rwkv7'), 'tiny-rwkv7');
    const text = [1, 70, 104, 35, 111, 111, 35, 72];
    expectClose(alone(model, text), plainRwkv7(model, text), 1e-9);
  });
});

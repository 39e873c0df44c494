/**
 * gemma2 and gemma3 against a second formula that shares no code with the oracle: one loop for each sum, GELU by its
 * tangent, the window by counting back.
 */
import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model } from '../model/types.ts';
import { completeBatch } from './batch.ts';
import { type Entry, Sequences } from './entries.ts';
import { logits } from './forward.ts';
import { microGemma } from './testing.ts';

type Gemma = HparamsOf<'gemma2'> | HparamsOf<'gemma3'>;

const N_VOCAB = 6;
const TOKENS = [3, 0, 5, 5, 1, 2, 4, 1];

const decode = (sequences: Sequences, token: number[]) =>
  sequences.decode(completeBatch({ token }, sequences, { n_vocab: N_VOCAB, n_batch: 16, n_seq_max: 1 }));

function entriesOf(tokens: number[]): Entry[] {
  return decode(new Sequences(1), tokens);
}

function plainGemma(model: Model, tokens: readonly number[], pos = tokens.map((_, i) => i)): number[][] {
  const h = model.hparams as Gemma;
  const [E, d, H, Hk] = [h.n_embd, h.n_embd_head, h.n_head, h.n_head_kv];
  const data = (name: string) => model.tensors.get(`${name}.weight`)!.data as Float32Array;
  const times = (name: string, x: number[]): number[] => {
    const w = data(name);
    const out: number[] = [];
    for (let o = 0; o < w.length / x.length; o++) {
      let sum = 0;
      for (let i = 0; i < x.length; i++) sum += w[o * x.length + i]! * x[i]!;
      out.push(sum);
    }
    return out;
  };
  const norm = (name: string, x: number[]): number[] => {
    const mean = x.reduce((sum, v) => sum + v ** 2, 0) / x.length;
    return x.map((v, i) => (v / Math.sqrt(mean + h.norm_rms_eps)) * data(name)[i]!);
  };
  const heads = (x: number[]) => Array.from({ length: x.length / d }, (_, n) => x.slice(n * d, (n + 1) * d));
  const turn = (x: number[], p: number, base: number, scale: number): number[] =>
    x.map((v, c) => {
      const half = d / 2;
      const angle = (p * scale) / base ** ((2 * (c % half)) / d);
      const other = c < half ? -x[c + half]! : x[c - half]!;
      return v * Math.cos(angle) + other * Math.sin(angle);
    });
  let x = tokens.map((t) =>
    [...data('token_embd').slice(t * E, (t + 1) * E)].map((v) => v * Math.fround(Math.sqrt(E))),
  );
  for (let il = 0; il < h.n_layer; il++) {
    const b = `blk.${il}.`;
    const windowed = h.windowed[il]!;
    const [base, scale] = windowed
      ? [h.rope_freq_base_swa, h.rope_freq_scale_swa]
      : [h.rope_freq_base, h.rope_freq_scale];
    const turned = (name: string) =>
      x.map((row, t) =>
        heads(times(`${b}${name}`, norm(`${b}attn_norm`, row))).map((head) =>
          turn(h.arch === 'gemma3' ? norm(`${b}${name}_norm`, head) : head, pos[t]!, base, scale),
        ),
      );
    const [q, k] = [turned('attn_q'), turned('attn_k')];
    const v = x.map((row) => heads(times(`${b}attn_v`, norm(`${b}attn_norm`, row))));
    x = x.map((row, t) => {
      const seen = pos.map((_, j) => j).filter((j) => j <= t && (!windowed || pos[j]! > pos[t]! - h.n_swa));
      const att = q[t]!.flatMap((query, head) => {
        const group = Math.floor(head / (H / Hk));
        const weight = seen.map((j) => {
          let score = 0;
          for (let c = 0; c < d; c++) score += (query[c]! / Math.sqrt(h.score_divisor)) * k[j]![group]![c]!;
          return Math.exp(h.attn_softcap > 0 ? h.attn_softcap * Math.tanh(score / h.attn_softcap) : score);
        });
        const total = weight.reduce((sum, e) => sum + e, 0);
        return Array.from({ length: d }, (_, c) =>
          seen.reduce((sum, j, n) => sum + (weight[n]! / total) * v[j]![group]![c]!, 0),
        );
      });
      const post = norm(`${b}post_attention_norm`, times(`${b}attn_output`, att));
      return row.map((value, i) => value + post[i]!);
    });
    x = x.map((row) => {
      const n = norm(`${b}ffn_norm`, row);
      const up = times(`${b}ffn_up`, n);
      const gated = times(`${b}ffn_gate`, n).map((g, i) => {
        const tangent = Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3));
        return 0.5 * g * (1 + tangent) * up[i]!;
      });
      const post = norm(`${b}post_ffw_norm`, times(`${b}ffn_down`, gated));
      return row.map((value, i) => value + post[i]!);
    });
  }
  return x.map((row) =>
    times('token_embd', norm('output_norm', row)).map((logit) =>
      h.final_softcap > 0 ? h.final_softcap * Math.tanh(logit / h.final_softcap) : logit,
    ),
  );
}

function expectClose(rows: readonly Float64Array[], expected: readonly (readonly number[])[]): void {
  expect(rows).toHaveLength(expected.length);
  rows.forEach((row, t) => {
    expect(row).toHaveLength(N_VOCAB);
    row.forEach((value, i) => {
      expect(Math.abs(value - expected[t]![i]!)).toBeLessThan(1e-12 * (1 + Math.abs(value)));
    });
  });
}

const SHAPES = [
  { n_layer: 2 },
  { n_layer: 1 },
  { n_layer: 3, swa_period: 3, n_swa: 1 },
  { n_layer: 2, swa_period: 1 },
  { final_softcap: 0, attn_softcap: 0 },
];

describe.each(['gemma2', 'gemma3'] as const)('%s', (arch) => {
  it.each(SHAPES)('is the formula: %j', (shape) => {
    const model = microGemma(arch, 3, shape);
    expectClose(logits(model, entriesOf(TOKENS)), plainGemma(model, TOKENS));
  });

  it('counts a window by positions, not by keys, after a removal inside', () => {
    const model = microGemma(arch, 4, { n_layer: 1, n_swa: 3, swa_period: 2 });
    const sequences = new Sequences(1);
    decode(sequences, [1, 2, 3, 4, 5]);
    sequences.seqRm(0, 2, 4);
    // One layer: keys and values depend on nothing but token and position.
    const answer = logits(model, decode(sequences, [0, 1]));
    const expected = plainGemma(model, [1, 2, 5, 0, 1], [0, 1, 4, 5, 6]);
    expectClose(answer, expected.slice(3));
  });

  it('every part of the formula is felt', () => {
    const base = microGemma(arch, 5);
    const row = logits(base, entriesOf(TOKENS)).at(-1)!;
    const changed = (change: Partial<Gemma>) => {
      const model = { ...base, hparams: { ...base.hparams, ...change } as Gemma };
      const moved = logits(model, entriesOf(TOKENS)).at(-1)!;
      return Math.max(...row.map((v, i) => Math.abs(v - moved[i]!)));
    };
    const changes: Partial<Gemma>[] = [
      { n_swa: 4 },
      { n_swa: 2 },
      { windowed: [false, false] },
      { rope_freq_base: 90 },
      { rope_freq_base_swa: 90 },
      { score_divisor: 3 },
      { attn_softcap: 1 },
      { final_softcap: 3 },
      { norm_rms_eps: 0.1 },
    ];
    for (const change of changes) expect(changed(change), JSON.stringify(change)).toBeGreaterThan(1e-6);
  });
});

import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model } from '../model/types.ts';
import { completeBatch } from './batch.ts';
import { type Entry, Sequences } from './entries.ts';
import { logits } from './forward.ts';
import { roundToHalf } from './half.ts';
import {
  microLlama,
  microMamba,
  microMamba2,
  microRwkv6,
  microRwkv7,
  randomBatch,
  seeded,
} from './testing.ts';
import {
  dot,
  entriesOf,
  expectClose,
  normalized,
  type Rows,
  rowsOf,
  sigmoid,
  times,
} from './testing-plain.ts';

/** The two experts with the largest logits, as shares of both; of a stack of matrices each is one part of the rows. */
function mixed(logits: number[], ffn: (kind: string, of: (rows: Rows) => Rows) => number[]): number[] {
  const best = [...logits].sort((a, b) => b - a).slice(0, 2);
  const total = best.reduce((sum, l) => sum + Math.exp(l), 0);
  const parts = best.map((l) => {
    const [e, count] = [logits.indexOf(l), logits.length];
    const own = (rows: Rows) => rows.slice((e * rows.length) / count, ((e + 1) * rows.length) / count);
    return ffn('_exps', own).map((y) => (y * Math.exp(l)) / total);
  });
  return parts[0]!.map((y, i) => y + parts[1]![i]!);
}

function plainLlama(model: Model, tokens: readonly number[], keep = (x: number) => x): Rows {
  const { norm_rms_eps: eps, n_expert } = model.hparams as HparamsOf<'llama'>;
  const w = (name: string) => rowsOf(model, name);
  const norm = (x: number[], name: string) => normalized(x, eps).map((v, i) => v * w(name)[0]![i]!);
  let h = tokens.map((token) => w('token_embd.weight')[token]!);
  for (let il = 0; il < model.hparams.n_layer; il++) {
    const b = `blk.${il}.`;
    // heads of two channels: a head is one complex number, turned by half a radian a position (base 100, n_rot 2,
    // frequency 100^0 = 1, scale 0.5)
    const turned = ([re, im]: number[], p: number) => [
      re! * Math.cos(p / 2) - im! * Math.sin(p / 2),
      re! * Math.sin(p / 2) + im! * Math.cos(p / 2),
    ];
    const a = h.map((x) => norm(x, `${b}attn_norm.weight`));
    const pairs = (x: number[]) => x.flatMap((_, i) => (i % 2 === 0 ? [x.slice(i, i + 2)] : []));
    const q = a.map((x, p) => pairs(times(w(`${b}attn_q.weight`), x)).map((head) => turned(head, p)));
    const k = a.map((x, p) =>
      pairs(times(w(`${b}attn_k.weight`), x)).map((head) => turned(head, p).map(keep)),
    );
    const v = a.map((x) => pairs(times(w(`${b}attn_v.weight`), x).map(keep)));
    h = h.map((x, p) => {
      // heads 0 and 1 use the first K and V head, 2 and 3 the second
      const heads = q[p]!.flatMap((head, i) => {
        const kv = i < 2 ? 0 : 1;
        const e = k.slice(0, p + 1).map((key) => Math.exp(dot(head, key[kv]!) / Math.SQRT2));
        const sum = e.reduce((s, y) => s + y, 0);
        return [0, 1].map((c) => e.reduce((s, y, j) => s + (y / sum) * v[j]![kv]![c]!, 0));
      });
      const mid = x.map((xi, i) => xi + times(w(`${b}attn_output.weight`), heads)[i]!);
      const n = norm(mid, `${b}ffn_norm.weight`);
      const ffn = (kind: string, of: (rows: Rows) => Rows) => {
        const gate = times(of(w(`${b}ffn_gate${kind}.weight`)), n);
        const up = times(of(w(`${b}ffn_up${kind}.weight`)), n);
        const inner = gate.map((g, i) => g * sigmoid(g) * up[i]!);
        return times(of(w(`${b}ffn_down${kind}.weight`)), inner);
      };
      const down =
        n_expert > 0 ? mixed(times(w(`${b}ffn_gate_inp.weight`), n), ffn) : ffn('', (rows) => rows);
      return mid.map((xi, i) => xi + down[i]!);
    });
  }
  const output = model.tensors.has('output.weight') ? 'output.weight' : 'token_embd.weight';
  return h.map((x) => times(w(output), norm(x, 'output_norm.weight')));
}

function plainMamba(model: Model, tokens: readonly number[]): Rows {
  const { norm_rms_eps: eps, dt_b_c_rms } = model.hparams as HparamsOf<'mamba'>;
  const w = (name: string) => rowsOf(model, name);
  const norm = (x: number[], name: string) => normalized(x, eps).map((v, i) => v * w(name)[0]![i]!);
  const maybe = (x: number[]) => (dt_b_c_rms ? normalized(x, eps) : x);
  let h = tokens.map((token) => w('token_embd.weight')[token]!);
  for (let il = 0; il < model.hparams.n_layer; il++) {
    const b = `blk.${il}.`;
    const xz = h.map((x) => times(w(`${b}ssm_in.weight`), norm(x, `${b}attn_norm.weight`)));
    const convolved = xz.map((_, t) =>
      w(`${b}ssm_conv1d.weight`).map((kernel, c) => {
        const past = (d: number) => xz[t - d]?.[c] ?? 0;
        const sum = kernel[0]! * past(2) + kernel[1]! * past(1) + kernel[2]! * past(0);
        const biased = sum + w(`${b}ssm_conv1d.bias`)[0]![c]!;
        return biased * sigmoid(biased);
      }),
    );
    const parts = convolved.map((x) => {
      const all = times(w(`${b}ssm_x.weight`), x);
      const dt = times(w(`${b}ssm_dt.weight`), maybe(all.slice(0, 2)));
      return {
        delta: dt.map((d, c) => Math.log(1 + Math.exp(d + w(`${b}ssm_dt.bias`)[0]![c]!))),
        B: maybe(all.slice(2, 5)),
        C: maybe(all.slice(5, 8)),
      };
    });
    // The state in closed form: a sum over all earlier tokens, each decayed by what came after it.
    h = h.map((x, t) => {
      const y = Array.from({ length: 8 }, (_, c) => {
        let sum = w(`${b}ssm_d`)[0]![c]! * convolved[t]![c]!;
        for (let n = 0; n < 3; n++) {
          for (let j = 0; j <= t; j++) {
            let elapsed = 0;
            for (let i = j + 1; i <= t; i++) {
              elapsed += parts[i]!.delta[c]!;
            }
            const decay = Math.exp(elapsed * w(`${b}ssm_a`)[c]![n]!);
            sum += decay * parts[j]!.B[n]! * parts[j]!.delta[c]! * convolved[j]![c]! * parts[t]!.C[n]!;
          }
        }
        const z = xz[t]![8 + c]!;
        return sum * z * sigmoid(z);
      });
      return x.map((xi, i) => xi + times(w(`${b}ssm_out.weight`), y)[i]!);
    });
  }
  return h.map((x) => times(w('token_embd.weight'), norm(x, 'output_norm.weight')));
}

/**
 * Written as attention without softmax: token t takes x of token j as much as C_t meets B_j, decayed by what came
 * between. Heads 0 and 1, 2 and 3 share a group if there are two; each has a group of its own if there are four.
 */
function plainMamba2(model: Model, tokens: readonly number[]): Rows {
  const { norm_rms_eps: eps, n_group: G } = model.hparams as HparamsOf<'mamba2'>;
  const w = (name: string) => rowsOf(model, name);
  const norm = (x: number[], name: string) => normalized(x, eps).map((v, i) => v * w(name)[0]![i]!);
  const silu = (x: number) => x * sigmoid(x);
  const groupOf = { 1: [0, 0, 0, 0], 2: [0, 0, 1, 1], 4: [0, 1, 2, 3] }[G]!;
  let h = tokens.map((token) => w('token_embd.weight')[token]!);
  for (let il = 0; il < model.hparams.n_layer; il++) {
    const b = `blk.${il}.`;
    const p = h.map((x) => times(w(`${b}ssm_in.weight`), norm(x, `${b}attn_norm.weight`)));
    const past = (t: number, c: number) => p[t]?.[8 + c] ?? 0;
    const convolved = p.map((_, t) =>
      w(`${b}ssm_conv1d.weight`).map((kernel, c) =>
        silu(
          kernel[0]! * past(t - 2, c) +
            kernel[1]! * past(t - 1, c) +
            kernel[2]! * past(t, c) +
            w(`${b}ssm_conv1d.bias`)[0]![c]!,
        ),
      ),
    );
    const delta = p.map((row) =>
      row.slice(-4).map((dt, head) => Math.log(1 + Math.exp(dt + w(`${b}ssm_dt.bias`)[0]![head]!))),
    );
    const B = convolved.map((row) => groupOf.map((g) => row.slice(8 + 3 * g, 11 + 3 * g)));
    const C = convolved.map((row) => groupOf.map((g) => row.slice(8 + 3 * (G + g), 11 + 3 * (G + g))));
    h = h.map((x, t) => {
      const gated = [0, 1, 2, 3].flatMap((head) => {
        const a = w(`${b}ssm_a`).flat()[head]!;
        const weights = tokens.slice(0, t + 1).map((_, j) => {
          const between = delta.slice(j + 1, t + 1).reduce((sum, d) => sum + d[head]!, 0);
          return Math.exp(a * between) * dot(C[t]![head]!, B[j]![head]!) * delta[j]![head]!;
        });
        return [2 * head, 2 * head + 1].map((c) => {
          const y = weights.reduce((sum, weight, j) => sum + weight * convolved[j]![c]!, 0);
          return (y + w(`${b}ssm_d`).flat()[head]! * convolved[t]![c]!) * silu(p[t]![c]!);
        });
      });
      const normed = w(`${b}ssm_norm.weight`).flatMap((weights, g) =>
        normalized(gated.slice((g * 8) / G, ((g + 1) * 8) / G), eps).map((v, i) => v * weights[i]!),
      );
      return x.map((xi, i) => xi + times(w(`${b}ssm_out.weight`), normed)[i]!);
    });
  }
  return h.map((x) => times(w('token_embd.weight'), norm(x, 'output_norm.weight')));
}

const tokens = [3, 0, 5, 5, 1, 2, 4];

describe('llama', () => {
  it.each([
    { n_layer: 1, tied: false },
    { n_layer: 1, tied: true },
    { n_layer: 2, tied: true },
    { n_layer: 1, tied: false, n_expert: 2 },
    { n_layer: 2, tied: true, n_expert: 5 },
  ])('is the formula: %j', (shape) => {
    const model = microLlama(3, shape);
    expectClose(logits(model, entriesOf(tokens)), plainLlama(model, tokens));
  });

  it('rounds K and V to F16 if asked', () => {
    const model = microLlama(4, { n_layer: 2 });
    const half = logits(model, entriesOf(tokens), { type_kv: 'F16' });
    expectClose(half, plainLlama(model, tokens, roundToHalf));
    expect(half).not.toEqual(logits(model, entriesOf(tokens), { type_kv: 'F32' }));
  });

  it('says when K or V does not fit F16', () => {
    const model = microLlama();
    const wv = model.tensors.get('blk.0.attn_v.weight')!;
    wv.data.fill(1e6);
    expect(() => logits(model, entriesOf([1]), { type_kv: 'F16' })).toThrow(
      expect.objectContaining({ kind: 'memory.overflow', message: expect.stringContaining('V of layer 0') }),
    );
    expect(logits(model, entriesOf([1]))[0]!.every(Number.isFinite)).toBe(true);
  });

  it('goes on from kept entries after a removal in the middle', () => {
    const model = microLlama(5, { n_layer: 2 });
    const sequences = new Sequences(1);
    const decode = (token: number[]) =>
      sequences.decode(completeBatch({ token }, sequences, { n_vocab: 6, n_batch: 8, n_seq_max: 1 }));
    decode([1, 2, 3, 4]);
    const fourth = sequences.list(0)[3]!;
    sequences.seqRm(0, 1, 3);
    const [next] = decode([5]);
    // what was kept was computed when 2 and 3 were still there
    expectClose(logits(model, [fourth]), [plainLlama(model, [1, 2, 3, 4])[3]!]);
    const [answer] = logits(model, [next!]);
    const replayed = logits(model, entriesOf([1, 4, 5])).at(-1)!;
    expect(Math.max(...answer!.map((value, i) => Math.abs(value - replayed[i]!)))).toBeGreaterThan(1e-3);
  });

  it('turns what is moved: only distances matter', () => {
    const model = microLlama();
    const limits = { n_vocab: 6, n_batch: 8, n_seq_max: 2 };
    const sequences = new Sequences(2);
    const decode = (seq: number, token: number[]) =>
      sequences.decode(completeBatch({ token, seq_id: token.map(() => [seq]) }, sequences, limits));
    decode(0, [1, 2, 3]);
    sequences.seqCp(0, 1, 0, -1);
    const [stayed] = decode(0, [4]);
    sequences.seqAdd(1, 0, -1, 7);
    sequences.seqAdd(1, 0, -1, -2);
    const [moved] = decode(1, [4]);
    expect([stayed!.pos, moved!.pos]).toEqual([3, 8]);
    const [there, here] = logits(model, [moved!, stayed!]);
    expectClose([there!], [[...here!]]);
    // A part that moves changes distances.
    sequences.seqAdd(1, 7, -1, 1);
    const [apart] = logits(model, decode(1, [5]));
    const [next] = logits(model, decode(0, [5]));
    expect(Math.max(...apart!.map((x, i) => Math.abs(x - next![i]!)))).toBeGreaterThan(1e-3);
  });

  it('after a middle was removed and the rest moved down, sees the distances that are left', () => {
    const model = microLlama(1, { n_layer: 1 });
    const limits = { n_vocab: 6, n_batch: 8, n_seq_max: 1 };
    const sequences = new Sequences(1);
    const decode = (token: number[]) => sequences.decode(completeBatch({ token }, sequences, limits));
    // With one layer, what keys and values are made of does not depend on what was seen.
    decode([1, 2, 3, 4]);
    sequences.seqRm(0, 1, 3);
    sequences.seqAdd(0, 3, -1, -2);
    const [last] = decode([5]);
    expectClose(logits(model, [last!]), [plainLlama(model, [1, 4, 5])[2]!]);
  });
});

describe('mamba', () => {
  it.each([
    { n_layer: 1, dt_b_c_rms: false },
    { n_layer: 1, dt_b_c_rms: true },
    { n_layer: 2, dt_b_c_rms: false },
  ])('is the formula: %j', (shape) => {
    const model = microMamba(7, shape);
    expectClose(logits(model, entriesOf(tokens)), plainMamba(model, tokens));
  });

  it('refuses a history that no recurrence has', () => {
    const sequences = new Sequences(1);
    sequences.decode(
      completeBatch({ token: [1, 2, 3] }, sequences, { n_vocab: 6, n_batch: 8, n_seq_max: 1 }),
    );
    sequences.seqRm(0, 0, 1);
    const next = sequences.decode(
      completeBatch({ token: [4] }, sequences, { n_vocab: 6, n_batch: 8, n_seq_max: 1 }),
    );
    expect(() => logits(microMamba(), next)).toThrow(expect.objectContaining({ kind: 'internal' }));
  });
});

describe('mamba2', () => {
  it.each([
    { n_layer: 1, n_group: 1 },
    { n_layer: 1, n_group: 2 },
    { n_layer: 1, n_group: 4 },
    { n_layer: 2, n_group: 2 },
  ])('is the formula: %j', (shape) => {
    const model = microMamba2(7, shape);
    expectClose(logits(model, entriesOf(tokens)), plainMamba2(model, tokens));
  });
});

describe.each([
  ['llama', microLlama(11, { n_layer: 2 })],
  ['llama with experts', microLlama(11, { n_layer: 2, n_expert: 5 })],
  ['mamba', microMamba(11, { n_layer: 2 })],
  ['mamba2', microMamba2(11, { n_layer: 2 })],
  ['rwkv6', microRwkv6(11, { n_layer: 2, rescale_every: 1 })],
  ['rwkv7', microRwkv7(11, { n_layer: 2 })],
])('%s', (_, model) => {
  it('says in any history of batches what each list says alone', () => {
    let compared = 0;
    for (let seed = 0; seed < 15; seed++) {
      const random = seeded(seed);
      const sequences = new Sequences(4);
      for (let call = 0; call < 3; call++) {
        const seq = random(4);
        sequences.seqRm(seq, 0, -1);
        sequences.seqCp((seq + 1) % 4, seq, 0, -1);
        const shape = { n_tokens: 1 + random(12), n_seq_max: 4, n_vocab: 6, shared: 40 };
        const batch = randomBatch(random, sequences, shape);
        const together = logits(model, sequences.decode(batch));
        batch.seq_id.forEach((ids, i) => {
          for (const id of ids) {
            const list = sequences.list(id).filter((entry) => entry.pos <= batch.pos[i]!);
            const alone = logits(model, entriesOf(list.map((entry) => entry.token))).at(-1);
            expect(alone).toEqual(together[i]);
            compared += 1;
          }
        });
      }
    }
    expect(compared).toBeGreaterThan(300);
  });

  it('has last logits that depend on the first token', () => {
    const last = (first: number) => logits(model, entriesOf([first, 1, 2, 3])).at(-1);
    expect(last(0)).not.toEqual(last(5));
  });

  it('names a missing tensor, an unknown one, and a token outside the vocabulary', () => {
    const without = new Map(model.tensors);
    without.delete('output_norm.weight');
    expect(() => logits({ ...model, tensors: without }, entriesOf([1]))).toThrow(
      'output_norm.weight is missing',
    );
    const extra = new Map(model.tensors).set('rope_freqs.weight', {
      name: 'rope_freqs.weight',
      ne: [1],
      type: 'F32',
      data: new Float32Array(1),
    });
    expect(() => logits({ ...model, tensors: extra }, entriesOf([1]))).toThrow(
      expect.objectContaining({ kind: 'model', message: expect.stringContaining('rope_freqs.weight') }),
    );
    const saw: Entry[] = [];
    const alien: Entry = { token: 6, pos_eval: 0, pos: 0, saw };
    saw.push(alien);
    expect(() => logits(model, [alien])).toThrow(expect.objectContaining({ kind: 'batch.token' }));
  });
});

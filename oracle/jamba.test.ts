import { describe, expect, it } from 'vitest';
import type { HparamsOf, Model, Tensor } from '../model/types.ts';
import { completeBatch } from './batch.ts';
import { Sequences } from './entries.ts';
import { logits } from './forward.ts';
import { modelOf, randomTensor, seeded } from './testing.ts';
import {
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

/** Four heads of one channel, d_inner 8, d_state 3, dt_rank 2, d_conv 3, vocabulary 6, tied output. */
function microJamba(seed: number, n_head_kv: readonly number[], n_expert = 0): Model {
  const random = seeded(seed);
  const tensors: [string, Tensor][] = [];
  const tensor = (name: string, ...ne: number[]) => {
    const [, made] = randomTensor(random, name, ne);
    tensors.push([name, made]);
    return made.data;
  };
  tensor('token_embd.weight', 4, 6);
  tensor('output_norm.weight', 4);
  n_head_kv.forEach((n, il) => {
    const blk = `blk.${il}`;
    tensor(`${blk}.attn_norm.weight`, 4);
    tensor(`${blk}.ffn_norm.weight`, 4);
    const routed = n_expert > 0 && il % 2 === 0;
    const [kind, count] = routed ? ['_exps', [n_expert]] : ['', []];
    if (routed) tensor(`${blk}.ffn_gate_inp.weight`, 4, n_expert);
    tensor(`${blk}.ffn_gate${kind}.weight`, 4, 5, ...count);
    tensor(`${blk}.ffn_up${kind}.weight`, 4, 5, ...count);
    tensor(`${blk}.ffn_down${kind}.weight`, 5, 4, ...count);
    if (n > 0) {
      for (const name of ['attn_q', 'attn_output']) tensor(`${blk}.${name}.weight`, 4, 4);
      for (const name of ['attn_k', 'attn_v']) tensor(`${blk}.${name}.weight`, 4, n);
      return;
    }
    tensor(`${blk}.ssm_in.weight`, 4, 16);
    tensor(`${blk}.ssm_conv1d.weight`, 3, 8);
    tensor(`${blk}.ssm_conv1d.bias`, 8);
    tensor(`${blk}.ssm_x.weight`, 8, 8);
    tensor(`${blk}.ssm_dt.weight`, 2, 8);
    tensor(`${blk}.ssm_dt.bias`, 8);
    tensor(`${blk}.ssm_d`, 8);
    tensor(`${blk}.ssm_out.weight`, 8, 4);
    tensor(`${blk}.ssm_dt_norm.weight`, 2);
    tensor(`${blk}.ssm_b_norm.weight`, 3);
    tensor(`${blk}.ssm_c_norm.weight`, 3);
    const a = tensor(`${blk}.ssm_a`, 3, 8);
    a.forEach((value, i) => {
      a[i] = -Math.abs(value) - 0.1;
    });
  });
  const shape = { n_vocab: 6, n_embd: 4, n_layer: n_head_kv.length, n_ctx_train: 64, norm_rms_eps: 1e-5 };
  const heads = { n_head: 4, n_head_kv, n_embd_head: 1, n_ff: 5 };
  const mixer = { d_conv: 3, d_inner: 8, d_state: 3, dt_rank: 2 };
  const has_experts = n_head_kv.map((_, il) => n_expert > 0 && il % 2 === 0);
  const experts = { n_expert, n_expert_used: Math.min(n_expert, 2), has_experts };
  return modelOf({ arch: 'jamba', ...shape, ...heads, ...mixer, ...experts }, tensors);
}

const silu = (x: number) => x * sigmoid(x);

// Written apart from the oracle, on nested arrays and whole sequences, to be its check.
function plainJamba(model: Model, tokens: readonly number[]): Rows {
  const { norm_rms_eps: eps, n_head_kv } = model.hparams as HparamsOf<'jamba'>;
  const normed = (x: number[], name: string) =>
    normalized(x, eps).map((v, i) => v * rowsOf(model, name)[0]![i]!);
  let h = tokens.map((token) => rowsOf(model, 'token_embd.weight')[token]!);
  n_head_kv.forEach((kv, il) => {
    const w = (name: string) => rowsOf(model, `blk.${il}.${name}`);
    const u = h.map((x) => normed(x, `blk.${il}.attn_norm.weight`));
    const m = kv > 0 ? attended(w, u, kv) : mixed(w, u, (x, name) => normed(x, `blk.${il}.${name}`));
    h = h.map((x, t) => {
      const mid = x.map((xi, i) => xi + m[t]![i]!);
      const n = normed(mid, `blk.${il}.ffn_norm.weight`);
      return plus(mid, fed(model, il, w, n));
    });
  });
  return h.map((x) => times(rowsOf(model, 'token_embd.weight'), normed(x, 'output_norm.weight')));
}

/** One net, or the two experts with the largest logits, each times its share among all experts. */
function fed(model: Model, il: number, w: (name: string) => Rows, n: number[]): number[] {
  const { has_experts } = model.hparams as HparamsOf<'jamba'>;
  const net = (kind: string, of: (rows: Rows) => Rows): number[] => {
    const [gate, up, down] = ['gate', 'up', 'down'].map((name) => of(w(`ffn_${name}${kind}.weight`)));
    const inner = times(up!, n);
    return times(
      down!,
      times(gate!, n).map((g, i) => silu(g) * inner[i]!),
    );
  };
  if (!has_experts[il]) return net('', (rows) => rows);
  const e = times(w('ffn_gate_inp.weight'), n).map(Math.exp);
  const total = e.reduce((sum, x) => sum + x, 0);
  const best = [...e.keys()].sort((i, j) => e[j]! - e[i]!).slice(0, 2);
  const parts = best.map((i) => {
    const own = (rows: Rows) => rows.slice((i * rows.length) / e.length, ((i + 1) * rows.length) / e.length);
    return net('_exps', own).map((y) => (y * e[i]!) / total);
  });
  return plus(parts[0]!, parts[1]!);
}

/** Heads of one channel, so a score is a product of two numbers; nothing turns and nothing is scaled. */
function attended(w: (name: string) => Rows, u: Rows, kv: number): Rows {
  const [q, k, v] = ['attn_q', 'attn_k', 'attn_v'].map((name) => u.map((x) => times(w(`${name}.weight`), x)));
  return u.map((_, t) => {
    const heads = [0, 1, 2, 3].map((head) => {
      const at = Math.floor((head * kv) / 4);
      const e = k!.slice(0, t + 1).map((key) => Math.exp(q![t]![head]! * key[at]!));
      return (
        dot(
          e,
          v!.slice(0, t + 1).map((value) => value[at]!),
        ) / e.reduce((sum, x) => sum + x, 0)
      );
    });
    return times(w('attn_output.weight'), heads);
  });
}

/** The state in closed form: a sum over all earlier tokens, each decayed by what came after it. */
function mixed(w: (name: string) => Rows, u: Rows, normed: (x: number[], name: string) => number[]): Rows {
  const xz = u.map((x) => times(w('ssm_in.weight'), x));
  const x = xz.map((_, t) =>
    w('ssm_conv1d.weight').map((kernel, c) => {
      const taps = kernel.map((tap, j) => tap * (xz[t - 2 + j]?.[c] ?? 0));
      return silu(taps.reduce((sum, tap) => sum + tap, 0) + w('ssm_conv1d.bias')[0]![c]!);
    }),
  );
  const parts = x.map((row) => {
    const all = times(w('ssm_x.weight'), row);
    const dt = times(w('ssm_dt.weight'), normed(all.slice(0, 2), 'ssm_dt_norm.weight'));
    return {
      delta: dt.map((d, c) => Math.log(1 + Math.exp(d + w('ssm_dt.bias')[0]![c]!))),
      B: normed(all.slice(2, 5), 'ssm_b_norm.weight'),
      C: normed(all.slice(5, 8), 'ssm_c_norm.weight'),
    };
  });
  return x.map((row, t) => {
    const y = row.map((skip, c) => {
      let sum = w('ssm_d')[0]![c]! * skip;
      for (let j = 0; j <= t; j++) {
        const elapsed = parts.slice(j + 1, t + 1).reduce((all, { delta }) => all + delta[c]!, 0);
        const decayed = parts[j]!.B.map((b, n) => Math.exp(elapsed * w('ssm_a')[c]![n]!) * b);
        sum += dot(decayed, parts[t]!.C) * parts[j]!.delta[c]! * x[j]![c]!;
      }
      return sum * silu(xz[t]![8 + c]!);
    });
    return times(w('ssm_out.weight'), y);
  });
}

describe('jamba', () => {
  const tokens = [3, 0, 5, 5, 1, 2, 4];

  it.each([[[0]], [[2]], [[0, 2]], [[4, 0]], [[0, 1, 0, 2]]])('is the formula: heads %j', (n_head_kv) => {
    const model = microJamba(5, n_head_kv);
    expectClose(logits(model, entriesOf(tokens)), plainJamba(model, tokens));
  });

  it('is the formula with experts, whose weights do not sum to 1', () => {
    for (const seed of [5, 6, 7]) {
      const model = microJamba(seed, [0, 2, 0], 4);
      expectClose(logits(model, entriesOf(tokens)), plainJamba(model, tokens));
    }
  });

  it('refuses a history that no recurrence has', () => {
    const sequences = new Sequences(1);
    const decode = (token: number[]) =>
      sequences.decode(completeBatch({ token }, sequences, { n_vocab: 6, n_batch: 8, n_seq_max: 1 }));
    decode([1, 2, 3]);
    sequences.seqRm(0, 0, 1);
    const next = decode([4]);
    expect(() => logits(microJamba(1, [2, 0]), next)).toThrow(expect.objectContaining({ kind: 'internal' }));
  });
});

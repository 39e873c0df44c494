/**
 * llama4 over lists of entries. A layer with chunks shows a query the entries that lie in its own chunk (spec: batching.md
 * 6.2). Layers that turn q and k norm them afterwards, head by head, without weights; the others multiply q by a
 * temperature that grows with the position. An expert gets its input multiplied by the sigmoid of its logit, and what it
 * gives is added as it is, beside one net for all tokens.
 */
import type { HparamsOf } from '../../model/types.ts';
import type { Entry } from '../entries.ts';
import { swaMasked } from '../mask.ts';
import { temperatureAt } from '../temperature.ts';
import {
  attended,
  embedded,
  feedForward,
  linear,
  outputs,
  type Pass,
  rmsNorm,
  type Seen,
  sawPlaces,
} from './parts.ts';

type Hparams = HparamsOf<'llama4'>;

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const eps = hparams.norm_rms_eps;
  const saw = sawPlaces(pass);
  const sawChunk = pass.order.map((entry, t) =>
    saw[t]!.filter((_, j) => inChunk(hparams, entry, entry.saw[j]!)),
  );
  let h = embedded(pass);
  for (let il = 0; il < hparams.n_layer; il++) {
    h = attention(pass, hparams, il, h, hparams.chunked[il] ? sawChunk : saw);
    const net = hparams.routed[il] ? experts(pass, hparams, il) : undefined;
    h = feedForward(pass, il, h, eps, net);
  }
  return outputs(pass, h, rmsNorm(pass, 'output_norm', eps));
}

/** Positions as they stood when the query was evaluated. */
function inChunk({ n_chunk }: Hparams, query: Entry, key: Entry): boolean {
  return n_chunk === 0 || !swaMasked('chunked', n_chunk, key.pos, query.pos_eval);
}

/** h + Wo * attention(q, k, Wv a), a = RMSNorm(h). */
function attention<R>(
  pass: Pass<R>,
  hparams: Hparams,
  il: number,
  h: readonly R[],
  saw: readonly (readonly Seen[])[],
): R[] {
  const { ops, order } = pass;
  const blk = `blk.${il}`;
  const { n_head, n_head_kv, norm_rms_eps: eps } = hparams;
  const [wq, wk, wv, wo] = ['q', 'k', 'v', 'output'].map((name) => linear(pass, `${blk}.attn_${name}`));
  const a = h.map(rmsNorm(pass, `${blk}.attn_norm`, eps));
  const turns = hparams.turned[il]!;
  const shape = {
    n_embd_head: hparams.n_embd_head,
    n_rot: hparams.n_rot,
    freq_base: hparams.chunked[il] ? hparams.rope_freq_base_swa : hparams.rope_freq_base,
    freq_scale: hparams.rope_freq_scale,
  };
  const turn = (x: R, by: number): R => ops.rope(x, by, shape);
  const normed = (x: R, heads: number, name: string): R =>
    hparams.norm_heads ? headsNormed(pass, x, heads, hparams, `${blk}.attn_${name}_norm`) : x;
  const q = a.map((x, t) => {
    const pos = order[t]!.pos_eval;
    if (turns) return normed(turn(wq!(x), pos), n_head, 'q');
    const factor = temperatureAt(hparams.temperature, pos);
    return factor === 1 ? wq!(x) : ops.scale(wq!(x), factor, `${blk}.attn_temperature`);
  });
  const k = a.map((x, t) => (turns ? normed(turn(wk!(x), order[t]!.pos_eval), n_head_kv, 'k') : wk!(x)));
  const v = a.map((x) => wv!(x));
  const o = attended(pass, il, { q, k, v, ...(turns ? { turn } : {}) }, saw, hparams);
  return h.map((x, t) => ops.add(x, wo!(o[t]!), `${blk}.attn_add`));
}

/** Each head divided by the root of its mean square. */
function headsNormed<R>({ ops }: Pass<R>, x: R, heads: number, hparams: Hparams, op: string): R {
  const { n_embd_head: d, norm_rms_eps: eps } = hparams;
  return ops.join(
    Array.from({ length: heads }, (_, j) =>
      ops.rmsNorm(ops.slice(x, j * d, (j + 1) * d), eps, undefined, op),
    ),
  );
}

/**
 * The list of net(n) + sum_e down_e(SiLU(gate_e n_e) * up_e n_e) with n_e = n sigmoid(logit_e), over the experts with the
 * largest logits.
 */
function experts<R>(pass: Pass<R>, { n_embd, n_expert_used }: Hparams, il: number): (n: R, t: number) => R {
  const { weights, ops, order } = pass;
  const blk = `blk.${il}`;
  const router = linear(pass, `${blk}.ffn_gate_inp`);
  const each = (name: string) => {
    const matrices = weights.matrices(`${blk}.${name}_exps.weight`);
    return (e: number, x: R) => ops.matVec(matrices[e]!, x, `${blk}.${name}_exps.${e}`);
  };
  const [gate, up, down] = ['ffn_gate', 'ffn_up', 'ffn_down'].map(each);
  const [all_gate, all_up, all_down] = ['gate', 'up', 'down'].map((name) =>
    linear(pass, `${blk}.ffn_${name}_shexp`),
  );
  const gated = (a: R, b: R, e: string): R =>
    ops.mul(ops.silu(a, `${blk}.ffn_silu.${e}`), b, `${blk}.ffn_mul.${e}`);
  return (n, t) => {
    const logits = router(n);
    const open = ops.apply('sigmoid', logits, `${blk}.ffn_sigmoid`);
    const expert = (e: number): R => {
      const by = ops.join(Array.from({ length: n_embd }, () => ops.slice(open, e, e + 1)));
      const x = ops.mul(n, by, `${blk}.ffn_open.${e}`);
      return down!(e, gated(gate!(e, x), up!(e, x), `${e}`));
    };
    const routed = ops.mixture(
      logits,
      n_expert_used,
      expert,
      { entry: order[t]!, il },
      `${blk}.ffn_moe`,
      'none',
    );
    const all = all_down!(gated(all_gate!(n), all_up!(n), 'all'));
    return ops.add(routed, all, `${blk}.ffn_experts`);
  };
}

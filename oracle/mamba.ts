/**
 * Mamba-1 over lists of entries, in float64 (spec: architectures.md 1). The state after an entry is one step of the
 * recurrence from the state after the entry before it; a list starts from the zero state. Positions play no part.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { MambaHparams, Model } from '../model/types.ts';
import { type Entry, evaluationOrder } from './entries.ts';
import { add, matVec, mul, rmsNorm, row, silu } from './math.ts';
import { ssmConv, ssmScan } from './ssm.ts';
import { Weights } from './weights.ts';

/** What a layer remembers after an entry. */
interface State {
  /** The last d_conv-1 columns of x, oldest first, each {d_inner}. */
  readonly conv: readonly Float64Array[];
  /** {d_state, d_inner} */
  readonly ssm: Float64Array;
}

/** Logits (n_vocab) of each entry. Throws `model`; `internal` for a list that no recurrence can have. */
export function logits(model: Model, entries: readonly Entry[]): Float64Array[] {
  const hparams = model.hparams as MambaHparams;
  const weights = new Weights(model);
  const order = evaluationOrder(entries);
  const place = new Map(order.map((entry, t) => [entry, t]));
  const before = order.map((entry) => place.get(predecessor(entry)!) ?? -1);

  const token_embd = weights.matrix('token_embd.weight');
  let h = order.map((entry) => row(token_embd, entry.token));
  for (let il = 0; il < hparams.n_layer; il++) {
    h = layer(h, before, weights, hparams, il);
  }
  const output_norm = weights.vector('output_norm.weight');
  const output = weights.has('output.weight') ? weights.matrix('output.weight') : token_embd;
  weights.allRead();
  return entries.map((entry) =>
    matVec(output, rmsNorm(h[place.get(entry)!]!, hparams.norm_rms_eps, output_norm)),
  );
}

function layer(
  h: readonly Float64Array[],
  before: readonly number[],
  weights: Weights,
  hparams: MambaHparams,
  il: number,
): Float64Array[] {
  const { d_conv, d_inner, d_state, dt_rank, norm_rms_eps } = hparams;
  const norm = weights.vector(`blk.${il}.attn_norm.weight`);
  const ssm_in = weights.matrix(`blk.${il}.ssm_in.weight`);
  const conv1d = weights.matrix(`blk.${il}.ssm_conv1d.weight`);
  const conv1d_bias = weights.vector(`blk.${il}.ssm_conv1d.bias`);
  const ssm_x = weights.matrix(`blk.${il}.ssm_x.weight`);
  const ssm_dt = weights.matrix(`blk.${il}.ssm_dt.weight`);
  const ssm_dt_bias = weights.vector(`blk.${il}.ssm_dt.bias`);
  const A = weights.matrix(`blk.${il}.ssm_a`);
  const D = weights.vector(`blk.${il}.ssm_d`);
  const ssm_out = weights.matrix(`blk.${il}.ssm_out.weight`);
  const normed = (v: Float64Array) => (hparams.dt_b_c_rms ? rmsNorm(v, norm_rms_eps) : v);

  const zero: State = {
    conv: Array.from({ length: d_conv - 1 }, () => new Float64Array(d_inner)),
    ssm: new Float64Array(d_state * d_inner),
  };
  const states: State[] = [];
  return h.map((ht, t) => {
    const previous = states[before[t]!] ?? zero;
    const xz = matVec(ssm_in, rmsNorm(ht, norm_rms_eps, norm));
    const z = xz.slice(d_inner);
    const columns = [...previous.conv, xz.slice(0, d_inner)];
    const x = add(ssmConv(columns, conv1d)[0]!, conv1d_bias).map(silu);
    const x_db = matVec(ssm_x, x);
    const dt = add(matVec(ssm_dt, normed(x_db.slice(0, dt_rank))), ssm_dt_bias);
    const B = normed(x_db.slice(dt_rank, dt_rank + d_state));
    const C = normed(x_db.slice(dt_rank + d_state));
    const scan = ssmScan(previous.ssm, A, [{ x, dt, B, C }]);
    states.push({ conv: columns.slice(1), ssm: scan.state });
    const y = add(scan.y[0]!, mul(D, x));
    return add(ht, matVec(ssm_out, mul(y, z.map(silu))));
  });
}

/** The entry after which this one was evaluated; none for the first of a list. */
function predecessor(entry: Entry): Entry | undefined {
  const previous = entry.saw.at(-2);
  const history = previous?.saw ?? [];
  if (history.length !== entry.saw.length - 1 || history.some((seen, i) => seen !== entry.saw[i])) {
    throw new IsobatchError(
      'internal',
      `the entry at position ${entry.pos_eval} does not continue the one before it; a recurrent state has no such history`,
      { pos: entry.pos_eval },
    );
  }
  return previous;
}

/**
 * Mamba-1 over lists of entries, (spec: architectures.md 1). The state after an entry is one step of the
 * recurrence from the state after the entry before it; a list starts from the zero state. Positions play no part.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { MambaHparams, Model } from '../model/types.ts';
import { type Entry, evaluationOrder } from './entries.ts';
import type { Operators } from './operators.ts';
import { Weights } from './weights.ts';

/** What a layer remembers after an entry. */
interface State<R> {
  /** The last d_conv-1 columns of x, oldest first, each {d_inner}. */
  readonly conv: readonly R[];
  /** {d_state, d_inner} */
  readonly ssm: R;
}

/**
 * Logits (n_vocab) of each entry, or the embedding (n_embd) that they are made of. Throws `model`; `internal` for a
 * list that no recurrence can have.
 */
export function rows<R>(
  model: Model,
  entries: readonly Entry[],
  ops: Operators<R>,
  embeddings: boolean,
): R[] {
  const hparams = model.hparams as MambaHparams;
  const weights = new Weights(model);
  const order = evaluationOrder(entries);
  const place = new Map(order.map((entry, t) => [entry, t]));
  const before = order.map((entry) => place.get(predecessor(entry)!) ?? -1);

  const token_embd = weights.matrix('token_embd.weight');
  let h = order.map((entry) => ops.row(token_embd, entry.token));
  for (let il = 0; il < hparams.n_layer; il++) {
    h = layer(h, before, weights, hparams, il, ops);
  }
  const output_norm = weights.vector('output_norm.weight');
  const output = weights.has('output.weight') ? weights.matrix('output.weight') : token_embd;
  weights.allRead();
  return entries.map((entry) => {
    const last = ops.rmsNorm(h[place.get(entry)!]!, hparams.norm_rms_eps, output_norm, 'output_norm');
    return embeddings ? last : ops.matVec(output, last, 'output');
  });
}

function layer<R>(
  h: readonly R[],
  before: readonly number[],
  weights: Weights,
  hparams: MambaHparams,
  il: number,
  ops: Operators<R>,
): R[] {
  const { d_conv, d_inner, d_state, dt_rank, norm_rms_eps } = hparams;
  const blk = `blk.${il}`;
  const norm = weights.vector(`${blk}.attn_norm.weight`);
  const ssm_in = weights.matrix(`${blk}.ssm_in.weight`);
  const conv1d = weights.matrix(`${blk}.ssm_conv1d.weight`);
  const conv1d_bias = ops.constant(weights.vector(`${blk}.ssm_conv1d.bias`));
  const ssm_x = weights.matrix(`${blk}.ssm_x.weight`);
  const ssm_dt = weights.matrix(`${blk}.ssm_dt.weight`);
  const ssm_dt_bias = ops.constant(weights.vector(`${blk}.ssm_dt.bias`));
  const A = weights.matrix(`${blk}.ssm_a`);
  const D = ops.constant(weights.vector(`${blk}.ssm_d`));
  const ssm_out = weights.matrix(`${blk}.ssm_out.weight`);
  const normed = (v: R, op: string) =>
    hparams.dt_b_c_rms ? ops.rmsNorm(v, norm_rms_eps, undefined, `${blk}.${op}`) : v;

  const zero: State<R> = {
    conv: Array.from({ length: d_conv - 1 }, () => ops.zeros(d_inner)),
    ssm: ops.zeros(d_state * d_inner),
  };
  const states: State<R>[] = [];
  return h.map((ht, t) => {
    const previous = states[before[t]!] ?? zero;
    const xz = ops.matVec(ssm_in, ops.rmsNorm(ht, norm_rms_eps, norm, `${blk}.attn_norm`), `${blk}.ssm_in`);
    const z = ops.slice(xz, d_inner);
    const columns = [...previous.conv, ops.slice(xz, 0, d_inner)];
    const convolved = ops.add(ops.ssmConv(columns, conv1d, `${blk}.conv`), conv1d_bias, `${blk}.conv_bias`);
    const x = ops.silu(convolved, `${blk}.conv_silu`);
    const x_db = ops.matVec(ssm_x, x, `${blk}.ssm_x`);
    const dt_low = normed(ops.slice(x_db, 0, dt_rank), 'dt_norm');
    const dt = ops.add(ops.matVec(ssm_dt, dt_low, `${blk}.ssm_dt`), ssm_dt_bias, `${blk}.dt_bias`);
    const B = normed(ops.slice(x_db, dt_rank, dt_rank + d_state), 'b_norm');
    const C = normed(ops.slice(x_db, dt_rank + d_state), 'c_norm');
    const scan = ops.ssmScan(previous.ssm, A, { x, dt, B, C }, `${blk}.scan`);
    states.push({ conv: columns.slice(1), ssm: scan.state });
    const y = ops.add(scan.y, ops.mul(D, x, `${blk}.skip`), `${blk}.skip_add`);
    const gated = ops.mul(y, ops.silu(z, `${blk}.gate`), `${blk}.gate_mul`);
    return ops.add(ht, ops.matVec(ssm_out, gated, `${blk}.ssm_out`), `${blk}.add`);
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

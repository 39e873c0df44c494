/**
 * Mamba-1 over lists of entries (spec: architectures.md 1). The state after an entry is one step of the recurrence
 * from the state after the entry before it; a list starts from the zero state. Positions play no part.
 */
import type { HparamsOf } from '../../model/types.ts';
import { embedded, linear, outputs, type Pass, previousPlaces, rmsNorm } from './parts.ts';

type Hparams = HparamsOf<'mamba'>;
type MixerHparams = Pick<Hparams, 'd_conv' | 'd_inner' | 'd_state' | 'dt_rank'>;

/** What a layer remembers after an entry. */
interface State<R> {
  /** The last d_conv-1 columns of x, oldest first, each {d_inner}. */
  readonly conv: readonly R[];
  /** {d_state, d_inner} */
  readonly ssm: R;
}

/** See `Rows`. */
export function rows<R>(pass: Pass<R>, hparams: Hparams): R[] {
  const before = previousPlaces(pass);
  let h = embedded(pass);
  for (let il = 0; il < hparams.n_layer; il++) h = layer(pass, hparams, il, h, before);
  return outputs(pass, h, rmsNorm(pass, 'output_norm', hparams.norm_rms_eps));
}

function layer<R>(
  pass: Pass<R>,
  hparams: Hparams,
  il: number,
  h: readonly R[],
  before: readonly number[],
): R[] {
  const { ops } = pass;
  const blk = `blk.${il}`;
  const eps = hparams.norm_rms_eps;
  const norm = rmsNorm(pass, `${blk}.attn_norm`, eps);
  const normed = (what: string) => (v: R) =>
    hparams.dt_b_c_rms ? ops.rmsNorm(v, eps, undefined, `${blk}.${what}_norm`) : v;
  const norms = { dt: normed('dt'), b: normed('b'), c: normed('c') };
  const m = mixed(pass, hparams, blk, h.map(norm), before, norms);
  return h.map((ht, t) => ops.add(ht, m[t]!, `${blk}.add`));
}

/** What becomes of the low-rank dt, of B and of C before they are used. */
export type Norms<R> = Readonly<Record<'dt' | 'b' | 'c', (v: R) => R>>;

/** The mixer of a layer over the list u of normed rows, up to ssm_out; `before` are `previousPlaces`. */
export function mixed<R>(
  pass: Pass<R>,
  { d_conv, d_inner, d_state, dt_rank }: MixerHparams,
  blk: string,
  u: readonly R[],
  before: readonly number[],
  norms: Norms<R>,
): R[] {
  const { weights, ops } = pass;
  const ssm_in = linear(pass, `${blk}.ssm_in`);
  const conv1d = weights.matrix(`${blk}.ssm_conv1d.weight`);
  const conv1d_bias = ops.constant(weights.vector(`${blk}.ssm_conv1d.bias`));
  const ssm_x = linear(pass, `${blk}.ssm_x`);
  const ssm_dt = linear(pass, `${blk}.ssm_dt`);
  const ssm_dt_bias = ops.constant(weights.vector(`${blk}.ssm_dt.bias`));
  const A = weights.matrix(`${blk}.ssm_a`);
  const D = ops.constant(weights.vector(`${blk}.ssm_d`));
  const ssm_out = linear(pass, `${blk}.ssm_out`);

  const zero: State<R> = {
    conv: Array.from({ length: d_conv - 1 }, () => ops.zeros(d_inner)),
    ssm: ops.zeros(d_state * d_inner),
  };
  const states: State<R>[] = [];
  return u.map((ut, t) => {
    const previous = states[before[t]!] ?? zero;
    const xz = ssm_in(ut);
    const z = ops.slice(xz, d_inner);
    const columns = [...previous.conv, ops.slice(xz, 0, d_inner)];
    const convolved = ops.add(ops.ssmConv(columns, conv1d, `${blk}.conv`), conv1d_bias, `${blk}.conv_bias`);
    const x = ops.silu(convolved, `${blk}.conv_silu`);
    const x_db = ssm_x(x);
    const dt_low = norms.dt(ops.slice(x_db, 0, dt_rank));
    const dt = ops.add(ssm_dt(dt_low), ssm_dt_bias, `${blk}.dt_bias`);
    const B = norms.b(ops.slice(x_db, dt_rank, dt_rank + d_state));
    const C = norms.c(ops.slice(x_db, dt_rank + d_state));
    const scan = ops.ssmScan(previous.ssm, A, { x, dt, B, C }, `${blk}.scan`);
    states.push({ conv: columns.slice(1), ssm: scan.state });
    const y = ops.add(scan.y, ops.mul(D, x, `${blk}.skip`), `${blk}.skip_add`);
    return ssm_out(ops.mul(y, ops.silu(z, `${blk}.gate`), `${blk}.gate_mul`));
  });
}

/**
 * Mamba-2 over lists of entries (spec: architectures.md 2). As in Mamba-1 the state after an entry is one step of the
 * recurrence from the state after the entry before it; a list starts from the zero state. Positions play no part.
 */
import type { HparamsOf } from '../../model/types.ts';
import { embedded, linear, outputs, type Pass, previousPlaces, rmsNorm } from './parts.ts';

type Hparams = HparamsOf<'mamba2'>;
type MixerHparams = Pick<Hparams, 'd_conv' | 'd_inner' | 'd_state' | 'n_ssm_head' | 'n_group'>;

/** What a layer remembers after an entry. */
interface State<R> {
  /** The last d_conv-1 columns of x, B and C, oldest first, each {d_inner + 2 n_group d_state}. */
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
  const blk = `blk.${il}`;
  const u = h.map(rmsNorm(pass, `${blk}.attn_norm`, hparams.norm_rms_eps));
  const m = mixed(pass, hparams, blk, u, before, groupedNorm(pass, `${blk}.ssm_norm`, hparams));
  return h.map((x, t) => pass.ops.add(x, m[t]!, `${blk}.add`));
}

/**
 * The mixer of a layer over the list u of normed rows, up to ssm_out; `before` are `previousPlaces`, `normed` is what
 * happens behind the gate.
 */
export function mixed<R>(
  pass: Pass<R>,
  { d_conv, d_inner, d_state, n_ssm_head, n_group }: MixerHparams,
  blk: string,
  u: readonly R[],
  before: readonly number[],
  normed: (gated: R) => R = (gated) => gated,
): R[] {
  const { weights, ops } = pass;
  const n_channels = d_inner + 2 * n_group * d_state;
  const ssm_in = linear(pass, `${blk}.ssm_in`);
  const conv1d = weights.matrix(`${blk}.ssm_conv1d.weight`);
  const conv1d_bias = ops.constant(weights.vector(`${blk}.ssm_conv1d.bias`));
  const ssm_dt_bias = ops.constant(weights.vector(`${blk}.ssm_dt.bias`));
  const A = weights.vector(`${blk}.ssm_a`);
  const D_h = weights.vector(`${blk}.ssm_d`);
  const D = ops.constant(
    Float64Array.from({ length: d_inner }, (_, c) => D_h[Math.floor((c * n_ssm_head) / d_inner)]!),
  );
  const ssm_out = linear(pass, `${blk}.ssm_out`);

  const zero: State<R> = {
    conv: Array.from({ length: d_conv - 1 }, () => ops.zeros(n_channels)),
    ssm: ops.zeros(d_state * d_inner),
  };
  const states: State<R>[] = [];
  return u.map((ut, t) => {
    const previous = states[before[t]!] ?? zero;
    const p = ssm_in(ut);
    const z = ops.slice(p, 0, d_inner);
    const columns = [...previous.conv, ops.slice(p, d_inner, d_inner + n_channels)];
    const dt = ops.add(ops.slice(p, d_inner + n_channels), ssm_dt_bias, `${blk}.dt_bias`);
    const convolved = ops.add(ops.ssmConv(columns, conv1d, `${blk}.conv`), conv1d_bias, `${blk}.conv_bias`);
    const xBC = ops.silu(convolved, `${blk}.conv_silu`);
    const x = ops.slice(xBC, 0, d_inner);
    const B = ops.slice(xBC, d_inner, d_inner + n_group * d_state);
    const C = ops.slice(xBC, d_inner + n_group * d_state);
    const scan = ops.ssmScanHeads(previous.ssm, A, { x, dt, B, C }, n_group, `${blk}.scan`);
    states.push({ conv: columns.slice(1), ssm: scan.state });
    const y = ops.add(scan.y, ops.mul(D, x, `${blk}.skip`), `${blk}.skip_add`);
    return ssm_out(normed(ops.mul(y, ops.silu(z, `${blk}.gate`), `${blk}.gate_mul`)));
  });
}

/** x -> RMSNorm of each group of d_inner / n_group channels, times its weights. */
function groupedNorm<R>(
  { weights, ops }: Pass<R>,
  name: string,
  { d_inner, n_group, norm_rms_eps }: Hparams,
): (x: R) => R {
  const w = weights.vector(`${name}.weight`);
  const size = d_inner / n_group;
  const groups = Array.from({ length: n_group }, (_, g) => [g * size, (g + 1) * size] as const);
  return (x) =>
    ops.join(
      groups.map(([begin, end], g) =>
        ops.rmsNorm(ops.slice(x, begin, end), norm_rms_eps, w.slice(begin, end), `${name}.${g}`),
      ),
    );
}

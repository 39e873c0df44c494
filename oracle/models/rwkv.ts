/**
 * What RWKV-6 and RWKV-7 share over lists of entries (spec: architectures.md 9 and 10): layer norms, the token shift, and
 * what a layer remembers. The state after an entry comes from the state after the entry before it; a list starts from
 * zeros. Positions play no part.
 */
import type { HparamsOf } from '../../model/types.ts';
import { embedded, outputs, type Pass, previousPlaces } from './parts.ts';

/** What the norm of a head adds to the variance, whatever the file says. */
const HEAD_EPS = 64e-5;

/** What a layer remembers after an entry. */
export interface State<R> {
  /** The last inputs of time mix and channel mix, after their norms, each {n_embd}. */
  readonly time: R;
  readonly channel: R;
  /** A matrix a head. */
  readonly wkv: R;
}

/** h of an entry after one layer, and what the layer remembers. `first` is what the first layer has kept for the others. */
export interface Step<R> {
  readonly h: R;
  readonly state: State<R>;
}

/** A layer: from the residual stream of an entry, its place, and the state before it. */
export type Layer<R> = (h: R, t: number, before: State<R>) => Step<R>;

/** x -> LayerNorm(x, `name`.weight, `name`.bias) */
export function layerNorm<R>({ weights, ops }: Pass<R>, name: string, eps: number): (x: R) => R {
  const w = ops.constant(weights.vector(`${name}.weight`));
  const b = ops.constant(weights.vector(`${name}.bias`));
  return (x) => ops.add(ops.mul(ops.standardize(x, 1, eps, name), w, `${name}.weight`), b, `${name}.bias`);
}

/** The norm of each head, with weight and bias over all of them. */
export function headNorm<R>({ weights, ops }: Pass<R>, name: string, n_head: number): (x: R) => R {
  const w = ops.constant(weights.vector(`${name}.weight`));
  const b = ops.constant(weights.vector(`${name}.bias`));
  return (x) =>
    ops.add(ops.mul(ops.standardize(x, n_head, HEAD_EPS, name), w, `${name}.weight`), b, `${name}.bias`);
}

/** The whole model, given its layers; `after` is what becomes of the stream between layers. */
export function rwkvRows<R>(
  pass: Pass<R>,
  hparams: HparamsOf<'rwkv6' | 'rwkv7'>,
  layerOf: (il: number) => Layer<R>,
  after: (h: R, il: number) => R = (h) => h,
): R[] {
  const { ops } = pass;
  const { n_embd, n_embd_head, norm_eps, n_layer } = hparams;
  const before = previousPlaces(pass);
  const zero: State<R> = {
    time: ops.zeros(n_embd),
    channel: ops.zeros(n_embd),
    wkv: ops.zeros(n_embd * n_embd_head),
  };
  let h = embedded(pass).map(layerNorm(pass, 'token_embd_norm', norm_eps));
  for (let il = 0; il < n_layer; il++) {
    const layer = layerOf(il);
    const states: State<R>[] = [];
    h = h.map((ht, t) => {
      const step = layer(ht, t, states[before[t]!] ?? zero);
      states.push(step.state);
      return after(step.h, il);
    });
  }
  return outputs(pass, h, layerNorm(pass, 'output_norm', norm_eps));
}

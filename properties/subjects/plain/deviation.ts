/**
 * Planted deviations: what an engine may get wrong without a crash. With them one measures how much of it a property
 * sees (power), on an implementation that is otherwise right. Nothing of a user's run turns one on.
 *
 * | kind              | what is wrong                                                                              |
 * | ----------------- | ------------------------------------------------------------------------------------------ |
 * | `weight`          | one weight that is not zero, chosen by the seed among all, is larger by 1e-4 of itself       |
 * | `dropped-key`     | in each context one query misses one earlier key, in all heads of one layer                |
 * | `eps`             | the epsilon of every RMS norm is twice what the model says                                 |
 * | `softplus`        | softplus is the identity above 2 instead of above 20                                       |
 * | `f16-kv`          | K and V are rounded to F16 though F32 was asked for                                        |
 * | `f16-activations` | the input of a product with F16 weights is rounded to F16                                  |
 */
import { IsobatchError } from '../../../contract/errors.ts';
import { halfToFloat } from '../../../model/f16.ts';
import type { Model } from '../../../model/types.ts';
import type { Missing } from './forward.ts';

export const DEVIATIONS = [
  'none',
  'weight',
  'dropped-key',
  'eps',
  'softplus',
  'f16-kv',
  'f16-activations',
] as const;
export type DeviationKind = (typeof DEVIATIONS)[number];

export interface Deviation {
  readonly kind: DeviationKind;
  /** Chooses the weight, or the query, key and layer. */
  readonly seed: number;
}

/** True if an implementation of this model can go wrong in this way at all. */
export function applies(kind: DeviationKind, model: Model): boolean {
  const { arch } = model.hparams;
  switch (kind) {
    case 'none':
    case 'weight':
    case 'eps':
      return true;
    case 'dropped-key':
    case 'f16-kv':
      return arch === 'llama';
    case 'softplus':
      return arch === 'mamba';
    case 'f16-activations':
      return [...model.tensors.values()].some((t) => t.type === 'F16');
  }
}

/** Number n of a stream of random 32-bit numbers. */
function random32(seed: number, n: number): number {
  let x = Math.imul(seed | 0, 0x9e3779b1) ^ Math.imul(n + 1, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The weight that is wrong: the first one that is not zero, from a random place on. */
export function deviantWeight(
  model: Model,
  seed: number,
): { readonly tensor: string; readonly index: number; readonly value: number } {
  const tensors = [...model.tensors.values()];
  const start = random32(seed, 0) % model.n_params;
  for (let k = 0; k < model.n_params; k++) {
    let index = (start + k) % model.n_params;
    for (const { name, data } of tensors) {
      if (index >= data.length) {
        index -= data.length;
        continue;
      }
      const weight = data instanceof Float32Array ? data[index]! : halfToFloat(data[index]!);
      const value = Math.fround(weight * (1 + 1e-4));
      if (value !== weight) return { tensor: name, index, value };
      break;
    }
  }
  throw new IsobatchError('model', `${model.name}: all weights are zero`);
}

/** Which key is not seen: counts the queries of one context. */
export class DroppedKey {
  readonly #layer: number;
  /** It happens to the query with this number, among those that are outputs and have earlier keys. */
  readonly #query: number;
  readonly #key: number;
  #seen = 0;

  constructor(seed: number, n_layer: number) {
    this.#layer = random32(seed, 1) % n_layer;
    this.#query = random32(seed, 2) % 4;
    this.#key = random32(seed, 3);
  }

  /** What the next query misses, of `n_before` earlier keys; its own key is never missed. */
  next(n_before: number, output: boolean): Missing | null {
    if (!output || n_before === 0) return null;
    return this.#seen++ === this.#query ? { layer: this.#layer, key: this.#key % n_before } : null;
  }
}

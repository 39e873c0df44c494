/**
 * The tensors of a model as float32 rows. F16 matrices are widened, which is exact, so a product with them is a
 * product in float32; only a planted deviation rounds its input to F16 too.
 */
import { IsobatchError } from '../../../contract/errors.ts';
import { halvesToFloats } from '../../../model/f16.ts';
import type { Model } from '../../../model/types.ts';
import type { Deviation } from './deviation.ts';
import { deviantWeight } from './deviation.ts';
import { matVec, roundToHalf } from './numbers.ts';

/** A matrix with n_out rows of n_in weights. */
export class Matrix {
  readonly n_in: number;
  readonly n_out: number;
  readonly data: Float32Array;
  /** Its input, rounded; null where it is taken as it is. */
  readonly #rounded: Float32Array | null;

  constructor(data: Float32Array, n_in: number, n_out: number, rounds_input: boolean) {
    this.data = data;
    this.n_in = n_in;
    this.n_out = n_out;
    this.#rounded = rounds_input ? new Float32Array(n_in) : null;
  }

  /** y = W x. */
  mul(y: Float32Array, x: Float32Array): void {
    const rounded = this.#rounded;
    if (rounded !== null) for (let i = 0; i < this.n_in; i++) rounded[i] = roundToHalf(x[i]!);
    matVec(y, this.data, rounded ?? x, this.n_in, this.n_out);
  }

  /** Copies row `index` into y. */
  row(y: Float32Array, index: number): void {
    const at = index * this.n_in;
    for (let i = 0; i < this.n_in; i++) y[i] = this.data[at + i]!;
  }
}

export class Weights {
  readonly #model: Model;
  readonly #deviation: Deviation;
  readonly #deviant: { readonly tensor: string; readonly index: number; readonly value: number } | null;

  constructor(model: Model, deviation: Deviation) {
    this.#model = model;
    this.#deviation = deviation;
    this.#deviant = deviation.kind === 'weight' ? deviantWeight(model, deviation.seed) : null;
  }

  has(name: string): boolean {
    return this.#model.tensors.has(name);
  }

  vector(name: string): Float32Array {
    const tensor = this.#model.tensors.get(name);
    if (tensor === undefined) throw new IsobatchError('model', `tensor ${name} is missing`, { tensor: name });
    const data =
      tensor.data instanceof Float32Array ? Float32Array.from(tensor.data) : halvesToFloats(tensor.data);
    if (this.#deviant?.tensor === name) data[this.#deviant.index] = this.#deviant.value;
    return data;
  }

  matrix(name: string): Matrix {
    const data = this.vector(name);
    const { ne, type } = this.#model.tensors.get(name)!;
    const rounds_input = this.#deviation.kind === 'f16-activations' && type === 'F16';
    return new Matrix(data, ne[0]!, ne[1] ?? 1, rounds_input);
  }
}

/**
 * The tensors of a model by name, in float64, decoded each time they are asked for. At the end a forward pass says
 * `allRead`, so that a tensor that its formulas do not know (a bias, rope factors) is an error and not ignored.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { Model, Tensor } from '../model/types.ts';
import { elements, type Matrix, matrix } from './math.ts';

export class Weights {
  readonly #model: Model;
  readonly #read = new Set<string>();

  constructor(model: Model) {
    this.#model = model;
  }

  has(name: string): boolean {
    return this.#model.tensors.has(name);
  }

  vector(name: string): Float64Array {
    return elements(this.#tensor(name));
  }

  matrix(name: string): Matrix {
    return matrix(this.#tensor(name));
  }

  /** The matrices {n_in, n_out} of a tensor {n_in, n_out, count}. */
  matrices(name: string): Matrix[] {
    const tensor = this.#tensor(name);
    const whole = matrix(tensor);
    const size = whole.n_in * whole.n_out;
    return Array.from({ length: tensor.ne[2]! }, (_, e) => ({
      ...whole,
      data: whole.data.subarray(e * size, (e + 1) * size),
    }));
  }

  /** Tensors that files have and no formula reads. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#read.add(name);
  }

  /** Throws `model` if a tensor of the file was not used. */
  allRead(): void {
    for (const name of this.#model.tensors.keys()) {
      if (!this.#read.has(name)) {
        throw new IsobatchError('model', `${this.#model.name}: the reference does not know tensor ${name}`, {
          tensor: name,
        });
      }
    }
  }

  #tensor(name: string): Tensor {
    const tensor = this.#model.tensors.get(name);
    if (!tensor) {
      throw new IsobatchError('model', `${this.#model.name}: tensor ${name} is missing`, { tensor: name });
    }
    this.#read.add(name);
    return tensor;
  }
}

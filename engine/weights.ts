/**
 * Weights of a model in the form in which kernels read them: one block of bytes, matrices in panels of 16 outputs,
 * vectors padded with zeros to whole vectors. Made once when a model is loaded, shared by its contexts.
 */
import type { Model, Tensor } from '../model/types.ts';
import { packMatrix, pad16, TYPE } from '../native/plan.ts';

/** A packed matrix: y = W x with k inputs and n outputs. */
export interface Matrix {
  readonly offset: number;
  readonly type: number;
  readonly k: number;
  readonly n: number;
}

/** Packed matrices of one shape, one an expert, `step` words apart. */
export interface Stack extends Matrix {
  readonly step: number;
}

/** A table that is read by rows. */
export interface Table {
  readonly offset: number;
  readonly type: number;
  /** Elements from row to row. */
  readonly stride: number;
}

type Elements = Float32Array | Uint16Array;

export class WeightsBuilder {
  readonly #model: Model;
  readonly #parts: { offset: number; data: Elements }[] = [];
  #words = 0;

  constructor(model: Model) {
    this.#model = model;
  }

  has(name: string): boolean {
    return this.#model.tensors.has(name);
  }

  /** All parts in one 64-byte aligned block. */
  build(): Uint8Array {
    const buffer = new ArrayBuffer(this.#words * 4 + 64);
    for (const { offset, data } of this.#parts) {
      new Uint8Array(buffer, offset * 4, data.byteLength).set(
        new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      );
    }
    return new Uint8Array(buffer);
  }

  #add(data: Elements): number {
    const offset = this.#words;
    this.#parts.push({ offset, data });
    this.#words += pad16(Math.ceil(data.byteLength / 4));
    return offset;
  }

  /** Numbers that are no tensor of the model, in whole vectors. */
  numbers(data: Float32Array): number {
    return this.#add(data);
  }

  #tensor(name: string): Tensor {
    return this.#model.tensors.get(name)!;
  }

  /** Rows [from, to) of a matrix {k, n}, all by default. */
  matrix(name: string, from = 0, to = this.#tensor(name).ne[1]!): Matrix {
    const tensor = this.#tensor(name);
    const k = tensor.ne[0]!;
    const n = to - from;
    const rows = tensor.data.subarray(from * k, to * k) as Elements;
    return { offset: this.#add(packMatrix(rows, k, n)), type: TYPE[tensor.type], k, n };
  }

  /** The matrices {k, n} of a tensor {k, n, count}. */
  stack(name: string): Stack {
    const tensor = this.#tensor(name);
    const [k, n, count] = [tensor.ne[0]!, tensor.ne[1]!, tensor.ne[2]!];
    const offsets = Array.from({ length: count }, (_, e) =>
      this.#add(packMatrix(tensor.data.subarray(e * k * n, (e + 1) * k * n) as Elements, k, n)),
    );
    const [offset, next] = offsets;
    return { offset: offset!, step: (next ?? offset!) - offset!, type: TYPE[tensor.type], k, n };
  }

  /** Rows of a matrix, one behind the other, each padded to a whole vector. */
  table(name: string): Table {
    const tensor = this.#tensor(name);
    const k = tensor.ne[0]!;
    const stride = pad16(k);
    const data = this.#like(tensor, stride * tensor.ne[1]!);
    for (let r = 0; r < tensor.ne[1]!; r++) data.set(tensor.data.subarray(r * k, (r + 1) * k), r * stride);
    return { offset: this.#add(data), type: TYPE[tensor.type], stride };
  }

  /** A vector of n floats. */
  vector(name: string): number {
    const tensor = this.#tensor(name);
    const data = new Float32Array(pad16(tensor.ne[0]!));
    data.set(tensor.data);
    return this.#add(data);
  }

  /** Any layout: element i of the result is source(i) of the tensor's floats, or 0 where source is negative. */
  arranged(name: string, length: number, source: (i: number) => number): number {
    const values = this.#tensor(name).data;
    const data = new Float32Array(length);
    for (let i = 0; i < length; i++) {
      const from = source(i);
      if (from >= 0) data[i] = values[from]!;
    }
    return this.#add(data);
  }

  #like(tensor: Tensor, length: number): Elements {
    return tensor.type === 'F32' ? new Float32Array(length) : new Uint16Array(length);
  }
}

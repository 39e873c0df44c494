/**
 * What a model file is once it is read: typed hyperparameters and named tensors. Neutral ground: oracle and engine
 * both start from here, and nothing here knows batches, sequences or kernels (spec: architectures.md).
 */

import type { Hparams } from './archs/registry.ts';

export type { Arch, Hparams, HparamsOf } from './archs/registry.ts';

export type TensorType = 'F32' | 'F16';

/** A tensor as it stands in the file. */
export interface Tensor {
  readonly name: string;
  /** ggml order: ne[0] is the fastest (input) dimension. */
  readonly ne: readonly number[];
  readonly type: TensorType;
  /** Little-endian elements in file order: Float32Array for F32, Uint16Array (half bits) for F16. */
  readonly data: Float32Array | Uint16Array;
}

/** A model: every tensor that its architecture needs is there and has the right shape. */
export interface Model {
  readonly name: string;
  readonly hparams: Hparams;
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly n_params: number;
  /** tokenizer.ggml.bos_token_id, if any. */
  readonly bos?: number;
}

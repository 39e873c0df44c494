/**
 * What a model file is once it is read: typed hyperparameters and named tensors. Neutral ground: oracle and engine
 * both start from here, and nothing here knows batches, sequences or kernels (spec: architectures.md).
 */

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

interface Common {
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_ctx_train: number;
  /** a.attention.layer_norm_rms_epsilon, rounded to float32 as stored. */
  readonly norm_rms_eps: number;
}

export interface LlamaHparams extends Common {
  readonly arch: 'llama';
  readonly n_head: number;
  readonly n_head_kv: number;
  /** Size of a head of q, k and v. */
  readonly n_embd_head: number;
  readonly n_ff: number;
  /** Rotated channels of a head; equals n_embd_head for llama. */
  readonly n_rot: number;
  readonly rope_freq_base: number;
  /** 1 / factor of linear scaling, 1 if none. */
  readonly rope_freq_scale: number;
}

export interface MambaHparams extends Common {
  readonly arch: 'mamba';
  readonly d_conv: number;
  readonly d_inner: number;
  readonly d_state: number;
  readonly dt_rank: number;
  readonly dt_b_c_rms: boolean;
}

export type Hparams = LlamaHparams | MambaHparams;

/** A model: every tensor that its architecture needs is there and has the right shape. */
export interface Model {
  readonly name: string;
  readonly hparams: Hparams;
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly n_params: number;
  /** tokenizer.ggml.bos_token_id, if any. */
  readonly bos?: number;
}

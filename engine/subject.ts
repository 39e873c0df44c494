/** Our engine as a subject: loads models, opens contexts, and states what it can do. */
import { IsobatchError } from '../contract/errors.ts';
import type {
  ContextParams,
  ModelInfo,
  RoundingProfile,
  Subject,
  SubjectInfo,
  SubjectModel,
} from '../contract/subject.ts';
import { loadModel } from '../model/load.ts';
import type { Model } from '../model/types.ts';
import { loadKernels } from '../native/binding.ts';
import { EngineContext } from './context.ts';
import type { Network } from './layout.ts';
import { hasStates, kindOf, windowsOf } from './memory/open.ts';
import { architectures, networkOf } from './models/registry.ts';
import { checkParams, LEGAL_SPLITS } from './params.ts';

/** Version of the bit contract (ARCHITECTURE.md); golden figures carry it. */
export const BIT_CONTRACT = 1;

/** How the bit contract rounds (ARCHITECTURE.md). */
const ROUNDING: RoundingProfile = {
  fma: true,
  products: { order: 'blocks', size: 64 },
  rows: { order: 'lanes', lanes: 16 },
  keys: { order: 'blocks', size: 256 },
  rope: 'F64',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'logistic',
  kv: 'as asked',
};

type KernelLibrary = ReturnType<typeof loadKernels>;

class EngineModel implements SubjectModel {
  readonly info: ModelInfo;
  readonly #kernels: KernelLibrary;
  readonly #network: Network;

  constructor(model: Model, kernels: KernelLibrary) {
    const { hparams } = model;
    this.#kernels = kernels;
    this.#network = networkOf(model);
    const windows = windowsOf(this.#network.caches);
    this.info = {
      arch: hparams.arch,
      memory: kindOf(this.#network.caches),
      n_vocab: hparams.n_vocab,
      n_embd: hparams.n_embd,
      n_layer: hparams.n_layer,
      n_params: model.n_params,
      ...(hasStates(this.#network.caches) ? { rollback: true } : {}),
      ...(windows.length > 0 ? { windowed: true, windows } : {}),
      ...(kindOf(this.#network.caches) === 'none' ? { encoder: 'only' } : {}),
    };
  }

  /** Throws `params` if one is not legal, or if the context does not fit the memory of this machine. */
  open(params: ContextParams): EngineContext {
    checkParams(params, this.info.memory, this.#kernels.isas);
    const kernels = this.#kernels.get(params.isa ?? this.#kernels.isas.at(-1)!);
    const { n_vocab, n_embd, encoder } = this.info;
    if (encoder === 'only' && params.embeddings !== true)
      throw new IsobatchError('params', 'an encoder answers embeddings, so embeddings must be asked for', {
        embeddings: params.embeddings ?? false,
      });
    const width = encoder === 'only' ? n_embd : n_vocab;
    try {
      return new EngineContext({ network: this.#network, n_vocab, width }, params, kernels);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const { n_ctx, n_ubatch, n_seq_max, n_rs_seq = 0 } = params;
      throw new IsobatchError(
        'params',
        `n_ctx = ${n_ctx}, n_ubatch = ${n_ubatch}, n_seq_max = ${n_seq_max} and n_rs_seq = ${n_rs_seq} need more memory than there is`,
        { n_ctx, n_ubatch, n_seq_max, n_rs_seq },
      );
    }
  }

  close(): void {}
}

export class EngineSubject implements Subject {
  readonly info: SubjectInfo;
  readonly #kernels: KernelLibrary;

  constructor(kernels: KernelLibrary) {
    this.#kernels = kernels;
    this.info = {
      name: 'engine',
      version: `bit contract ${BIT_CONTRACT}`,
      protocol: 1,
      architectures,
      splits: LEGAL_SPLITS,
      isas: kernels.isas,
      types_kv: ['F32', 'F16'],
      bit_invariant: true,
      shared_tokens: true,
      remove_anywhere: true,
      shifts: true,
      choices: { n_rs_seq: [0, 1, 2, 4] },
      rounding: ROUNDING,
    };
  }

  /** Throws `gguf` or `model`. */
  load(bytes: Uint8Array, name: string): EngineModel {
    return new EngineModel(loadModel(bytes, name), this.#kernels);
  }

  close(): void {}
}

/** Our engine. `patches` change the C++ kernels (planted faults). */
export function engineSubject(options: Parameters<typeof loadKernels>[0] = {}): EngineSubject {
  const kernels = loadKernels(options);
  if (kernels.isas.length === 0) throw new IsobatchError('native', 'there are no kernels at all');
  return new EngineSubject(kernels);
}

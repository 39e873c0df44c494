/**
 * The plain subject (`--subject plain`): a second implementation of the forward pass, written from the specification
 * alone, as an ordinary float32 program would be. It shares the GGUF reader with the rest of the house and nothing
 * else: neither the oracle nor our engine. A property that compares with derived bounds must hold on both.
 *
 * How it works: tokens are evaluated one by one, in the order of the batch. What a token leaves behind is kept with
 * its entry (attention: K and V of each layer; recurrent: the state after it), a sequence is a list of entries. There
 * are no ubatches, cells or slots, so the shape of a batch does not matter; but nothing of that is promised
 * (`bit_invariant` is false), so that it is judged by bounds and not by bits.
 *
 * How it rounds: `ROUNDING`. Planted deviations: `deviation.ts`.
 */

import { IsobatchError } from '../../../contract/errors.ts';
import type {
  ContextParams,
  ModelInfo,
  RoundingProfile,
  Subject,
  SubjectInfo,
  SubjectModel,
} from '../../../contract/subject.ts';
import { loadModel } from '../../../model/load.ts';
import type { Arch, Model } from '../../../model/types.ts';
import { usualModels } from '../../campaign-models.ts';
import { PROTOCOL_VERSION } from '../../protocol.ts';
import { checkParams, PlainContext } from './context.ts';
import { type Deviation, type DeviationKind, DroppedKey } from './deviation.ts';
import type { Forward } from './forward.ts';
import { Llama } from './llama.ts';
import { Mamba } from './mamba.ts';

export interface PlainOptions {
  /** What it gets wrong on purpose; default `none`. */
  readonly deviation?: DeviationKind;
  /** Chooses the weight, or the query, key and layer, that is wrong; a whole number, default 0. */
  readonly seed?: number;
}

const ROUNDING: RoundingProfile = {
  fma: false,
  products: { order: 'sequential' },
  rows: { order: 'sequential' },
  keys: { order: 'sequential' },
  rope: 'F32',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'tanh',
  kv: 'as asked',
};

type ForwardClass = new (model: Model, deviation: Deviation) => Forward;

/** Of the architectures that can be loaded it runs these. */
const FORWARDS: { readonly [A in Arch]?: ForwardClass } = { llama: Llama, mamba: Mamba };
const architectures = Object.keys(FORWARDS);

/** What it runs on if nobody says otherwise. */
export const PLAIN_MODELS: readonly string[] = usualModels(architectures).filter(
  (name) => !name.endsWith('-moe'),
);

const INFO: SubjectInfo = {
  name: 'plain',
  version: '1',
  protocol: PROTOCOL_VERSION,
  architectures,
  splits: {},
  isas: [],
  types_kv: ['F32', 'F16'],
  bit_invariant: false,
  shared_tokens: true,
  remove_anywhere: true,
  rounding: ROUNDING,
};

export class PlainModel implements SubjectModel {
  readonly info: ModelInfo;
  readonly #forward: Forward;
  readonly #deviation: Deviation;

  constructor(model: Model, deviation: Deviation) {
    const { arch, n_vocab, n_embd, n_layer } = model.hparams;
    const Forward = FORWARDS[arch];
    if (Forward === undefined)
      throw new IsobatchError(
        'model',
        `${model.name}: the plain subject does not run ${arch}; it runs ${architectures.join(', ')}`,
        { file: model.name, found: arch, wanted: architectures },
      );
    this.#deviation = deviation;
    this.#forward = new Forward(model, deviation);
    this.info = { arch, memory: this.#forward.memory, n_vocab, n_embd, n_layer, n_params: model.n_params };
  }

  open(params: ContextParams): PlainContext {
    checkParams(params);
    const { kind, seed } = this.#deviation;
    const dropped = kind === 'dropped-key' ? new DroppedKey(seed, this.info.n_layer) : null;
    return new PlainContext(this.#forward, params, this.info, dropped);
  }

  close(): void {}
}

/** A model that was read already, ready to be opened. Throws `model` if its architecture is not run here. */
export function plainModel(model: Model, { deviation = 'none', seed = 0 }: PlainOptions = {}): PlainModel {
  return new PlainModel(model, { kind: deviation, seed });
}

export interface PlainSubject extends Subject {
  load(bytes: Uint8Array, name: string): PlainModel;
}

/** A plain subject; everything that it does is synchronous. A deviant one still claims to be right. */
export function plainSubject(options: PlainOptions = {}): PlainSubject {
  return {
    info: INFO,
    load: (bytes, name) => plainModel(loadModel(bytes, name), options),
    close() {},
  };
}

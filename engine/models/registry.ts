/** The architectures that the engine has plans for: all that can be loaded. One line each. */
import type { Arch, HparamsOf, Model } from '../../model/types.ts';
import type { Network } from '../layout.ts';
import { falconH1 } from './falcon-h1.ts';
import { gemma2 } from './gemma2.ts';
import { gemma3 } from './gemma3.ts';
import { jamba } from './jamba.ts';
import { lfm2 } from './lfm2.ts';
import { llama } from './llama.ts';
import { llama4 } from './llama4.ts';
import { mamba } from './mamba.ts';
import { mamba2 } from './mamba2.ts';
import { openelm } from './openelm.ts';
import { refact } from './refact.ts';
import { rwkv6 } from './rwkv6.ts';
import { rwkv7 } from './rwkv7.ts';
import { symmetric } from './symmetric.ts';

const NETWORKS: { readonly [A in Arch]: (model: Model, hparams: HparamsOf<A>) => Network } = {
  llama,
  mamba,
  mamba2,
  openelm,
  rwkv6,
  rwkv7,
  jamba,
  gemma2,
  gemma3,
  lfm2,
  'falcon-h1': falconH1,
  llama4,
  refact,
  'isobatch-symmetric': symmetric,
};

/** Names of the architectures that the engine runs. */
export const architectures: readonly string[] = Object.keys(NETWORKS);

/** A model, packed, and able to build plans. */
export function networkOf(model: Model): Network {
  return pack(model.hparams.arch, model, model.hparams);
}

function pack<A extends Arch>(arch: A, model: Model, hparams: HparamsOf<A>): Network {
  return NETWORKS[arch](model, hparams);
}

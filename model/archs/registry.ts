/**
 * The architectures that can be loaded: a file each, listed here and nowhere else. Oracle and engine have registries of
 * their own (`oracle/models/`, `engine/models/`), and the compiler demands an entry of both for every line here.
 */

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
import type { Architecture } from './parts.ts';
import { refact } from './refact.ts';
import { rwkv6 } from './rwkv6.ts';
import { rwkv7 } from './rwkv7.ts';
import { symmetric } from './symmetric.ts';

const LIST = [
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
  falconH1,
  llama4,
  refact,
  symmetric,
] as const;

/** Hyperparameters of any architecture; `arch` tells them apart. */
export type Hparams = ReturnType<(typeof LIST)[number]['hparams']>;

/** Values of `general.architecture` that can be loaded. */
export type Arch = Hparams['arch'];

/** Hyperparameters of one architecture (or of several). */
export type HparamsOf<A extends Arch> = { readonly [H in Hparams as H['arch']]: H }[A];

/** The architectures by name. */
export const archs: ReadonlyMap<string, Architecture<Hparams>> = new Map(
  LIST.map((arch): [string, Architecture<Hparams>] => [arch.name, arch]),
);

/** Names of the architectures that can be loaded. */
export const architectures: readonly string[] = [...archs.keys()];

/** The architectures that have a forward pass here: all that can be loaded. One line each. */
import type { Arch, HparamsOf } from '../../model/types.ts';
import * as falconH1 from './falcon-h1.ts';
import * as gemma2 from './gemma2.ts';
import * as gemma3 from './gemma3.ts';
import * as jamba from './jamba.ts';
import * as lfm2 from './lfm2.ts';
import * as llama from './llama.ts';
import * as llama4 from './llama4.ts';
import * as mamba from './mamba.ts';
import * as mamba2 from './mamba2.ts';
import * as openelm from './openelm.ts';
import type { Pass, Rows } from './parts.ts';
import * as refact from './refact.ts';
import * as rwkv6 from './rwkv6.ts';
import * as rwkv7 from './rwkv7.ts';
import * as symmetric from './symmetric.ts';

const MODELS: { readonly [A in Arch]: Rows<A> } = {
  llama: llama.rows,
  mamba: mamba.rows,
  mamba2: mamba2.rows,
  openelm: openelm.rows,
  rwkv6: rwkv6.rows,
  rwkv7: rwkv7.rows,
  jamba: jamba.rows,
  gemma2: gemma2.rows,
  gemma3: gemma3.rows,
  lfm2: lfm2.rows,
  'falcon-h1': falconH1.rows,
  llama4: llama4.rows,
  refact: refact.rows,
  'isobatch-symmetric': symmetric.rows,
};

/** Names of the architectures that have a forward pass here. */
export const architectures: readonly string[] = Object.keys(MODELS);

/** A row for each entry that was asked for, by the formula of the architecture. Throws as `Rows`. */
export function rows<A extends Arch, R>(arch: A, pass: Pass<R>, hparams: HparamsOf<A>): R[] {
  return MODELS[arch](pass, hparams);
}

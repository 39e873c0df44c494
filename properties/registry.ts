/** All properties, in the order in which a campaign runs them. */
import { IsobatchError } from '../contract/errors.ts';
import { atomic } from './atomic.ts';
import { cross } from './cross.ts';
import { encoder } from './encoder.ts';
import { incremental } from './incremental.ts';
import { operations } from './operations.ts';
import { permute } from './permute.ts';
import { placement } from './placement.ts';
import { pooling } from './pooling.ts';
import { recurrentCells } from './recurrent-cells.ts';
import { reference } from './reference.ts';
import { reuse } from './reuse.ts';
import { share } from './share.ts';
import { solo } from './solo.ts';
import { state, tornState } from './state.ts';
import type { Property } from './types.ts';
import { ubatch } from './ubatch.ts';
import { validity } from './validity.ts';
import { cells } from './white/cells.ts';
import { kernels } from './white/kernels.ts';
import { mask } from './white/mask.ts';
import { outputs } from './white/outputs.ts';
import { slots } from './white/slots.ts';
import { split } from './white/split.ts';
import { window } from './white/window.ts';

export const properties: readonly Property[] = [
  split,
  outputs,
  slots,
  cells,
  mask,
  window,
  kernels,
  validity,
  solo,
  ubatch,
  permute,
  incremental,
  share,
  operations,
  reuse,
  atomic,
  placement,
  state,
  tornState,
  recurrentCells,
  encoder,
  pooling,
  cross,
  reference,
];

/** Throws `usage` for an unknown name. */
export function propertyByName(name: string): Property {
  const found = properties.find((property) => property.name === name);
  if (found !== undefined) return found;
  const known = properties.map((property) => property.name);
  throw new IsobatchError(
    'usage',
    `unknown property ${JSON.stringify(name)}; known are ${known.join(', ')}`,
    {
      property: name,
      known,
    },
  );
}

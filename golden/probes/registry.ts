/**
 * Probe models: tiny models whose weights are chosen, so that the logits of any correct engine spell out which tokens
 * a query saw. A fault of masks, cells, slots or output rows then shows as a whole token too many or too few, on an
 * engine that shows nothing but its logits.
 *
 * Rule: spec: probes.md. Every event of a history gets its own token (`token(id)`); `read` turns a row of logits back
 * into ids, or says that the row is unreadable. Decoders use ratios only, so neither the precision of K and V nor a
 * constant scale matters. `properties/probe/` runs histories on them and puts what it finds into words.
 *
 * | model            | reads                                       | ids | bytes  |
 * |------------------|---------------------------------------------|-----|--------|
 * | llama-set        | the set of visible keys                     | 155 | 0.2 MB |
 * | llama-set-wide   | the same, for longer histories              | 315 | 0.8 MB |
 * | llama-positions  | the distance of each visible key            | 127 | 2.0 MB |
 * | mamba            | count, order, convolution window of a state | 63  | 2.4 MB |
 * | mamba-count      | only the count                              | 155 | 0.3 MB |
 * | mamba-count-wide | only the count, for longer histories        | 635 | 3.6 MB |
 * | rwkv6            | count, order, token shifts of a state       | 62  | 3.6 MB |
 * | rwkv6-count      | only the count                              | 310 | 1.7 MB |
 * | gemma2, gemma3   | the set with a window of 8, and without     | 205 | 1-2 MB |
 * | gemma2-26        | the same, for releases before b5640         | 205 | 8.0 MB |
 * | jamba            | state as `mamba`, and the set of attention  | 50  | 3.7 MB |
 * | jamba-count      | the same, of the state only the count       | 420 | 4.4 MB |
 *
 * A new architecture is a file with a builder and a decoder, and a line in `probes`.
 */
import { IsobatchError } from '../../contract/errors.ts';
import { gemmaWindow } from './gemma-window.ts';
import { jambaHybrid } from './jamba-hybrid.ts';
import { llamaPositions } from './llama-positions.ts';
import { llamaSet } from './llama-set.ts';
import { mambaState } from './mamba-state.ts';
import { rwkv6State } from './rwkv6-state.ts';
import type { HybridProbe, Probe, SetProbe, StateProbe, WindowProbe } from './types.ts';

/** Smallest first: the first that has enough ids is the one to take. */
export const setProbes: readonly SetProbe[] = [llamaSet('llama-set', 64), llamaSet('llama-set-wide', 128)];
export const positionProbe = llamaPositions('llama-positions');
/** The one that reads most first. */
export const stateProbes: readonly StateProbe[] = [
  mambaState('mamba', 256, 1),
  mambaState('mamba-count', 64, 5),
  mambaState('mamba-count-wide', 256, 5),
];

export const rwkvProbes: readonly StateProbe[] = [rwkv6State('rwkv6', 1), rwkv6State('rwkv6-count', 5)];
/** Releases before b5640 load gemma2 with 26 layers only. */
export const windowProbes: readonly WindowProbe[] = [
  gemmaWindow('gemma2', 'gemma2', 2),
  gemmaWindow('gemma2-26', 'gemma2', 26),
  gemmaWindow('gemma3', 'gemma3', 6),
];
export const hybridProbes: readonly HybridProbe[] = [jambaHybrid('jamba', 1), jambaHybrid('jamba-count', 5)];

export const probes: readonly Probe[] = [
  ...setProbes,
  positionProbe,
  ...stateProbes,
  ...rwkvProbes,
  ...windowProbes,
  ...hybridProbes,
];
export const probeNames: readonly string[] = probes.map((probe) => probe.name);

/** The bytes of a probe. Throws `usage` for an unknown name. */
export function buildProbe(name: string): Uint8Array {
  const probe = probes.find((candidate) => candidate.name === name);
  if (probe !== undefined) return probe.build();
  throw new IsobatchError(
    'usage',
    `unknown probe ${JSON.stringify(name)}; known are ${probeNames.join(', ')}`,
    {
      probe: name,
      known: probeNames,
    },
  );
}

/**
 * Which probes can tell something about a failure of a model: those with its kind of memory, and, where it has windows
 * or token shifts, with these too. A probe is another architecture than most models, so faults that only the model's own
 * graph has stay unseen.
 */
import type { ModelInfo } from '../../contract/subject.ts';
import {
  hybridProbes,
  rwkvProbes,
  setProbes,
  stateProbes,
  windowProbes,
} from '../../golden/probes/registry.ts';
import type { Probe } from '../../golden/probes/types.ts';

/** What a choice depends on. */
export type Probed = Pick<ModelInfo, 'arch' | 'memory' | 'n_layer'>;

/** Releases that take gemma2 with this many layers only have no probe with fewer. */
const GEMMA2_LAYERS = 26;

/** Smallest first, or the one that reads most; the first that has enough ids is the one to take. */
export function candidatesFor({ arch, memory, n_layer }: Probed): readonly Probe[] {
  if (memory === 'hybrid') return hybridProbes;
  if (memory === 'recurrent') return arch.includes('rwkv') ? rwkvProbes : stateProbes;
  if (memory === 'none') return [];
  if (arch === 'gemma2') return [windowProbe(n_layer < GEMMA2_LAYERS ? 'gemma2' : 'gemma2-26')];
  return arch.startsWith('gemma3') ? [windowProbe('gemma3')] : setProbes;
}

function windowProbe(name: string): Probe {
  return windowProbes.find((probe) => probe.name === name)!;
}

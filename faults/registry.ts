/**
 * All planted faults. `isobatch verify --fault NAME` runs a campaign on one of them, `--fault list` names them, and
 * `--fault all` finds them all (`table.ts`).
 */
import type { Fault } from './apply.ts';
import { canaries, equivalents } from './canaries.ts';
import { engineFaults } from './engine-faults.ts';
import { kernelFaults } from './kernel-faults.ts';
import type { PlantedFault } from './planted.ts';
import { referenceFaults } from './reference-faults.ts';
import { windowFaults } from './window-faults.ts';

export { canaries, equivalents } from './canaries.ts';
export { referenceFaults } from './reference-faults.ts';

/** Faults of batching: hardly any of them (`alone`) shows while one sequence runs in one ubatch of a new context. */
export const faults: readonly PlantedFault[] = [...engineFaults, ...windowFaults, ...kernelFaults];

/** Everything that can be planted, by name. */
export const allFaults: readonly Fault[] = [...faults, ...referenceFaults, ...canaries, ...equivalents];

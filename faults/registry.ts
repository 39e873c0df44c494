/**
 * All planted faults. `isobatch verify --fault NAME` runs a campaign on one of them, `--fault list` names them, and
 * `--fault all` finds them all (`table.ts`).
 */
import type { Fault } from './apply.ts';
import { archFaults, archReferenceFaults } from './arch-faults.ts';
import { canaries, equivalents } from './canaries.ts';
import { engineFaults } from './engine-faults.ts';
import { hybridFaults, hybridReferenceFaults } from './hybrid-faults.ts';
import { kernelFaults } from './kernel-faults.ts';
import { llama4Faults, llama4ReferenceFaults } from './llama4-faults.ts';
import type { PlantedFault } from './planted.ts';
import { referenceFaults as sharedReferenceFaults } from './reference-faults.ts';
import { rollbackFaults } from './rollback-faults.ts';
import { symmetricFaults, windowFaults } from './window-faults.ts';

export { canaries, equivalents } from './canaries.ts';

/**
 * Faults of batching: none of them shows while one sequence runs in one ubatch of a new context, or, where it says so,
 * token by token.
 */
export const faults: readonly PlantedFault[] = [
  ...engineFaults,
  ...hybridFaults,
  ...rollbackFaults,
  ...windowFaults,
  ...kernelFaults,
  ...archFaults,
  ...llama4Faults,
];

/** Faults that are wrong for everybody in the same way. */
export const referenceFaults: readonly PlantedFault[] = [
  ...sharedReferenceFaults,
  ...hybridReferenceFaults,
  ...archReferenceFaults,
  ...llama4ReferenceFaults,
  ...symmetricFaults,
];

/** Everything that can be planted, by name. */
export const allFaults: readonly Fault[] = [...faults, ...referenceFaults, ...canaries, ...equivalents];

/**
 * Runs one history on our engine with a planted fault and prints what the probe says, as JSON. A process of its own,
 * because a fault is planted while the engine is loaded. Arguments: name of the fault, and the question as JSON. For
 * `faults.test.ts`.
 */
import { applyFault } from '../../faults/apply.ts';
import type { Script } from '../types.ts';
import type { Probed } from './candidates.ts';
import { probeStory } from './story.ts';

const [fault, question] = process.argv.slice(2) as [string, string];
const { script, model } = JSON.parse(question) as { script: Script; model: Probed };
await applyFault(fault);
const { openSubject } = await import('../subjects/registry.ts');
const { subject } = await openSubject({ kind: 'engine' });
const { sentences } = await probeStory((bytes, name) => subject.load(bytes, name), script, model);
process.stdout.write(JSON.stringify(sentences));

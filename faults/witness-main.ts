/** The process of `witness.ts`: `node witness-main.js SEED N FAULT MODEL KIND ...` prints a line of JSON for each kind. */
import { writeSync } from 'node:fs';
import { applyFault } from './apply.ts';
import type { Kind } from './witness.ts';

const [seed, n, fault, model, ...kinds] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  ...Kind[],
];
if (fault !== '') await applyFault(fault);
// Only now: the fault must be in place before the engine is loaded.
const { witness } = await import('./witness.ts');
// Written at once: some faults do not live to see the next kind.
for (const kind of kinds) {
  const found = await witness(kind, seed, Number(n), model === '' ? undefined : [model]);
  writeSync(1, `${JSON.stringify(found)}\n`);
}

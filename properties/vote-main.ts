/**
 * Three voters on the same cases: the oracle, our engine and another subject. The cases are those of `reference` for
 * the other subject, so the oracle judges both of them with the same histories, contexts and seeds.
 *
 *     node dist/properties/vote-main.js v0.5.0 CASES [FIRST] [MODEL ...]
 *
 * The first argument is a release, a libllama or a build folder. Prints a line a model: cases on which both agree with
 * the oracle, on which only one does, on which none does, and who did not answer; then each signature with the number of
 * its cases and the first of them. Ends with 1 if the engine disagrees anywhere: it has no fault that is known.
 */
import { subjectSpec } from './subjects/registry.ts';
import type { Case, Outcome } from './types.ts';
import { WorkerState } from './worker-env.ts';
import { generate, runCase } from './worker-run.ts';

const DEFAULT_MODELS = ['recipe:llama', 'recipe:mamba'];
const PROPERTY = 'reference';
const SEED = 'vote';

type Vote = 'agrees' | 'differs' | 'not asked';

function voteOf({ status }: Outcome): Vote {
  if (status === 'skipped') return 'not asked';
  return status === 'failed' ? 'differs' : 'agrees';
}

/** Flash attention is another way to compute the same: our engine has one way, and is asked for it. */
function forEngine(c: Case): Case {
  const { flash_attn: _, ...params } = c.script!.params;
  return { ...c, script: { ...c.script!, params } };
}

interface Signature {
  n: number;
  readonly first: number;
  readonly message: string;
}

function note(into: Map<string, Signature>, voter: string, index: number, { failure }: Outcome): void {
  if (failure === undefined) return;
  const name = `${voter}: ${failure.signature}`;
  const known = into.get(name);
  if (known === undefined) into.set(name, { n: 1, first: index, message: failure.message });
  else known.n++;
}

async function main(): Promise<number> {
  const [lib, cases, first = '0', ...models] = process.argv.slice(2);
  if (lib === undefined || !(Number(cases) > 0)) {
    console.error('usage: vote-main LIB CASES [FIRST] [MODEL ...]');
    return 2;
  }
  const common = { seed: SEED, restrict: {}, call_timeout_s: 24 };
  const other = new WorkerState({ ...common, subject: subjectSpec('llama', undefined, { lib }) });
  const engine = new WorkerState({ ...common, subject: { kind: 'engine' } });
  const began = performance.now();
  let engineDiffers = 0;
  for (const model of models.length > 0 ? models : DEFAULT_MODELS) {
    const property = await other.property(PROPERTY);
    const [there, here] = [await other.env(property, model), await engine.env(property, model)];
    const votes = new Map<string, number>();
    const signatures = new Map<string, Signature>();
    let compared = 0;
    for (let index = Number(first); index < Number(first) + Number(cases); index++) {
      const c = generate(property, there, index);
      const [theirs, ours] = [await runCase(property, there, c), await runCase(property, here, forEngine(c))];
      const name = `engine ${voteOf(ours)}, ${lib} ${voteOf(theirs)}`;
      votes.set(name, (votes.get(name) ?? 0) + 1);
      note(signatures, lib, index, theirs);
      note(signatures, 'engine', index, ours);
      compared += theirs.compared + ours.compared;
      if (voteOf(ours) === 'differs') engineDiffers++;
    }
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(`${model}: ${cases} cases from ${first}, ${compared} elements, ${seconds} s since the start`);
    for (const [name, n] of [...votes].sort()) console.log(`  ${name}: ${n}`);
    for (const [name, { n, first: at, message }] of signatures)
      console.log(`  ${n} of ${name}, case ${at}: ${message}`);
  }
  await other.kill();
  await engine.kill();
  return engineDiffers > 0 ? 1 : 0;
}

process.exitCode = await main();

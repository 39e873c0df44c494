/**
 * A vote of oracle, engine and a libllama (`vote.ts`).
 *
 *     node dist/properties/vote-main.js v0.5.0 CASES [FIRST] [MODEL ...]
 *
 * The first argument is a release, a libllama or a build folder. Prints a line a model, then how many cases got which
 * votes, then each signature with the number of its cases and the first of them. Ends with 1 if the engine disagrees
 * anywhere: it has no fault that is known.
 */
import { subjectSpec } from './subjects/registry.ts';
import { vote } from './vote.ts';

const DEFAULT_MODELS = ['recipe:llama', 'recipe:mamba'];

async function main(): Promise<number> {
  const [lib, cases, first = '0', ...models] = process.argv.slice(2);
  const [count, from] = [Number(cases), Number(first)];
  if (
    lib === undefined ||
    !(Number.isSafeInteger(count) && count > 0) ||
    !(Number.isSafeInteger(from) && from >= 0)
  ) {
    console.error('usage: vote-main LIB CASES [FIRST] [MODEL ...]');
    return 2;
  }
  const subject = subjectSpec('llama', undefined, { lib });
  let engineDiffers = false;
  for (const model of models.length > 0 ? models : DEFAULT_MODELS) {
    const began = performance.now();
    const { votes, dissents, compared } = await vote({ subject, model, first: from, count, seed: 'vote' });
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(`${model}: ${count} cases from ${from}, ${compared} elements, ${seconds} s`);
    for (const [name, n] of Object.entries(votes).sort()) console.log(`  ${name}: ${n}`);
    for (const { voter, signature, n, first: at, message } of dissents)
      console.log(`  ${n} of ${voter}: ${signature}, case ${at}: ${message}`);
    engineDiffers ||= dissents.some(({ voter }) => voter === 'engine');
  }
  return engineDiffers ? 1 : 0;
}

process.exitCode = await main();

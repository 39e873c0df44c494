/**
 * Program: `node dist/model/fuzz-main.js [FILES] [SEED]` fuzzes the model reader and prints what came of it, the
 * growth of memory and the slowest file. Exit code 1 if the reader crashed.
 */
import { pathToFileURL } from 'node:url';
import { fuzzGguf } from './gguf.fuzz.ts';

/** Runs, prints, and gives the exit code. */
export function main(args: readonly string[], print: (line: string) => void = console.log): number {
  const n = Number(args[0] ?? 100_000);
  const seed = Number(args[1] ?? 1);
  if (!Number.isSafeInteger(n) || n < 1 || !Number.isSafeInteger(seed)) {
    print('usage: fuzz-main [FILES] [SEED], both whole numbers');
    return 2;
  }
  fuzzGguf(Math.min(n, 500), seed); // warm up, so that growth is not the compiler's
  const before = process.memoryUsage().rss;
  let peak = before;
  const start_ms = performance.now();
  const onCase = (done: number): void => {
    if (done % 100 === 0) peak = Math.max(peak, process.memoryUsage().rss);
  };
  const counts = fuzzGguf(n, seed, { onCase });
  const took_s = (performance.now() - start_ms) / 1000;
  print(`${n} files, seed ${seed}, ${took_s.toFixed(1)} s`);
  print(
    `models ${counts.models}, refused ${JSON.stringify(counts.errors)}, crashed ${counts.crashed.length}`,
  );
  for (const [what, times] of Object.entries(counts.mutations).sort()) print(`  ${what}: ${times}`);
  print(`largest growth of memory ${((peak - before) / 2 ** 20).toFixed(1)} MiB`);
  print(`slowest file ${counts.slowest}, ${counts.slowest_ms.toFixed(2)} ms`);
  for (const crash of counts.crashed.slice(0, 20))
    print(`crash: case ${crash.i} (${crash.what}): ${crash.error}`);
  return counts.crashed.length === 0 ? 0 : 1;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = main(process.argv.slice(2));
}

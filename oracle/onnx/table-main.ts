/**
 * Prints how far the oracle's operators are from ONNX Runtime's. For development only: it needs the development
 * dependencies.
 *
 *   npm run build && node dist/oracle/onnx/table-main.js
 *
 * A line a comparison: the oracle's operator, ONNX Runtime's, its type, how many shapes, the largest difference
 * (absolute, over the largest of its row, in ulps), the ulps allowed, and what one ulp is taken of. Below it, for each
 * planted error, in how many trials it was noticed. Exit code 1 if ONNX Runtime cannot be
 * loaded or a limit is passed.
 */
import { type Comparison, limitUlps, type Measured, measure } from './comparison.ts';
import { loadOnnxRuntime } from './runtime.ts';
import { COMPARISONS } from './suite.ts';

function line(comparison: Comparison, { n_shapes, ranges, worst }: Measured): string {
  const { name, ort, type, unit } = comparison;
  const range = Object.entries(ranges).map(([dim, [low, high]]) => `${dim} ${low}..${high}`);
  const figures = [worst.absolute, worst.relative].map((x) => x.toExponential(1));
  const ulps = [worst.ulps, limitUlps(comparison)].map((x) => x.toFixed(2));
  const shapes = `${n_shapes}: ${range.join(', ')}`;
  // Bars of absolute values would end a cell.
  return `| ${[name, ort, type, shapes, ...figures, ...ulps, unit.replaceAll('|', '\\|')].join(' | ')} |`;
}

function errors({ name, ort }: Comparison, { caught, n_trials }: Measured): string {
  const each = Object.entries(caught).map(([error, n]) => `${error} ${n}/${n_trials}`);
  return `${name} (${ort}): ${each.join('; ')}`;
}

const runtime = await loadOnnxRuntime();
if ('missing' in runtime) {
  console.error(runtime.missing);
  process.exitCode = 1;
} else {
  console.log(`ONNX Runtime ${runtime.version}, CPU, one thread`);
  console.log(
    '| oracle | ONNX Runtime | type | shapes | absolute | of row max | ulps | allowed | one ulp of |',
  );
  console.log(`|${' --- |'.repeat(9)}`);
  const noticed: string[] = [];
  for (const comparison of COMPARISONS) {
    const measured = await measure(comparison, runtime);
    console.log(line(comparison, measured));
    noticed.push(errors(comparison, measured));
    if (measured.worst.ulps > limitUlps(comparison)) process.exitCode = 1;
  }
  console.log(`\nPlanted errors, and in how many trials each was noticed:\n${noticed.join('\n')}`);
}

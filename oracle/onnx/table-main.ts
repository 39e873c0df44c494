/**
 * Prints how far the oracle's operators are from ONNX Runtime's. For development only: it needs the development
 * dependencies.
 *
 *   npm run build && node dist/oracle/onnx/table-main.js
 *
 * A line a comparison: the oracle's operator, ONNX Runtime's, its type, how many shapes, the largest difference
 * (absolute, over the largest of its row, in ulps), the ulps allowed, and what one ulp is taken of. Below it the ranges
 * of the shapes and, for each planted error, in how many shapes it was noticed. Exit code 1 if ONNX Runtime cannot be
 * loaded or a limit is passed.
 */
import { type Comparison, limitUlps, type Measured, measure } from './comparison.ts';
import { loadOnnxRuntime } from './runtime.ts';
import { COMPARISONS } from './suite.ts';

function lines(comparison: Comparison, measured: Measured): string {
  const { name, ort, type, unit } = comparison;
  const limit = limitUlps(comparison);
  const { n_trials, n_shapes, ranges, worst, caught } = measured;
  const range = Object.entries(ranges).map(([dim, [low, high]]) => `${dim} ${low}..${high}`);
  const errors = Object.entries(caught).map(([error, n]) => `${error} ${n}/${n_trials}`);
  return [
    `| ${name} | ${ort} | ${type} | ${n_shapes}: ${range.join(', ')} | ${worst.absolute.toExponential(1)} | ` +
      `${worst.relative.toExponential(1)} | ${worst.ulps.toFixed(2)} | ${limit.toFixed(2)} | ${unit} |`,
    `    noticed: ${errors.join('; ')}`,
  ].join('\n');
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
  for (const comparison of COMPARISONS) {
    const measured = await measure(comparison, runtime);
    console.log(lines(comparison, measured));
    if (measured.worst.ulps > limitUlps(comparison)) process.exitCode = 1;
  }
}

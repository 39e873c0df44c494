/**
 * LayerNorm in float64 (spec: architectures.md 0.2), as short as its formula: the mean is taken off, and the variance
 * is the biased one, over n and not n - 1.
 */

/** (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps), times w, plus b. All of one length. */
export function layerNorm(x: Float64Array, eps: number, w: Float64Array, b: Float64Array): Float64Array {
  let sum = 0;
  for (const xi of x) {
    sum += xi;
  }
  const mean = sum / x.length;
  let squares = 0;
  for (const xi of x) {
    squares += (xi - mean) ** 2;
  }
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((xi, i) => (xi - mean) * scale * w[i]! + b[i]!);
}

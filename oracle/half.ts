/**
 * IEEE half precision (F16): 1 sign, 5 exponent, 10 fraction bits. Decoding is exact; rounding is to nearest, ties to
 * even, in one step from float64.
 */

/** The number that 16 bits stand for. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) {
    return fraction === 0 ? sign * Infinity : NaN;
  }
  if (exponent === 0) {
    return sign * fraction * 2 ** -24;
  }
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The nearest half; infinite from 65520 on. */
export function roundToHalf(x: number): number {
  const size = Math.abs(x);
  if (!Number.isFinite(x) || size === 0) {
    return x;
  }
  if (size >= 65520) {
    return Math.sign(x) * Infinity;
  }
  // Halves lie 2^(e-10) apart in [2^e, 2^(e+1)), and never closer than the subnormal 2^-24.
  let e = -14;
  while (2 ** (e + 1) <= size) {
    e += 1;
  }
  const step = 2 ** (e - 10);
  const steps = size / step;
  const below = Math.floor(steps);
  const rest = steps - below;
  const rounded = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
  return x < 0 ? -rounded * step : rounded * step;
}

/**
 * Half precision (IEEE 754 binary16) to float32 and back, exactly: every half is a float32, and a number becomes
 * the nearest half, ties to the one with an even last bit, with subnormals, and infinity from 65520 on.
 */

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

/** The value of a half given by its 16 bits; exact. Every NaN becomes the plain NaN. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24; // also gives -0
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/**
 * The bits of the half nearest to x, ties to even. x is any number: a double is rounded once, not through float32.
 *
 * NaN becomes 0x7e00.
 */
export function floatToHalf(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  if (a >= 65520) return sign | 0x7c00; // halfway between the largest half and 2^16, and above
  if (a < 2 ** -25) return sign; // below half of the smallest subnormal
  const e = Math.max(exponentOf(a), -14); // below 2^-14 halves are as far apart as just above it
  const steps = roundEven(a / 2 ** (e - 10)); // exact division by the spacing
  // steps is 1024..2048 for normal numbers and 0..1024 for subnormals, so the sum also carries into the exponent.
  return sign | (steps + ((e + 14) << 10));
}

/** floor(log2(a)) for a in [2^-25, 65520). */
function exponentOf(a: number): number {
  single[0] = a;
  // Rounding to float32 can reach the next power of two: step back.
  if (single[0]! > a) word[0] = word[0]! - 1;
  return (word[0]! >>> 23) - 127;
}

function roundEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest > 0.5 || (rest === 0.5 && below % 2 === 1)) return below + 1;
  return below;
}

/** Values of halves, element by element. */
export function halvesToFloats(bits: Uint16Array): Float32Array {
  return Float32Array.from(bits, halfToFloat);
}

/** Nearest halves, element by element. */
export function floatsToHalves(values: ArrayLike<number>): Uint16Array {
  return Uint16Array.from(values, floatToHalf);
}

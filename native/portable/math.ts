/**
 * Float32 arithmetic in TypeScript with the bits of the native kernels: an exact fused multiply-add, and the engine's
 * own exp, log1p, softplus, silu, sigmoid, tanh, softcap and gelu. The sequences of operations are those of native/math.inl.h; both files change
 * together. Nothing here calls a transcendental `Math` function.
 */

const fround = Math.fround;

/**
 * Float32 fma, rounded once. The product of two floats is exact in float64; the sum is rounded to 53 bits, which
 * misleads the second rounding only if it lands exactly between two floats.
 */
export function fma(a: number, b: number, c: number): number {
  const p = a * b;
  const s = p + c;
  const f = fround(s);
  const d = s - f;
  if (d !== 0) {
    const other = f + 2 * d; // the float on the other side, if s is a midpoint
    if (fround(other) === other || (f - f !== 0 && s - s === 0)) return midpoint(p, c, s, f, other);
  }
  return f;
}

const MAX_FLOAT = 3.4028234663852886e38;

/** `s`, the float64 sum of p and c, lies exactly between floats `f` and `other`: what was lost decides. */
function midpoint(p: number, c: number, s: number, f: number, other: number): number {
  const bb = s - p;
  const lost = p - (s - bb) + (c - bb);
  if (f - f !== 0) {
    // Overflow by ties-to-even: s is 2^128 - 2^103 or more; only exactly there a loss can bring it back.
    const edge = 3.4028235677973366e38;
    if (s === edge && lost < 0) return MAX_FLOAT;
    if (s === -edge && lost > 0) return -MAX_FLOAT;
    return f;
  }
  if (lost === 0) return f;
  return lost > 0 === other > f ? other : f;
}

const floats = new Float32Array(1);
const words = new Int32Array(floats.buffer);

const EXP_LO = -104;
const EXP_HI = 89;
const LOG2E = 1.4426950216293335;
const MAGIC = 12582912; // 1.5 * 2^23: adding it rounds to the nearest integer
const LN2_HI = 0.693359375;
const LN2_LO = -0.00021219444170128554;
const E2 = 0.4999999403953552;
const E3 = 0.1666651964187622;
const E4 = 0.04166839271783829;
const E5 = 0.008368780836462975;
const E6 = 0.0013814467238262296;

const POW2_MIN = -160;
const POW2 = new Float64Array(320);
for (let i = 0, x = 1; i <= -POW2_MIN; i++, x /= 2) POW2[-POW2_MIN - i] = x;
for (let i = -POW2_MIN, x = 1; i < POW2.length; i++, x *= 2) POW2[i] = x;

/** e^x of a float32, at most 1.5 ulp off; overflows to Infinity, underflows through denormals to 0. */
export function exp(x: number): number {
  const y = Math.max(EXP_LO, Math.min(EXP_HI, x));
  if (Number.isNaN(y)) return NaN;
  const n = fround(fma(y, LOG2E, MAGIC) - MAGIC);
  const r = fma(n, -LN2_LO, fma(n, -LN2_HI, y));
  let p = fma(E6, r, E5);
  p = fma(p, r, E4);
  p = fma(p, r, E3);
  p = fma(p, r, E2);
  p = fma(p, r, 1);
  p = fma(p, r, 1);
  return fround(p * POW2[n - POW2_MIN]!); // the float64 product is exact: one rounding
}

const SQRT_HALF_BITS = 0x3f3504f3;
const L3 = 0.3333333134651184;
const L4 = -0.250008225440979;
const L5 = 0.20001234114170074;
const L6 = -0.16623298823833466;
const L7 = 0.14201553165912628;
const L8 = -0.1316058188676834;
const L9 = 0.1276332437992096;
const L10 = -0.07635652273893356;

/** log(1 + u) of a float32 u in [0, 2^30], a few ulp off, exact to the first order for tiny u. */
export function log1p(u: number): number {
  const w = fround(1 + u);
  // What the sum lost, by Knuth's exact two-sum.
  const bb = fround(w - 1);
  const lost = fround(fround(1 - fround(w - bb)) + fround(u - bb));
  floats[0] = w;
  const k = (words[0]! - SQRT_HALF_BITS) >> 23;
  words[0] = words[0]! - (k << 23);
  const m = floats[0]!;
  words[0] = (127 - k) << 23;
  const f = fma(lost, floats[0]!, fround(m - 1));
  let p = fma(L10, f, L9);
  p = fma(p, f, L8);
  p = fma(p, f, L7);
  p = fma(p, f, L6);
  p = fma(p, f, L5);
  p = fma(p, f, L4);
  p = fma(p, f, L3);
  const f2 = fround(f * f);
  let y = fround(fround(f * f2) * p);
  y = fma(k, LN2_LO, y);
  y = fma(-0.5, f2, y);
  return fma(k, LN2_HI, fround(f + y));
}

/** log(1 + e^x); x itself above 20. */
export function softplus(x: number): number {
  return x > 20 ? x : log1p(exp(x));
}

/** x / (1 + e^-x). */
export function silu(x: number): number {
  return fround(x / fround(1 + exp(-x)));
}

/** 1 / (1 + e^-x), at most 2.5 ulp off, also where it is denormal. */
export function sigmoid(x: number): number {
  const e = exp(-Math.abs(x));
  return fround((x > 0 ? 1 : e) / fround(1 + e));
}

const TANH_NEAR = 0.625;
const T0 = -0.3333328068256378;
const T1 = 0.13331441581249237;
const T2 = -0.05373971536755562;
const T3 = 0.02063908614218235;
const T4 = -0.005704986862838268;

/** The hyperbolic tangent, at most 2 ulp off. */
export function tanh(x: number): number {
  const size = Math.abs(x);
  if (size > TANH_NEAR) {
    const far = fround(1 - fround(2 / fround(exp(fround(size + size)) + 1)));
    return x > 0 ? far : -far;
  }
  const z = fround(x * x);
  let p = fma(T4, z, T3);
  p = fma(p, z, T2);
  p = fma(p, z, T1);
  p = fma(p, z, T0);
  return fma(fround(x * z), p, x);
}

/** cap * tanh(x / cap) */
export function softcap(x: number, cap: number): number {
  return fround(cap * tanh(fround(x / cap)));
}

const GELU_A = 0.04471499845385551;
const GELU_2K = 1.5957691669464111; // 2 sqrt(2 / pi)

/** 0.5 x (1 + tanh(sqrt(2 / pi) x (1 + 0.044715 x^2))), as x / (1 + e^...). */
export function gelu(x: number): number {
  const inner = fround(x * fma(fround(GELU_A * x), x, 1));
  return fround(x / fround(1 + exp(fround(-GELU_2K * inner))));
}

/** Every half, as a float. */
export const HALF = new Float32Array(65536);
for (let h = 0; h < 65536; h++) {
  const exponent = (h >> 10) & 31;
  const mantissa = h & 1023;
  const magnitude =
    exponent === 31
      ? mantissa === 0
        ? Infinity
        : NaN
      : exponent === 0
        ? mantissa / 16777216
        : ((1024 + mantissa) / 1024) * 2 ** (exponent - 15);
  HALF[h] = h & 0x8000 ? -magnitude : magnitude;
}

/** The bits of a finite float32 rounded to the nearest half, ties to even; |x| below 65520. */
export function toHalf(x: number): number {
  floats[0] = x;
  const bits = words[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude < 0x38800000) {
    // Below 2^-14 halves are multiples of 2^-24; adding 0.5 rounds to one.
    floats[0] = fround((x < 0 ? -x : x) + 0.5);
    return sign | (words[0]! - 0x3f000000);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
}

/** The 16 lanes of a row sum folded by +8, +4, +2, +1. Destroys `lanes`. */
export function fold(lanes: Float32Array): number {
  for (let half = 8; half > 0; half >>= 1) {
    for (let i = 0; i < half; i++) lanes[i] = lanes[i]! + lanes[i + half]!;
  }
  return lanes[0]!;
}

/**
 * Cosines and sines of rotary positions (spec: architectures.md 0.2): angle = pos * freq_scale * base^(-2i/n_rot).
 *
 * Computed in float64 by additions, multiplications and divisions only, so that the table has the same bits on every
 * machine, and rounded once to float32. The host's own sin, cos, exp and log are never asked (bit contract).
 */

const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;
/** pi/2 in three pieces; the first has 33 bits, so that its product with a count below 2^20 is exact. */
const HALF_PI_1 = 1.5707963267341256;
const HALF_PI_2 = 6.077100506303966e-11;
const HALF_PI_3 = 2.0222662487959506e-21;
const TWO_OVER_PI = 0.6366197723675814;

/** e^x by reduction to |r| <= ln2/2 and its series. For -700 < x < 700. */
export function exp64(x: number): number {
  const k = Math.round(x / (LN2_HIGH + LN2_LOW));
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  let sum = 1;
  for (let n = 18; n > 0; n--) sum = 1 + (sum * r) / n;
  const step = k < 0 ? 0.5 : 2;
  for (let n = Math.abs(k); n > 0; n--) sum *= step;
  return sum;
}

/** Natural logarithm of a positive number, by 2 atanh((m-1)/(m+1)) of its mantissa. */
export function ln64(x: number): number {
  let m = x;
  let k = 0;
  for (; m > Math.SQRT2; m /= 2) k++;
  for (; m < Math.SQRT1_2; m *= 2) k--;
  const s = (m - 1) / (m + 1);
  const s2 = s * s;
  let sum = 0;
  for (let n = 31; n >= 1; n -= 2) sum = sum * s2 + 1 / n;
  return k * LN2_HIGH + (k * LN2_LOW + 2 * s * sum);
}

/** Sine and cosine for |x| < 2^20. */
export function sinCos64(x: number): { sin: number; cos: number } {
  const k = Math.round(x * TWO_OVER_PI);
  const r = x - k * HALF_PI_1 - k * HALF_PI_2 - k * HALF_PI_3;
  const r2 = r * r;
  let sin = 1;
  let cos = 1;
  for (let n = 9; n > 0; n--) {
    sin = 1 - (sin * r2) / (2 * n * (2 * n + 1));
    cos = 1 - (cos * r2) / (2 * n * (2 * n - 1));
  }
  sin *= r;
  switch (((k % 4) + 4) % 4) {
    case 0:
      return { sin, cos };
    case 1:
      return { sin: cos, cos: -sin };
    case 2:
      return { sin: -sin, cos: -cos };
    default:
      return { sin: -cos, cos: sin };
  }
}

/** Which channels of a head rotate together: (2i, 2i+1), or (i, i + n_rot/2). */
export type RopeType = 'NORMAL' | 'NEOX';

/** Rows that depend on the position of a token alone. */
export interface PositionTable {
  /** Numbers of a row. */
  readonly width: number;
  /** Copies the row of a position to out[at .. at+width). */
  copyRow(pos: number, out: Float32Array, at: number): void;
  /** The same for a step from one position to another. */
  copyTurn(delta: number, out: Float32Array, at: number): void;
}

/**
 * Rows by position, computed when first asked for: the cosine where the first channel of a pair lies, the sine where
 * the second does. So (cos_0, sin_0, cos_1, sin_1, ...) or, for NEOX, (cos_0, cos_1, ..., sin_0, sin_1, ...).
 */
export class RopeTable implements PositionTable {
  readonly n_rot: number;
  readonly type: RopeType;
  readonly #frequency: Float64Array;
  #rows = new Float32Array(0);
  #known = 0;

  constructor(n_rot: number, base: number, freq_scale: number, type: RopeType = 'NORMAL') {
    this.n_rot = n_rot;
    this.type = type;
    const ln = ln64(base);
    this.#frequency = Float64Array.from(
      { length: n_rot / 2 },
      (_, i) => freq_scale * exp64((-2 * i * ln) / n_rot),
    );
  }

  get width(): number {
    return this.n_rot;
  }

  /** Pair i: its cosine lies at first * i, its sine `second` behind that. */
  get #pairs(): readonly [first: number, second: number] {
    return this.type === 'NEOX' ? [1, this.n_rot / 2] : [2, 1];
  }

  /** Copies the row of a position to out[at .. at+n_rot). */
  copyRow(pos: number, out: Float32Array, at: number): void {
    if (pos >= this.#known) this.#extend(pos);
    const rows = this.#rows;
    const from = pos * this.n_rot;
    for (let i = 0; i < this.n_rot; i++) out[at + i] = rows[from + i]!;
  }

  /** The same for a step to another position, which may go back: cosines are even, sines are odd. */
  copyTurn(delta: number, out: Float32Array, at: number): void {
    this.copyRow(Math.abs(delta), out, at);
    if (delta < 0) this.#negateSines(out, at);
  }

  #negateSines(out: Float32Array, at: number): void {
    const [first, second] = this.#pairs;
    for (let i = 0; i < this.n_rot / 2; i++) {
      const sine = at + first * i + second;
      out[sine] = -out[sine]!;
    }
  }

  #extend(pos: number): void {
    const wanted = Math.max(pos + 1, 2 * this.#known, 64);
    const rows = new Float32Array(wanted * this.n_rot);
    rows.set(this.#rows);
    const [first, second] = this.#pairs;
    for (let p = this.#known; p < wanted; p++) {
      for (let i = 0; i < this.#frequency.length; i++) {
        const { sin, cos } = sinCos64(p * this.#frequency[i]!);
        rows[p * this.n_rot + first * i] = cos;
        rows[p * this.n_rot + first * i + second] = sin;
      }
    }
    this.#rows = rows;
    this.#known = wanted;
  }
}

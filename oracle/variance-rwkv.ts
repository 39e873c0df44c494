/**
 * Carry rules of the operators of RWKV (`variance.ts`): derivatives of the formulas in `pointwise.ts`, `layer-norm.ts`
 * and `wkv.ts`. What an error of one key or value does to many elements of one output is added up before it is squared.
 */
import { type Carried, type Collected, NORM_SHARE, REACH, rowOf } from './carried.ts';
import { partSums, standardized, unitParts } from './layer-norm.ts';
import type { RwkvOperators } from './operators.ts';
import { lerp, type PointwiseName, pointwise, scaled, slopeOf } from './pointwise.ts';
import { type Wkv6Input, type Wkv7Input, type WkvResult, wkv6, wkv7 } from './wkv.ts';

/** `site` keeps what the operation of a name says of its own errors. */
export function carriedRwkv(site: (operator: string) => Collected): RwkvOperators<Carried> {
  return {
    apply: (name, x) => carriedPointwise(name, x, site(name)),
    scale(x, factor) {
      const at = site('scaled');
      const v = scaled(x.v, factor, at);
      const s = v.map((_, i) => factor * factor * x.s[i]! + at.variance(i));
      return rowOf(v, s, x);
    },
    lerp(x, to, by) {
      const at = site('lerp');
      const v = lerp(x.v, to.v, by.v, at);
      const s = v.map((_, i) => {
        const way = by.v[i]!;
        const own = (1 - way) ** 2 * x.s[i]! + way * way * to.s[i]!;
        return own + (to.v[i]! - x.v[i]!) ** 2 * by.s[i]! + at.variance(i);
      });
      return rowOf(v, s, x, to, by);
    },
    standardize: (x, n_part, eps) => carriedStandard(x, n_part, eps, site('standardized')),
    unitParts: (x, n_part, eps) => carriedUnit(x, n_part, eps, site('unit')),
    partSums(x, n_part) {
      const at = site('sums');
      const v = partSums(x.v, n_part, at);
      const n = v.length / n_part;
      const s = v.map((_, i) => {
        const part = Math.floor(i / n);
        return sumOf(x.s, part * n, n) + at.variance(part);
      });
      return rowOf(v, s, x);
    },
    wkv6: (state, token, u, n_head) => carriedWkv6(state, token, u, n_head, site('wkv6')),
    wkv7: (state, token, n_head) => carriedWkv7(state, token, n_head, site('wkv7')),
  };
}

function sumOf(x: Float64Array, begin: number, n: number): number {
  let sum = 0;
  for (let i = begin; i < begin + n; i++) sum += x[i]!;
  return sum;
}

function carriedPointwise(name: PointwiseName, x: Carried, at: Collected): Carried {
  const v = pointwise(name, x.v, at);
  const s = v.map((_, i) => {
    const slope = slopeOf(name, x.v[i]!, REACH * Math.sqrt(x.s[i]!));
    return slope * slope * x.s[i]! + at.variance(i);
  });
  return rowOf(v, s, x);
}

/** z_i = (x_i - mean) / r: an error of x_j moves z_i by (delta_ij - (1 + z_i z_j) / n) / r. */
function carriedStandard(x: Carried, n_part: number, eps: number, at: Collected): Carried {
  const v = standardized(x.v, n_part, eps, at);
  const n = v.length / n_part;
  const s = new Float64Array(v.length);
  let ill = false;
  for (let part = 0; part < n_part; part++) {
    const begin = part * n;
    const mean = sumOf(x.v, begin, n) / n;
    let squares = 0;
    for (let i = begin; i < begin + n; i++) squares += (x.v[i]! - mean) ** 2;
    const r = Math.sqrt(squares / n + eps);
    const [ofMean, ofScale] = [at.step('mean').variance(part), at.step('scale').variance(part) * r * r];
    let [plain, once, twice] = [0, 0, 0];
    for (let j = begin; j < begin + n; j++) {
      plain += x.s[j]!;
      once += v[j]! * x.s[j]!;
      twice += v[j]! * v[j]! * x.s[j]!;
    }
    for (let i = begin; i < begin + n; i++) {
      const z = v[i]!;
      // Sum over j of (1 + z_i z_j)^2 s_j / n^2, and what is different where j is i.
      const all = (plain + 2 * z * once + z * z * twice) / (n * n);
      const own = (1 - (2 * (1 + z * z)) / n) * x.s[i]!;
      s[i] = (Math.max(all + own, 0) + ofMean) / (r * r) + z * z * ofScale + at.variance(i);
    }
    // Variance of r: sum of (z_j / n)^2 s_j, and its own rounding.
    const spread = Math.sqrt(twice / (n * n) + ofScale * r * r);
    if (REACH * spread > r * NORM_SHARE) ill = true;
  }
  const out = rowOf(v, s, x);
  return ill ? { ...out, ill } : out;
}

/** y_i = x_i / |x|: an error of x_j moves y_i by (delta_ij - y_i y_j) / |x|; below eps by delta_ij / eps. */
function carriedUnit(x: Carried, n_part: number, eps: number, at: Collected): Carried {
  const v = unitParts(x.v, n_part, eps, at);
  const n = v.length / n_part;
  const s = new Float64Array(v.length);
  let ill = false;
  for (let part = 0; part < n_part; part++) {
    const begin = part * n;
    let [squares, twice] = [0, 0];
    for (let j = begin; j < begin + n; j++) {
      squares += x.v[j]! ** 2;
      twice += v[j]! * v[j]! * x.s[j]!;
    }
    const length = Math.sqrt(squares);
    const r = Math.max(length, eps);
    const ofScale = at.step('scale').variance(part) * r * r;
    for (let i = begin; i < begin + n; i++) {
      const y = v[i]!;
      const through = length > eps ? y * y * twice - 2 * y * y * x.s[i]! : 0;
      s[i] = Math.max(x.s[i]! + through, 0) / (r * r) + y * y * ofScale + at.variance(i);
    }
    if (REACH * Math.sqrt(twice) > r * NORM_SHARE) ill = true;
  }
  const out = rowOf(v, s, x);
  return ill ? { ...out, ill } : out;
}

function carriedWkv6(
  state: Carried,
  token: Wkv6Input<Carried>,
  u: Float64Array,
  n_head: number,
  at: Collected,
): WkvResult<Carried> {
  const { r, k, v, w } = token;
  const now = wkv6(state.v, { r: r.v, k: k.v, v: v.v, w: w.v }, u, n_head, at);
  const n = r.v.length / n_head;
  const atState = at.step('state');
  const s = new Float64Array(now.state.length);
  const out = new Float64Array(now.y.length);
  for (let h = 0; h < n_head; h++) {
    for (let j = h * n; j < (h + 1) * n; j++) {
      let carry = at.variance(j);
      let byValue = 0;
      for (let i = h * n; i < (h + 1) * n; i++) {
        const place = i * n + (j - h * n);
        const seen = u[i]! * k.v[i]! * v.v[j]! + state.v[place]!;
        carry += seen * seen * r.s[i]! + r.v[i]! ** 2 * (state.s[place]! + (u[i]! * v.v[j]!) ** 2 * k.s[i]!);
        byValue += r.v[i]! * u[i]! * k.v[i]!;
        s[place] =
          w.v[i]! ** 2 * state.s[place]! +
          state.v[place]! ** 2 * w.s[i]! +
          v.v[j]! ** 2 * k.s[i]! +
          k.v[i]! ** 2 * v.s[j]! +
          atState.variance(place);
      }
      out[j] = carry + byValue * byValue * v.s[j]!;
    }
  }
  const from = [state, r, k, v, w];
  return { y: rowOf(now.y, out, ...from), state: rowOf(now.state, s, ...from) };
}

function carriedWkv7(
  state: Carried,
  token: Wkv7Input<Carried>,
  n_head: number,
  at: Collected,
): WkvResult<Carried> {
  const { r, w, k, v, kappa, iclr } = token;
  const inputs = { r: r.v, w: w.v, k: k.v, v: v.v, kappa: kappa.v, iclr: iclr.v };
  const now = wkv7(state.v, inputs, n_head, at);
  const n = r.v.length / n_head;
  const [atRemoved, atState] = [at.step('removed'), at.step('state')];
  const s = new Float64Array(now.state.length);
  const out = new Float64Array(now.y.length);
  for (let h = 0; h < n_head; h++) {
    const begin = h * n;
    /** What is read of b = kappa iclr, and of k. */
    let [readB, readK] = [0, 0];
    for (let j = begin; j < begin + n; j++) {
      readB += kappa.v[j]! * iclr.v[j]! * r.v[j]!;
      readK += k.v[j]! * r.v[j]!;
    }
    for (let i = begin; i < begin + n; i++) {
      const row = i * n - begin;
      /** s_i, and what its errors are: of old states and of kappa, of which it is a sum. */
      let [removed, ofStates] = [0, 0];
      let ofKappa = 0;
      for (let j = begin; j < begin + n; j++) {
        const M = state.v[row + j]!;
        removed -= kappa.v[j]! * M;
        ofStates += kappa.v[j]! ** 2 * state.s[row + j]!;
        ofKappa += M * M * kappa.s[j]!;
      }
      const loose = ofStates + ofKappa + atRemoved.variance(i);
      let carry = at.variance(i) + readB * readB * atRemoved.variance(i) + readK * readK * v.s[i]!;
      for (let j = begin; j < begin + n; j++) {
        const place = row + j;
        const [M, rj, kj, wj] = [state.v[place]!, r.v[j]!, k.v[j]!, w.v[j]!];
        const [kap, eta] = [kappa.v[j]!, iclr.v[j]!];
        const b = kap * eta;
        // Sums that do not depend on how s_i came to be, and what an element has in common with it.
        const apart = M * M * w.s[j]! + v.v[i]! ** 2 * k.s[j]! + (removed * kap) ** 2 * iclr.s[j]!;
        const own = atState.variance(place);
        const direct =
          (wj - 2 * kap * b) * wj * state.s[place]! +
          (removed * eta - 2 * M * b) * removed * eta * kappa.s[j]!;
        s[place] = Math.max(b * b * loose + direct, 0) + apart + kj * kj * v.s[i]! + own;
        const byState = wj * rj - kap * readB;
        const byKappa = removed * eta * rj - M * readB;
        carry += now.state[place]! ** 2 * r.s[j]! + rj * rj * (apart + own);
        carry += byState * byState * state.s[place]! + byKappa * byKappa * kappa.s[j]!;
      }
      out[i] = carry;
    }
  }
  const from = [state, r, w, k, v, kappa, iclr];
  return { y: rowOf(now.y, out, ...from), state: rowOf(now.state, s, ...from) };
}

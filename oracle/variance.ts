/**
 * The variance pass: every number carries the variance of the rounding errors that a subject has made until there.
 * Values and local errors are those of the operators themselves; here stand the carry rules of spec: verdicts.md 5,
 * s_out = sum over inputs of (dy/dx)^2 s_in, plus the square of the local sigma.
 *
 * Errors of different numbers are taken to be independent: correlated roundings (repeated tokens) are seen by the keyed
 * runs only (`rounding.ts`).
 */
import type { RoundingProfile } from '../contract/subject.ts';
import { type AttentionShape, attend, biased, capped, castsAttention, rootOf, scores } from './attention.ts';
import { type Carried, Collected, NORM_SHARE, REACH, rowOf, SCORE_ERROR } from './carried.ts';
import type { ForwardOptions } from './forward.ts';
import { geluRow, slopeOfGelu } from './gelu.ts';
import {
  add,
  casts,
  joined,
  type Matrix,
  matVec,
  mul,
  noisyHalf,
  pairOf,
  type RopeShape,
  rmsNorm,
  rope,
  row,
  siluRow,
  softplus,
} from './math.ts';
import { type Operators, type Scanned, type ScanToken, storesHalf } from './operators.ts';
import { type Fork, type Place, possibleChoices } from './routes.ts';
import { slopeOfSoftcap, softcapRow } from './softcap.ts';
import { ssmConv, ssmScan } from './ssm.ts';
import { carriedMixture, carriedSum } from './variance-experts.ts';
import { carriedHeads } from './variance-heads.ts';
import { carriedRwkv } from './variance-rwkv.ts';

export type { Carried } from './carried.ts';

/** Largest F16, and how many standard deviations near it may fall to either side (Hoeffding, p = 1e-15). */
const HALF_MAX = 65504;
const HALF_REACH = 14.5;

/** How near router logits must be to be exchanged by rounding, if nobody says so: p = 1e-10 (`ForwardOptions.reach`). */
const ROUTER_REACH = 11.9;

export function carried(profile: RoundingProfile, options: ForwardOptions = {}): Operators<Carried> {
  const exact = (v: Float64Array): Carried => rowOf(v, new Float64Array(v.length));
  const sites = new Collected(profile);
  const site = (operator: string) => sites.step(operator);
  return {
    row: (w, token) => exact(row(w, token)),
    constant: exact,
    zeros: (n) => exact(new Float64Array(n)),
    slice: (x, begin, end) => rowOf(x.v.slice(begin, end), x.s.slice(begin, end), x),
    join: (parts) => rowOf(joined(parts.map(({ v }) => v)), joined(parts.map(({ s }) => s)), ...parts),
    matVec: (w, x) => carriedProduct(w, x, site('product')),
    add: (a, b) => {
      const at = site('add');
      const v = add(a.v, b.v, at);
      return rowOf(
        v,
        v.map((_, i) => a.s[i]! + b.s[i]! + at.variance(i)),
        a,
        b,
      );
    },
    mul: (a, b) => {
      const at = site('mul');
      const v = mul(a.v, b.v, at);
      const s = v.map((_, i) => b.v[i]! ** 2 * a.s[i]! + a.v[i]! ** 2 * b.s[i]! + at.variance(i));
      return rowOf(v, s, a, b);
    },
    silu: (x) => {
      const at = site('silu');
      return carriedEach(x, siluRow(x.v, at), slopeOfSilu, at);
    },
    gelu: (x) => {
      const at = site('gelu');
      return carriedEach(x, geluRow(x.v, at), slopeOfGelu, at);
    },
    softcap: (x, cap) => {
      const at = site('softcap');
      return carriedEach(x, softcapRow(x.v, cap, at), (xi) => slopeOfSoftcap(xi, cap), at);
    },
    rmsNorm: (x, eps, w) => carriedNorm(x, eps, w, site('norm')),
    rope: (x, pos, shape) => carriedRope(x, pos, shape, site('rope')),
    stored: (x) => (storesHalf(options, profile) ? carriedHalf(x, site('stored')) : x),
    attend: (q, k, v, shape) =>
      carriedAttention(q, k, v, { ...shape, half: storesHalf(options, profile) }, site('attention')),
    mixture: (logits, n_used, expert, place, _op, shares = 'chosen') => {
      const fork = forkAt(place, logits, n_used, options);
      const [chosen] = fork.choices;
      options.noted?.set(place, chosen!);
      const [rows, at] = [chosen!.map(expert), site('mixture')];
      const out =
        shares === 'none' ? carriedSum(rows, at) : carriedMixture(logits, chosen!, rows, at, shares);
      return fork.choices.length > 1 ? { ...out, forks: [...(out.forks ?? []), fork] } : out;
    },
    ssmConv: (columns, w) => carriedConv(columns, w, site('conv')),
    ssmScan: (state, A, token) => carriedScan(state, A, token, site('scan')),
    ssmScanHeads: (state, A, token, n_group) => carriedHeads(state, A, token, n_group, site('scan of heads')),
    ...carriedRwkv(site),
  };
}

/** What may be chosen at a place; only one thing where that is given. */
function forkAt(
  place: Place,
  logits: Carried,
  n: number,
  { routes, reach = ROUTER_REACH }: ForwardOptions,
): Fork {
  const given = routes?.at(place);
  return { ...place, choices: given ? [given] : possibleChoices(logits.v, logits.s, n, reach) };
}

/** v_i = f(x_i) */
function carriedEach(x: Carried, v: Float64Array, slope: (xi: number) => number, at: Collected): Carried {
  const s = v.map((_, i) => slope(x.v[i]!) ** 2 * x.s[i]! + at.variance(i));
  return rowOf(v, s, x);
}

function slopeOfSilu(x: number): number {
  const sigmoid = 1 / (1 + Math.exp(-x));
  return sigmoid * (1 + x * (1 - sigmoid));
}

function carriedProduct(w: Matrix, x: Carried, at: Collected): Carried {
  const v = matVec(w, x.v, at);
  const { n_in, data } = w;
  const cast = at.step('cast');
  const input = casts(w, at.profile) ? x.s.map((si, i) => si + cast.variance(i)) : x.s;
  const s = new Float64Array(v.length);
  for (let o = 0; o < v.length; o++) {
    let sum = at.variance(o);
    for (let i = 0; i < n_in; i++) {
      const wi = data[o * n_in + i]!;
      sum += wi * wi * input[i]!;
    }
    s[o] = sum;
  }
  return rowOf(v, s, x);
}

/** y_i = w_i x_i / r: an error of x_j moves y_i through r too. */
function carriedNorm(x: Carried, eps: number, w: Float64Array | undefined, at: Collected): Carried {
  const n = x.v.length;
  const v = rmsNorm(x.v, eps, w, at);
  let squares = 0;
  for (const xi of x.v) squares += xi * xi;
  const r = Math.sqrt(squares / n + eps);
  const common = at.step('scale').variance(0) * r * r; // relative
  /** Sum over j of (x_j / (n r^3))^2 s_j. */
  let through = 0;
  for (let j = 0; j < n; j++) through += (x.v[j]! / (n * r ** 3)) ** 2 * x.s[j]!;
  const s = v.map((vi, i) => {
    const xi = x.v[i]!;
    const wi = w ? w[i]! : 1;
    const bend = xi / (n * r ** 3);
    const own = (1 / r - xi * bend) ** 2 * x.s[i]!;
    const others = xi * xi * (through - bend * bend * x.s[i]!);
    return wi * wi * (own + Math.max(others, 0)) + vi * vi * common + at.variance(i);
  });
  // Variance of r itself: sum of (x_j / (n r))^2 s_j, and its own rounding.
  const spread = Math.sqrt(through * r ** 4 + common * r * r);
  const out = rowOf(v, s, x);
  return REACH * spread > r * NORM_SHARE ? { ...out, ill: true } : out;
}

function carriedRope(x: Carried, pos: number, shape: RopeShape, at: Collected): Carried {
  const v = rope(x.v, pos, shape, at);
  const s = x.s.slice();
  const { n_embd_head, n_rot, freq_base, freq_scale } = shape;
  for (let i = 0; 2 * i < n_rot; i++) {
    const angle = pos * freq_scale * freq_base ** ((-2 * i) / n_rot);
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    const turn = at.profile.rope === 'F32' ? at.step('angle').variance(i) : 0;
    const cosVariance = at.step('cos').variance(i);
    const sinVariance = at.step('sin').variance(i);
    const [first, second] = pairOf(shape, i);
    for (let head = 0; head < x.v.length; head += n_embd_head) {
      const [a, b] = [head + first, head + second];
      const [p, q] = [x.v[a]!, x.v[b]!];
      const [sp, sq] = [x.s[a]!, x.s[b]!];
      // The error of the angle moves each of a pair by the other.
      s[a] =
        cos * cos * sp +
        sin * sin * sq +
        p * p * cosVariance +
        q * q * sinVariance +
        turn * v[b]! ** 2 +
        at.variance(a);
      s[b] =
        sin * sin * sp +
        cos * cos * sq +
        p * p * sinVariance +
        q * q * cosVariance +
        turn * v[a]! ** 2 +
        at.variance(b);
    }
  }
  return rowOf(v, s, x);
}

function carriedHalf(x: Carried, at: Collected): Carried {
  const v = noisyHalf(x.v, at);
  const s = x.s.map((si, i) => si + at.variance(i));
  const near = v.some((vi, i) => Math.abs(vi) + HALF_REACH * Math.sqrt(s[i]!) > HALF_MAX);
  const out = rowOf(v, s, x);
  return near ? { ...out, overflow: true } : out;
}

/**
 * out = sum p v. An error of score k moves out by p_k (v_k - out): that keeps what the softmax cancels. An error of an
 * exponential is one of its score.
 */
function carriedAttention(
  q: Carried,
  k: readonly Carried[],
  v: readonly Carried[],
  shape: AttentionShape,
  at: Collected,
): Carried {
  const { n_head, n_head_kv, n_embd_head: d } = shape;
  const keys = k.map((row) => row.v);
  const values = v.map((row) => row.v);
  const out = attend(q.v, keys, values, shape, at);
  const s = new Float64Array(out.length);
  const [atScore, atCap, atBias] = [at.step('score'), at.step('cap'), at.step('bias')];
  const [atExp, atSum] = [at.step('exp'), at.step('sum')];
  const root = rootOf(shape);
  const { softcap } = shape;
  const atCast = at.step('cast');
  const query = castsAttention(shape, at) ? q.s.map((si, i) => si + atCast.variance(i)) : q.s;
  let ill = false;
  for (let head = 0; head < n_head; head++) {
    const q0 = head * d;
    const kv0 = Math.floor((head * n_head_kv) / n_head) * d;
    const dot = scores(q.v, q0, keys, kv0, d, root);
    const score = biased(capped(dot, shape, head), shape, head);
    const max = score.reduce((a, b) => Math.max(a, b), -Infinity);
    const e = score.map((x) => Math.exp(x - max));
    const sum = e.reduce((a, b) => a + b, 0);
    const spread = score.map((_, j) => {
      const element = head * k.length + j;
      let carry = 0;
      for (let i = 0; i < d; i++) {
        carry += keys[j]![kv0 + i]! ** 2 * query[q0 + i]! + q.v[q0 + i]! ** 2 * k[j]!.s[kv0 + i]!;
      }
      let variance = carry / (root * root) + atScore.variance(element);
      if (softcap !== undefined)
        variance = variance * slopeOfSoftcap(dot[j]!, softcap) ** 2 + atCap.variance(element);
      if (shape.alibi !== undefined) variance += atBias.variance(element);
      if (REACH * Math.sqrt(variance) > SCORE_ERROR) ill = true;
      return variance;
    });
    const relativeSum = atSum.variance(head) / (sum * sum);
    for (let i = 0; i < d; i++) {
      const o = out[q0 + i]!;
      let carry = at.variance(q0 + i) + o * o * relativeSum;
      for (let j = 0; j < k.length; j++) {
        const p = e[j]! / sum;
        const exponential = atExp.variance(head * k.length + j) / (sum * sum);
        const lever = values[j]![kv0 + i]! - o;
        carry += p * p * v[j]!.s[kv0 + i]! + lever * lever * (p * p * spread[j]! + exponential);
      }
      s[q0 + i] = carry;
    }
  }
  const all = rowOf(out, s, q, ...k, ...v);
  return ill ? { ...all, ill } : all;
}

function carriedConv(columns: readonly Carried[], w: Matrix, at: Collected): Carried {
  const v = ssmConv(
    columns.map((column) => column.v),
    w,
    at,
  )[0]!;
  const s = v.map((_, c) => {
    let sum = at.variance(c);
    for (let k = 0; k < w.n_in; k++) sum += w.data[c * w.n_in + k]! ** 2 * columns[k]!.s[c]!;
    return sum;
  });
  return rowOf(v, s, ...columns);
}

function carriedScan(state: Carried, A: Matrix, token: ScanToken<Carried>, at: Collected): Scanned<Carried> {
  const { x, dt, B, C } = token;
  const scan = ssmScan(state.v, A, [{ x: x.v, dt: dt.v, B: B.v, C: C.v }], at);
  const y = scan.y[0]!;
  const now = scan.state;
  const d_state = A.n_in;
  const [atSoftplus, atState] = [at.step('softplus'), at.step('state')];
  const s = new Float64Array(now.length);
  const out = new Float64Array(y.length);
  for (let c = 0; c < y.length; c++) {
    const delta = softplus(dt.v[c]!);
    const sigmoid = dt.v[c]! > 20 ? 1 : 1 / (1 + Math.exp(-dt.v[c]!));
    const deltaVariance = sigmoid * sigmoid * dt.s[c]! + atSoftplus.variance(c);
    let carry = at.variance(c);
    // x and delta move all states of a channel at once: what they do to y is added up before it is squared.
    let [yByDelta, yByX] = [0, 0];
    for (let n = 0; n < d_state; n++) {
      const i = n + d_state * c;
      const decay = Math.exp(delta * A.data[i]!);
      const byDelta = state.v[i]! * decay * A.data[i]! + B.v[n]! * x.v[c]!;
      const byX = B.v[n]! * delta;
      const alone = decay * decay * state.s[i]! + (x.v[c]! * delta) ** 2 * B.s[n]! + atState.variance(i);
      s[i] = alone + byDelta * byDelta * deltaVariance + byX * byX * x.s[c]!;
      yByDelta += C.v[n]! * byDelta;
      yByX += C.v[n]! * byX;
      carry += C.v[n]! ** 2 * alone + now[i]! ** 2 * C.s[n]!;
    }
    out[c] = carry + yByDelta * yByDelta * deltaVariance + yByX * yByX * x.s[c]!;
  }
  const from = [state, x, dt, B, C];
  return { y: rowOf(y, out, ...from), state: rowOf(now, s, ...from) };
}

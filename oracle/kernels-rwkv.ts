/**
 * The operators of RWKV with rigorous bounds (`kernels-white.ts`): values are those of the oracle's own operators, bounds
 * come from their steps, one by one (`near.ts`).
 */
import type {
  GatedAddInput,
  LayerNormInput,
  LerpInput,
  PointwiseInput,
  RwkvInput,
  TokenShiftInput,
  Wkv6OperatorInput,
  Wkv7KeysInput,
  Wkv7OperatorInput,
  Wkv7OutputInput,
} from '../contract/operators-rwkv.ts';
import type { RoundingProfile } from '../contract/subject.ts';
import { partSums, standardized, unitParts } from './layer-norm.ts';
import { add, mul } from './math.ts';
import { type Near, NearArithmetic, product } from './near.ts';
import { lerp, pointwise, scaled } from './pointwise.ts';
import { TINY32, U32 } from './rounding.ts';
import { wkv6, wkv7 } from './wkv.ts';

/** Rows of an answer: values, and how far each may be off. */
export interface BoundedRow {
  readonly v: Float64Array;
  readonly e: Float64Array;
}

export interface RwkvAnswer {
  readonly n: number;
  readonly rows: readonly BoundedRow[];
  /** The new state of each set, of an operator that has states. */
  readonly states?: readonly BoundedRow[];
}

const STRONGEST_DECAY = Math.fround(-0.606531);
const SHORTEST = Math.fround(1e-12);
/** Below the normal range an exponential is good to a few of the smallest numbers, and so is what is made of it. */
const LOST = 4 * TINY32;

function rowsOf(data: Float32Array, n: number): Float64Array[] {
  return Array.from({ length: data.length / n }, (_, r) =>
    Float64Array.from(data.subarray(r * n, (r + 1) * n)),
  );
}

/** The oracle's values with the bounds of the steps. */
function bounded(v: Float64Array, steps: readonly Near[]): BoundedRow {
  return { v, e: Float64Array.from(steps, ({ e }) => e) };
}

const exactRow = (v: ArrayLike<number>): BoundedRow => ({
  v: Float64Array.from(v),
  e: new Float64Array(v.length),
});

/** Channels begin .. begin + d - 1. */
function part<T>(row: ArrayLike<T>, begin: number, d: number): T[] {
  return Array.from({ length: d }, (_, c) => row[begin + c]!);
}

function layerNorm(input: LayerNormInput, near: NearArithmetic): RwkvAnswer {
  const { n_part, d, eps } = input;
  const n = n_part * d;
  const [w, b] = [Float64Array.from(input.weight), Float64Array.from(input.bias)];
  const rows = rowsOf(input.x, n).map((x) => {
    const v = add(mul(standardized(x, n_part, eps), w), b);
    const steps = Array.from({ length: n_part }, (_, p) => {
      const own = part(x, p * d, d).map((xi) => near.exact(xi));
      const sum = near.total(own, near.orders.rows, false);
      const mean = near.rounded(sum.v / d, sum.e / d);
      const differences = own.map((xi) => near.minus(xi, mean));
      const squares = near.total(
        differences.map((x2) => product(x2, x2)),
        near.orders.rows,
        true,
      );
      const variance = near.plus(near.rounded(squares.v / d, squares.e / d), near.exact(eps));
      const scale = near.reciprocal(near.root(variance));
      return differences.map((x2, c) =>
        near.fma(near.times(x2, scale), near.exact(w[p * d + c]!), near.exact(b[p * d + c]!)),
      );
    });
    return bounded(v, steps.flat());
  });
  return { n, rows };
}

function tokenShift({ n, n_seq_tokens, x, states }: TokenShiftInput): RwkvAnswer {
  const all = rowsOf(x, n);
  const zero = new Float64Array(n);
  const rows = all.map((_, r) =>
    exactRow(r % n_seq_tokens > 0 ? all[r - 1]! : (states[r / n_seq_tokens] ?? zero)),
  );
  return { n, rows, states: states.map((_, s) => exactRow(all[(s + 1) * n_seq_tokens - 1]!)) };
}

function lerps({ n, weight, way, ...input }: LerpInput, near: NearArithmetic): RwkvAnswer {
  const [to, ways] = [rowsOf(input.to, n), way === null ? [] : rowsOf(way, n)];
  const zeros = new Float64Array(n);
  const fixed = weight === null ? zeros : Float64Array.from(weight);
  const rows = rowsOf(input.x, n).map((x, r) => {
    const own = ways[r] ?? zeros;
    const steps = Array.from(x, (xi, i) => {
      const from = near.exact(xi);
      const [a, b] = [near.exact(fixed[i]!), near.exact(own[i]!)];
      const by = weight === null || way === null ? { v: a.v + b.v, e: 0 } : near.plus(a, b);
      return near.fma(near.minus(near.exact(to[r]![i]!), from), by, from);
    });
    return bounded(lerp(x, to[r]!, add(fixed, own)), steps);
  });
  return { n, rows };
}

/** A sigmoid of an exact number. */
function sigmoidOf(x: number): Near {
  const v = pointwise('sigmoid', Float64Array.of(x))[0]!;
  return { v, e: 5 * U32 * v + LOST };
}

/** An exponential of a number that is off by e. */
function exponential({ v: x, e }: Near): Near {
  const v = Math.exp(x);
  const moved = v === 0 ? 0 : v * Math.expm1(e);
  return { v, e: moved + 4 * U32 * (v + moved) + LOST };
}

function pointwiseRows({ f, n, ...input }: PointwiseInput, near: NearArithmetic): RwkvAnswer {
  const apply = (x: Float64Array): BoundedRow => {
    if (f === 'decay6') {
      const exponent = pointwise('exp', x);
      const steps = Array.from(exponent, (v) => exponential({ v: -v, e: 4 * U32 * v + LOST }));
      return bounded(pointwise('exp', scaled(exponent, -1)), steps);
    }
    if (f === 'decay7') {
      const v = pointwise('exp', scaled(pointwise('sigmoid', x), STRONGEST_DECAY));
      const steps = Array.from(x, (xi) =>
        exponential(near.times(near.exact(STRONGEST_DECAY), sigmoidOf(xi))),
      );
      return bounded(v, steps);
    }
    const v = pointwise(f, x);
    return { v, e: v.map((vi) => (f === 'reluSquared' ? 1 : 5) * U32 * Math.abs(vi) + LOST) };
  };
  return { n, rows: rowsOf(input.x, n).map(apply) };
}

function gatedAdd({ n, scale, ...input }: GatedAddInput, near: NearArithmetic): RwkvAnswer {
  const [gate, y] = [rowsOf(input.gate, n), rowsOf(input.y, n)];
  const rows = rowsOf(input.x, n).map((x, r) => {
    const v = scaled(add(x, mul(pointwise('sigmoid', gate[r]!), y[r]!)), scale);
    const steps = Array.from(x, (xi, i) => {
      const sum = near.fma(sigmoidOf(gate[r]![i]!), near.exact(y[r]![i]!), near.exact(xi));
      return { v: sum.v * scale, e: sum.e * scale + TINY32 };
    });
    return bounded(v, steps);
  });
  return { n, rows };
}

/** The sets of a recurrence, token by token: `step` gives y and the next state of one token. */
function recurrence(
  { n_head, d, n_seq_tokens, states }: Wkv6OperatorInput | Wkv7OperatorInput,
  step: (state: BoundedRow, token: number) => { readonly y: BoundedRow; readonly state: BoundedRow },
): RwkvAnswer {
  const rows: BoundedRow[] = [];
  const next = states.map((old, s) => {
    let state = exactRow(old ?? new Float64Array(n_head * d * d));
    for (let t = s * n_seq_tokens; t < (s + 1) * n_seq_tokens; t++) {
      const after = step(state, t);
      rows.push(after.y);
      state = after.state;
    }
    return state;
  });
  return { n: n_head * d, rows, states: next };
}

/** Element (i, j) of each head of a state. */
function eachHead(n_head: number, d: number, of: (head: number, i: number, place: number) => void): void {
  for (let head = 0; head < n_head * d; head += d) for (let i = 0; i < d; i++) of(head, i, (head + i) * d);
}

function wkv6Rows(input: Wkv6OperatorInput, near: NearArithmetic): RwkvAnswer {
  const { n_head, d } = input;
  const [r, w, k, v] = [input.r, input.w, input.k, input.v].map((rows) => rowsOf(rows, n_head * d));
  const u = Float64Array.from(input.u);
  return recurrence(input, (state, t) => {
    const token = { r: r![t]!, w: w![t]!, k: k![t]!, v: v![t]! };
    const now = wkv6(state.v, token, u, n_head);
    const terms: Near[][] = Array.from(now.y, () => []);
    const next: Near[] = [];
    eachHead(n_head, d, (head, i, place) => {
      for (let j = 0; j < d; j++) {
        const old = { v: state.v[place + j]!, e: state.e[place + j]! };
        const input_ = near.times(near.exact(token.k[head + i]!), near.exact(token.v[head + j]!));
        const seen = near.fma(near.exact(u[head + i]!), input_, old);
        terms[head + j]!.push(product(near.exact(token.r[head + i]!), seen));
        next[place + j] = near.fma(old, near.exact(token.w[head + i]!), input_);
      }
    });
    const sums = terms.map((own) => near.total(own, near.orders.products, true));
    return { y: bounded(now.y, sums), state: bounded(now.state, next) };
  });
}

function wkv7Rows(input: Wkv7OperatorInput, near: NearArithmetic): RwkvAnswer {
  const { n_head, d } = input;
  const of = (rows: Float32Array) => rowsOf(rows, n_head * d);
  const [r, w, k, v, kappa, iclr] = [
    of(input.r),
    of(input.w),
    of(input.k),
    of(input.v),
    of(input.kappa),
    of(input.iclr),
  ];
  return recurrence(input, (state, t) => {
    const token = { r: r[t]!, w: w[t]!, k: k[t]!, v: v[t]!, kappa: kappa[t]!, iclr: iclr[t]! };
    const now = wkv7(state.v, token, n_head);
    const near_ = (row: Float64Array) => Array.from(row, (x) => near.exact(x));
    const [rs, ws, ks, vs, kappas] = [
      near_(token.r),
      near_(token.w),
      near_(token.k),
      near_(token.v),
      near_(token.kappa),
    ];
    const b = kappas.map((x, j) => near.times(x, near.exact(token.iclr[j]!)));
    const sums: Near[] = [];
    const next: Near[] = [];
    eachHead(n_head, d, (head, i, place) => {
      const old = part(state.v, place, d).map((x, j) => ({ v: x, e: state.e[place + j]! }));
      const lost = old.map((M, j) => product({ v: -kappas[head + j]!.v, e: 0 }, M));
      const removed = near.total(lost, near.orders.products, true);
      const news = old.map((M, j) => {
        const fed = near.fma(removed, b[head + j]!, near.times(vs[head + i]!, ks[head + j]!));
        return near.fma(M, ws[head + j]!, fed);
      });
      news.forEach((M, j) => {
        next[place + j] = M;
      });
      const read = news.map((M, j) => product(M, rs[head + j]!));
      sums[head + i] = near.total(read, near.orders.products, true);
    });
    return { y: bounded(now.y, sums), state: bounded(now.state, next) };
  });
}

function wkv7Keys(input: Wkv7KeysInput, near: NearArithmetic): RwkvAnswer {
  const { n_head, d } = input;
  const n = n_head * d;
  const [scale, share] = [Float64Array.from(input.scale), Float64Array.from(input.share)];
  const iclr = rowsOf(input.iclr, n);
  const rows = rowsOf(input.k, n).map((k, r) => {
    const rate = iclr[r]!;
    const kappa = unitParts(mul(k, scale), n_head, SHORTEST);
    const kept = add(new Float64Array(n).fill(1), mul(add(rate, new Float64Array(n).fill(-1)), share));
    const steps: Near[] = [];
    for (let head = 0; head < n; head += d) {
      const q = part(k, head, d).map((ki, c) => near.times(near.exact(ki), near.exact(scale[head + c]!)));
      const squares = near.total(
        q.map((x) => product(x, x)),
        near.orders.rows,
        true,
      );
      const length = near.root(squares);
      const short = length.v + length.e <= SHORTEST;
      const size = short ? near.exact(SHORTEST) : { v: Math.max(length.v, SHORTEST), e: length.e };
      const s = near.reciprocal(size);
      q.forEach((x, c) => {
        const i = head + c;
        const unit = near.times(x, s);
        const less = near.minus(near.exact(rate[i]!), near.exact(1));
        steps[i] = unit;
        steps[n + i] = near.times(unit, near.exact(rate[i]!));
        const all = near.fma(less, near.exact(share[i]!), near.exact(1));
        steps[2 * n + i] = near.times(near.exact(k[i]!), all);
      });
    }
    return bounded(Float64Array.from([...kappa, ...mul(kappa, rate), ...mul(k, kept)]), steps);
  });
  return { n: 3 * n, rows };
}

function wkv7Output(input: Wkv7OutputInput, near: NearArithmetic): RwkvAnswer {
  const { n_head, d } = input;
  const n = n_head * d;
  const rk = Float64Array.from(input.rk);
  const of = (rows: Float32Array) => rowsOf(rows, n);
  const [r, k, v, g] = [of(input.r), of(input.k), of(input.v), of(input.g)];
  const rows = of(input.y).map((y, row) => {
    const sums = partSums(mul(mul(k[row]!, r[row]!), rk), n_head);
    const values = mul(add(y, mul(sums, v[row]!)), g[row]!);
    const steps: Near[] = [];
    for (let head = 0; head < n; head += d) {
      const terms = part(k[row]!, head, d).map((ki, c) => {
        const kr = near.times(near.exact(ki), near.exact(r[row]![head + c]!));
        return product(kr, near.exact(rk[head + c]!));
      });
      const sum = near.total(terms, near.orders.rows, true);
      for (let i = head; i < head + d; i++) {
        const whole = near.fma(sum, near.exact(v[row]![i]!), near.exact(y[i]!));
        steps[i] = near.times(whole, near.exact(g[row]![i]!));
      }
    }
    return bounded(values, steps);
  });
  return { n, rows };
}

/** An operator of RWKV, with the rigorous bound of each element. */
export function rwkvAnswer(input: RwkvInput, profile: RoundingProfile): RwkvAnswer {
  const near = new NearArithmetic(profile);
  switch (input.op) {
    case 'layerNorm':
      return layerNorm(input, near);
    case 'tokenShift':
      return tokenShift(input);
    case 'lerp':
      return lerps(input, near);
    case 'pointwise':
      return pointwiseRows(input, near);
    case 'gatedAdd':
      return gatedAdd(input, near);
    case 'wkv6':
      return wkv6Rows(input, near);
    case 'wkv7':
      return wkv7Rows(input, near);
    case 'wkv7Keys':
      return wkv7Keys(input, near);
    case 'wkv7Output':
      return wkv7Output(input, near);
  }
}

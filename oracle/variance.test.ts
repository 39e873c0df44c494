/** Each carry rule against derivatives that are taken numerically, and the two flags that a row can get. */
import { describe, expect, it } from 'vitest';
import type { RoundingProfile } from '../contract/subject.ts';
import type { Matrix } from './math.ts';
import { type Operators, plain } from './operators.ts';
import { seeded, signed } from './testing.ts';
import { type Carried, carried } from './variance.ts';

const PROFILE: RoundingProfile = {
  fma: true,
  products: { order: 'sequential' },
  rows: { order: 'sequential' },
  keys: { order: 'sequential' },
  rope: 'F32',
  f16_activations: 'F32',
  attention: 'F32',
  softplus: 'log1p',
  gelu: 'logistic',
  kv: 'as asked',
};
const numbers = plain();
const both = carried(PROFILE);
const random = seeded(5);
const rowOf = (n: number, scale = 1) => Float64Array.from({ length: n }, () => signed(random) * scale);
const matrixOf = (n_in: number, n_out: number): Matrix => ({ n_in, n_out, data: rowOf(n_in * n_out) });
const with_ = (v: Float64Array, s: Float64Array): Carried => ({ v, s, ill: false, overflow: false });

const PLACE = { entry: { token: 0, pos_eval: 0, pos: 0, saw: [] }, il: 0 };

type Formula = <R>(ops: Operators<R>, x: readonly R[]) => R;

/** Variance of each output by (dy/dx)^2 s, derivatives by central differences. */
function numeric(formula: Formula, x: readonly Float64Array[], s: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(formula(numbers, x).length);
  x.forEach((input, k) => {
    for (let i = 0; i < input.length; i++) {
      const h = 1e-5 * (Math.abs(input[i]!) + 0.1);
      const moved = (by: number) =>
        formula(
          numbers,
          x.map((row, other) => (other === k ? row.map((v, j) => (j === i ? v + by : v)) : row)),
        );
      const [up, down] = [moved(h), moved(-h)];
      for (let o = 0; o < out.length; o++) out[o]! += ((up[o]! - down[o]!) / (2 * h)) ** 2 * s[k]![i]!;
    }
  });
  return out;
}

const w = matrixOf(6, 5);
const conv = matrixOf(3, 6);
const shape = { n_embd_head: 6, n_rot: 4, freq_base: 10000, freq_scale: 1 };
const heads = { n_head: 2, n_head_kv: 1, n_embd_head: 3 };
const A: Matrix = { n_in: 2, n_out: 3, data: rowOf(6).map((a) => -Math.abs(a) - 0.1) };
/** Two heads of two channels in two groups. */
const A2 = Float64Array.of(-0.3, -1.1);
const weights = rowOf(6);

const FORMULAS: Record<string, { sizes: readonly number[]; formula: Formula }> = {
  'matrix product': { sizes: [6], formula: (ops, [x]) => ops.matVec(w, x!, 'o') },
  sum: { sizes: [6, 6], formula: (ops, [a, b]) => ops.add(a!, b!, 'o') },
  product: { sizes: [6, 6], formula: (ops, [a, b]) => ops.mul(a!, b!, 'o') },
  slice: { sizes: [6], formula: (ops, [x]) => ops.slice(x!, 2, 5) },
  'rows one behind the other': { sizes: [2, 3], formula: (ops, x) => ops.join(x) },
  scaling: { sizes: [6], formula: (ops, [x]) => ops.scale(x!, Math.fround(Math.sqrt(6)), 'o') },
  GELU: { sizes: [6], formula: (ops, [x]) => ops.gelu(x!, 'o') },
  softcap: { sizes: [6], formula: (ops, [x]) => ops.softcap(x!, 0.7, 'o') },
  'one key of attention with capped scores': {
    sizes: [3],
    formula: (ops, [key]) => {
      const k = [ops.constant(rowsOf.k[0]!), key!, ops.constant(rowsOf.k[2]!)];
      const v = rowsOf.v.map((row) => ops.constant(row));
      return ops.attend(ops.constant(rowsOf.q), k, v, { ...heads, root: 1.5, softcap: 0.8 }, 'o');
    },
  },
  SiLU: { sizes: [6], formula: (ops, [x]) => ops.silu(x!, 'o') },
  'RMS norm': { sizes: [6], formula: (ops, [x]) => ops.rmsNorm(x!, 1e-5, weights, 'o') },
  'RMS norm without weights': { sizes: [6], formula: (ops, [x]) => ops.rmsNorm(x!, 1e-2, undefined, 'o') },
  rope: { sizes: [12], formula: (ops, [x]) => ops.rope(x!, 7, shape) },
  'rope of type NEOX': { sizes: [12], formula: (ops, [x]) => ops.rope(x!, 7, { ...shape, type: 'NEOX' }) },
  'norms of two heads': {
    sizes: [12],
    formula: (ops, [x]) =>
      ops.join([0, 6].map((at) => ops.rmsNorm(ops.slice(x!, at, at + 6), 1e-5, weights, 'o'))),
  },
  'mixture of experts': {
    sizes: [4, 5, 5],
    // Experts 1 and 3 have the largest logits, whatever moves a little.
    formula: (ops, [logits, a, b]) => {
      const far = ops.add(logits!, ops.constant(Float64Array.of(-3, 1, -5, 1.5)), 'o');
      return ops.mixture(far, 2, (e) => (e === 1 ? a! : b!), PLACE, 'o');
    },
  },
  'mixture of experts that is not renormalised': {
    sizes: [4, 5, 5],
    formula: (ops, [logits, a, b]) => {
      const far = ops.add(logits!, ops.constant(Float64Array.of(-1, 1, -2, 1.5)), 'o');
      return ops.mixture(far, 2, (e) => (e === 1 ? a! : b!), PLACE, 'o', 'all');
    },
  },
  convolution: { sizes: [6, 6, 6], formula: (ops, x) => ops.ssmConv(x, conv, 'o') },
  'values of attention': {
    sizes: [3, 3, 3],
    formula: (ops, v) => {
      const [q, k] = [ops.constant(rowsOf.q), rowsOf.k.map((row) => ops.constant(row))];
      return ops.attend(q, k, v, heads, 'o');
    },
  },
  'one key of attention': {
    sizes: [3],
    formula: (ops, [key]) => {
      const k = [ops.constant(rowsOf.k[0]!), key!, ops.constant(rowsOf.k[2]!)];
      const v = rowsOf.v.map((row) => ops.constant(row));
      return ops.attend(ops.constant(rowsOf.q), k, v, heads, 'o');
    },
  },
  'state of the scan': {
    sizes: [6, 3, 3, 2],
    formula: (ops, [state, x, dt, B]) =>
      ops.ssmScan(state!, A, { x: x!, dt: dt!, B: B!, C: ops.constant(rowsOf.C) }, 'o').state,
  },
  tanh: { sizes: [6], formula: (ops, [x]) => ops.apply('tanh', x!, 'o') },
  sigmoid: { sizes: [6], formula: (ops, [x]) => ops.apply('sigmoid', x!, 'o') },
  exp: { sizes: [6], formula: (ops, [x]) => ops.apply('exp', x!, 'o') },
  // Away from where its slope is zero.
  'ReLU squared': {
    sizes: [6],
    formula: (ops, [x]) => ops.apply('reluSquared', ops.apply('exp', x!, 'e'), 'o'),
  },
  'product with a number': { sizes: [6], formula: (ops, [x]) => ops.scale(x!, -0.7, 'o') },
  'way from one row to another': {
    sizes: [6, 6, 6],
    formula: (ops, [x, to, by]) => ops.lerp(x!, to!, by!, 'o'),
  },
  'parts of mean 0 and variance 1': { sizes: [6], formula: (ops, [x]) => ops.standardize(x!, 2, 1e-2, 'o') },
  'row of mean 0 and variance 1': { sizes: [6], formula: (ops, [x]) => ops.standardize(x!, 1, 1e-5, 'o') },
  'parts of length 1': { sizes: [6], formula: (ops, [x]) => ops.unitParts(x!, 2, 1e-12, 'o') },
  'parts that are too short': { sizes: [6], formula: (ops, [x]) => ops.unitParts(x!, 2, 10, 'o') },
  'sums of parts': { sizes: [6], formula: (ops, [x]) => ops.partSums(x!, 2, 'o') },
  ...recurrences(),
  'output of the scan': {
    sizes: [6, 3, 3, 2, 2],
    formula: (ops, [state, x, dt, B, C]) => ops.ssmScan(state!, A, { x: x!, dt: dt!, B: B!, C: C! }, 'o').y,
  },
  'state of the scan of heads': {
    sizes: [12, 4, 2, 6],
    formula: (ops, [state, x, dt, B]) =>
      ops.ssmScanHeads(state!, A2, { x: x!, dt: dt!, B: B!, C: ops.constant(weights) }, 2, 'o').state,
  },
  'output of the scan of heads': {
    sizes: [12, 4, 2, 6, 6],
    formula: (ops, [state, x, dt, B, C]) =>
      ops.ssmScanHeads(state!, A2, { x: x!, dt: dt!, B: B!, C: C! }, 2, 'o').y,
  },
};
/** Two heads of three channels. */
function recurrences(): typeof FORMULAS {
  const six = <R>(ops: Operators<R>, [state, r, k, v, w]: readonly R[]) =>
    ops.wkv6(state!, { r: r!, k: k!, v: v!, w: w! }, weights, 2, 'o');
  const seven = <R>(ops: Operators<R>, [state, r, k, v, w, kappa, iclr]: readonly R[]) =>
    ops.wkv7(state!, { r: r!, k: k!, v: v!, w: w!, kappa: kappa!, iclr: iclr! }, 2, 'o');
  const [sizes6, sizes7] = [
    [18, 6, 6, 6, 6],
    [18, 6, 6, 6, 6, 6, 6],
  ];
  return {
    'output of wkv6': { sizes: sizes6, formula: (ops, x) => six(ops, x).y },
    'state of wkv6': { sizes: sizes6, formula: (ops, x) => six(ops, x).state },
    'output of wkv7': { sizes: sizes7, formula: (ops, x) => seven(ops, x).y },
    'state of wkv7': { sizes: sizes7, formula: (ops, x) => seven(ops, x).state },
  };
}

const rowsOf = {
  q: rowOf(6, 2),
  k: [rowOf(3), rowOf(3), rowOf(3)],
  v: [rowOf(3), rowOf(3), rowOf(3)],
  x: rowOf(3),
  dt: rowOf(3),
  B: rowOf(2),
  C: rowOf(2),
};

describe('variances are carried by the squared derivatives', () => {
  it.each(Object.keys(FORMULAS))('%s', (name) => {
    const { sizes, formula } = FORMULAS[name]!;
    for (let run = 0; run < 5; run++) {
      const x = sizes.map((n) => rowOf(n));
      const s = sizes.map((n) => rowOf(n).map((v) => v * v * 1e-10));
      const none = sizes.map((n) => new Float64Array(n));
      const inputs = (variances: readonly Float64Array[]) => x.map((v, k) => with_(v, variances[k]!));
      const all = formula(both, inputs(s));
      const local = formula(both, inputs(none));
      const wanted = numeric(formula, x, s);
      expect(all.v).toEqual(formula(numbers, x));
      for (let o = 0; o < wanted.length; o++) {
        expect((all.s[o]! - local.s[o]!) / wanted[o]!).toBeCloseTo(1, 3);
      }
    }
  });

  it('ReLU squared: nothing below zero, and near zero the slope of the larger side', () => {
    const x = with_(Float64Array.of(-1, -1e-6, 1e-6), new Float64Array(3).fill(1e-10));
    const { v, s } = both.apply('reluSquared', x, 'o');
    expect([...v]).toEqual([0, 0, 1e-12]);
    expect(s[0]).toBeLessThan(1e-80);
    expect(s[1]! / 4e-22).toBeCloseTo(1, 6);
    expect(s[2]! / 4e-22).toBeCloseTo(1, 6);
  });

  it('every operation that rounds adds something', () => {
    const x = with_(rowOf(6), new Float64Array(6));
    const added = [
      both.matVec(w, x, 'o'),
      both.add(x, x, 'o'),
      both.mul(x, x, 'o'),
      both.silu(x, 'o'),
      both.gelu(x, 'o'),
      both.softcap(x, 2, 'o'),
      both.scale(x, 3, 'o'),
      both.rmsNorm(x, 1e-5, weights, 'o'),
      both.ssmConv([x, x, x], conv, 'o'),
      both.apply('tanh', x, 'o'),
      both.apply('sigmoid', x, 'o'),
      both.apply('exp', x, 'o'),
      both.scale(x, -0.7, 'o'),
      both.lerp(x, x, x, 'o'),
      both.unitParts(x, 2, 1e-12, 'o'),
      both.wkv6(with_(rowOf(18), new Float64Array(18)), { r: x, k: x, v: x, w: x }, weights, 2, 'o').state,
    ];
    for (const { v, s } of added)
      s.forEach((si, i) => {
        expect(Math.sqrt(si) / Math.abs(v[i]!)).toBeGreaterThan(2 ** -26);
        expect(Math.sqrt(si)).toBeLessThan(2 ** -20 * 6);
      });
  });

  it('GELU by a table rounds what goes in and what comes out to F16, and nothing beyond 10', () => {
    const table = carried({ ...PROFILE, gelu: 'F16 table' });
    const { s } = table.gelu(with_(Float64Array.of(1, -12, 12), new Float64Array(3)), 'o');
    const [value, slope] = [0.8411919906082768, 1.0829640838457826];
    expect(s[0]! / (((slope ** 2 + value ** 2) * 2 ** -22) / 3)).toBeCloseTo(1);
    expect([s[1], s[2]]).toEqual([0, 0]);
  });

  it('a product with a power of two, or its negative, adds nothing', () => {
    const x = with_(rowOf(6), rowOf(6).map(Math.abs));
    for (const factor of [8, -0.25]) {
      const { s } = both.scale(x, factor, 'o');
      expect(s).toEqual(x.s.map((si) => si * factor * factor));
    }
  });

  it('K and V in F16 add half a unit of F16, uniform', () => {
    const half = carried(PROFILE, { type_kv: 'F16' });
    const { v, s } = half.stored(with_(Float64Array.of(1, -3, 1e-7), new Float64Array(3)), 'K');
    expect(v).toEqual(Float64Array.of(1, -3, 1e-7));
    const sizes = [2 ** -11, 3 * 2 ** -11, 2 ** -25];
    for (const [i, b] of sizes.entries()) expect(s[i]! / ((b * b) / 3)).toBeCloseTo(1);
    const x = with_(Float64Array.of(1), new Float64Array(1));
    expect(both.stored(x, 'K')).toBe(x);
  });
});

describe('flags', () => {
  const ops = carried(PROFILE, { type_kv: 'F16' });

  it('a norm of a row that is mostly error is ill-conditioned, and so is what comes of it', () => {
    const tiny = with_(Float64Array.of(1e-6, -1e-6), Float64Array.of(1e-13, 1e-13));
    const bad = ops.rmsNorm(tiny, 1e-14, undefined, 'o');
    expect(bad.ill).toBe(true);
    expect(ops.add(bad, with_(rowOf(2), new Float64Array(2)), 'o').ill).toBe(true);
    const good = with_(Float64Array.of(1, -1), Float64Array.of(1e-13, 1e-13));
    expect(ops.rmsNorm(good, 1e-14, undefined, 'o').ill).toBe(false);
  });

  it('so is a mixture with a logit that may be off by 0.3', () => {
    const rows = [rowOf(3), rowOf(3)].map((v) => with_(v, new Float64Array(3)));
    const mixed = (s: number) =>
      ops.mixture(with_(Float64Array.of(1, 2), Float64Array.of(s, 0)), 2, (e) => rows[e]!, PLACE, 'o').ill;
    expect(mixed(1e-12)).toBe(false);
    expect(mixed(1e-1)).toBe(true);
  });

  it('so is attention with a score that may be off by 0.3', () => {
    const [q, k, v] = [rowsOf.q, rowsOf.k, rowsOf.v];
    const exact = (row: Float64Array) => with_(row, new Float64Array(row.length));
    const key = (s: number) => [with_(k[0]!, new Float64Array(3).fill(s)), exact(k[1]!), exact(k[2]!)];
    expect(ops.attend(exact(q), key(1e-12), v.map(exact), heads, 'o').ill).toBe(false);
    expect(ops.attend(exact(q), key(1e-1), v.map(exact), heads, 'o').ill).toBe(true);
  });

  it('a stored value at the end of F16 may overflow', () => {
    const stored = (x: number, s: number) =>
      ops.stored(with_(Float64Array.of(0, x), Float64Array.of(0, s)), 'V').overflow;
    expect(stored(60000, 0)).toBe(false);
    expect(stored(-65500, 0)).toBe(true);
    expect(stored(60000, 1e6)).toBe(true);
    expect(both.stored(with_(Float64Array.of(1e6), Float64Array.of(0)), 'V').overflow).toBe(false);
  });
});

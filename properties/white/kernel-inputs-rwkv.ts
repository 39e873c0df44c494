/** Cases of the operators of RWKV for `kernels` (`kernel-inputs.ts`): sizes, how they are drawn, and their operands. */
import type { OperatorInput } from '../../contract/operators.ts';
import type { PointwiseFunction, RwkvInput } from '../../contract/operators-rwkv.ts';
import type { Random } from '../random.ts';
import { drawSize, type Numbers, type RowSpec, SMALL, tokenRows } from './kernel-numbers.ts';

type Op = RwkvInput['op'];
type Sizes = Record<string, number>;

/** As `SIZES`. */
export const SIZES_RWKV: {
  readonly [O in Op]: Readonly<Record<string, readonly [least: number, step: number]>>;
} = {
  layerNorm: { n_head: [1, 1], d: [1, 1], eps: [0, 1] },
  tokenShift: { n: [1, 1], tokens: [1, 1] },
  lerp: { n: [1, 1], by: [0, 1] },
  pointwise: { n: [1, 1], f: [0, 1] },
  gatedAdd: { n: [1, 1], half: [0, 1] },
  wkv6: { n_head: [1, 1], d: [1, 1], tokens: [1, 1] },
  wkv7: { n_head: [1, 1], d: [1, 1], tokens: [1, 1] },
  wkv7Keys: { n_head: [1, 1], d: [1, 1] },
  wkv7Output: { n_head: [1, 1], d: [1, 1] },
};

/** Heads of which few fill whole vectors; now and then one with more keys than a sum has in a block. */
function drawHeads(r: Random): Sizes {
  const d = r.pick([1, 2, 3, 8, 15, 16, 17, 24, 32, 33, 64, 70]);
  return { n_head: r.between(1, d > 32 ? 1 : 4), d };
}

function drawRecurrence(r: Random): { readonly sizes: Sizes } {
  const heads = drawHeads(r);
  return { sizes: { ...heads, tokens: r.between(1, heads.d! > 32 ? 2 : 5) } };
}

export const DRAW_RWKV: { readonly [O in Op]: (r: Random) => { readonly sizes: Sizes } } = {
  layerNorm(r) {
    const sizes = r.chance(0.5) ? { n_head: 1, d: drawSize(r) } : drawHeads(r);
    return { sizes: { ...sizes, eps: r.below(EPS.length) } };
  },
  tokenShift: (r) => ({ sizes: { n: drawSize(r, 80), tokens: r.between(1, 6) } }),
  lerp: (r) => ({ sizes: { n: drawSize(r), by: r.below(3) } }),
  pointwise: (r) => ({ sizes: { n: drawSize(r), f: r.below(FUNCTIONS.length) } }),
  gatedAdd: (r) => ({ sizes: { n: drawSize(r), half: r.below(2) } }),
  wkv6: drawRecurrence,
  wkv7: drawRecurrence,
  wkv7Keys: (r) => ({ sizes: drawHeads(r) }),
  wkv7Output: (r) => ({ sizes: drawHeads(r) }),
};

/** As `OFTEN`. */
export const OFTEN_RWKV: Readonly<Record<Op, number>> = {
  layerNorm: 2,
  tokenShift: 1,
  lerp: 1,
  pointwise: 3,
  gatedAdd: 1,
  wkv6: 2,
  wkv7: 3,
  wkv7Keys: 2,
  wkv7Output: 1,
};

const FUNCTIONS: readonly PointwiseFunction[] = ['tanh', 'sigmoid', 'reluSquared', 'decay6', 'decay7'];
/** Not smaller, so that no rounding of a difference is as large as they are. */
const EPS = [1e-5, 64e-5].map(Math.fround);

interface Spec {
  readonly rows: readonly RowSpec[];
}

type Build = (spec: Spec, d: Numbers, sizes: Sizes) => OperatorInput;

/** Rows of both recurrences; what is kept of a state, and rates, lie between 0 and 1. */
function recurrence({ rows }: Spec, d: Numbers, { n_head, d: size, tokens }: Sizes) {
  const n = n_head! * size!;
  const each = tokenRows(rows, tokens!);
  const share = (name: number) => d.plain(name, each.length, n).map((x) => Math.abs(x));
  return {
    n_head: n_head!,
    d: size!,
    n_seq_tokens: tokens!,
    r: d.rows(1, each, n, SMALL),
    w: share(2),
    k: d.rows(3, each, n, SMALL),
    v: d.rows(4, each, n, SMALL),
    states: rows.map((row) => (d.hash(5, row.key) % 4 === 0 ? null : d.row(6, row, n * size!, SMALL))),
    share,
  };
}

export const BUILD_RWKV: { readonly [O in Op]: Build } = {
  layerNorm({ rows }, d, { n_head, d: size, eps }) {
    const n = n_head! * size!;
    const shape = { n_part: n_head!, d: size!, rows: rows.length, eps: EPS[eps! % EPS.length]! };
    const [weight, bias] = [d.plain(2, 1, n), d.plain(3, 1, n)];
    return { op: 'layerNorm', ...shape, x: d.rows(1, rows, n, SMALL), weight, bias };
  },
  tokenShift({ rows }, d, { n, tokens }) {
    const x = d.rows(1, tokenRows(rows, tokens!), n!, SMALL);
    const states = rows.map((row) => (d.hash(3, row.key) % 4 === 0 ? null : d.row(2, row, n!, SMALL)));
    return { op: 'tokenShift', n: n!, n_seq_tokens: tokens!, x, states };
  },
  lerp({ rows }, d, { n, by }) {
    const [x, to] = [d.rows(1, rows, n!, SMALL), d.rows(2, rows, n!, SMALL)];
    const weight = by === 1 ? null : d.plain(3, 1, n!);
    const way = by === 0 ? null : d.rows(4, rows, n!, [-8, 1]);
    return { op: 'lerp', n: n!, rows: rows.length, x, to, weight, way };
  },
  pointwise({ rows }, d, { n, f }) {
    const name = FUNCTIONS[f! % FUNCTIONS.length]!;
    return { op: 'pointwise', f: name, n: n!, rows: rows.length, x: d.rows(1, rows, n!, [-20, 6]) };
  },
  gatedAdd({ rows }, d, { n, half }) {
    const [y, x] = [d.rows(2, rows, n!, SMALL), d.rows(3, rows, n!, SMALL)];
    const gate = d.rows(1, rows, n!, [-20, 7]);
    return { op: 'gatedAdd', n: n!, rows: rows.length, gate, y, x, scale: half ? 0.5 : 1 };
  },
  wkv6(spec, d, sizes) {
    const { share: _, ...input } = recurrence(spec, d, sizes);
    return { op: 'wkv6', ...input, u: d.plain(7, 1, input.n_head * input.d) };
  },
  wkv7(spec, d, sizes) {
    const { share, ...input } = recurrence(spec, d, sizes);
    // A key of unit length, more or less.
    const length = Math.sqrt(input.d);
    const kappa = d.plain(7, tokenRows(spec.rows, sizes.tokens!).length, input.n_head * input.d);
    return { op: 'wkv7', ...input, kappa: kappa.map((x) => x / length), iclr: share(8) };
  },
  wkv7Keys({ rows }, d, { n_head, d: size }) {
    const n = n_head! * size!;
    const iclr = d.plain(2, rows.length, n).map((x) => Math.abs(x));
    const [scale, share] = [d.plain(3, 1, n), d.plain(4, 1, n)];
    const k = d.rows(1, rows, n, SMALL);
    return { op: 'wkv7Keys', n_head: n_head!, d: size!, rows: rows.length, k, iclr, scale, share };
  },
  wkv7Output({ rows }, d, { n_head, d: size }) {
    const n = n_head! * size!;
    const of = (name: number) => d.rows(name, rows, n, SMALL);
    const heads = { n_head: n_head!, d: size!, rows: rows.length };
    return {
      op: 'wkv7Output',
      ...heads,
      y: of(1),
      r: of(2),
      k: of(3),
      v: of(4),
      g: of(5),
      rk: d.plain(6, 1, n),
    };
  },
};

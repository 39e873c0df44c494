/**
 * The inputs of `kernels`: a case names an operator, its sizes and its rows, and the numbers follow from (seed, what
 * they are, row, column) by hashing. So a case file stays small, and a case that is made smaller keeps the numbers of
 * the rows and columns that are left.
 */
import type { ElementType, OperatorInput, OperatorName } from '../../contract/operators.ts';
import { mix32, type Random } from '../random.ts';
import { BUILD_RWKV, DRAW_RWKV, OFTEN_RWKV, SIZES_RWKV } from './kernel-inputs-rwkv.ts';
import {
  drawSize,
  even,
  Numbers,
  ROW_KINDS,
  type RowKind,
  type RowSpec,
  SMALL,
  tokenRows,
} from './kernel-numbers.ts';

export { ROW_KINDS } from './kernel-numbers.ts';

/** Sizes by name; flags are 0 or 1. Which ones there are depends on the operator, see SIZES. */
export interface KernelSpec {
  readonly op: OperatorName;
  readonly seed: number;
  readonly type: ElementType;
  readonly rows: readonly RowSpec[];
  /** Keys of attention. */
  readonly keys: readonly RowSpec[];
  readonly sizes: Readonly<Record<string, number>>;
}

/** What shrinking may do to a size: the smallest, and the step in which it goes. */
export const SIZES: {
  readonly [Op in OperatorName]: Readonly<Record<string, readonly [least: number, step: number]>>;
} = {
  embed: { n: [1, 1], n_vocab: [1, 1] },
  rmsNorm: { n: [1, 1], weighted: [0, 1], eps: [0, 1] },
  headNorm: { n_head: [1, 1], d: [1, 1], weighted: [0, 1], eps: [0, 1] },
  matmul: { k: [1, 1], n: [1, 1], bias: [0, 1], old: [0, 1], mirrored: [0, 1] },
  rope: { neox: [0, 1], n_head: [1, 1], d: [2, 2], n_rot: [2, 2], base: [0, 1], reach: [1, 1] },
  kvStore: { n: [2, 2] },
  attention: {
    n_head_kv: [1, 1],
    group: [1, 1],
    d: [2, 2],
    first: [0, 1],
    gap: [0, 1],
    cap: [0, 1],
    alibi: [0, 1],
  },
  siluMul: { n: [1, 1] },
  route: { n_expert: [1, 1], n_used: [1, 1], ties: [0, 1], shares: [0, 1] },
  expertMatmul: { k: [1, 1], n: [1, 1], n_expert: [1, 1], n_used: [1, 1], per_slot: [0, 1] },
  expertSum: { n: [1, 1], n_used: [1, 1], weighted: [0, 1] },
  geluMul: { n: [1, 1] },
  scaleRows: { n: [1, 1] },
  timesEach: { n: [1, 1], times: [1, 1] },
  normAdd: { n: [1, 1], eps: [0, 1] },
  capOutputs: { n: [1, 1] },
  ssmConv: { n: [1, 1], d_conv: [1, 1], tokens: [1, 1] },
  shortConv: { n: [1, 1], d_conv: [1, 1], tokens: [1, 1] },
  ssmScan: { n: [1, 1], d_state: [1, 1], tokens: [1, 1] },
  ssmGate: { n: [1, 1] },
  ssmScanHeads: { d_head: [1, 1], per_group: [1, 1], n_group: [1, 1], d_state: [1, 1], tokens: [1, 1] },
  ssmGateNorm: { n_group: [1, 1], size: [1, 1], eps: [0, 1] },
  ...SIZES_RWKV,
};

export const OPERATORS = Object.keys(SIZES) as readonly OperatorName[];

/** Multiplications of a case, more or less: the portable kernels take some 20 ns for each. */
const WORK = 16_000;

function drawRows(r: Random, n: number, kinds: readonly RowKind[] = ROW_KINDS): RowSpec[] {
  const one = r.chance(0.5) ? r.pick(kinds) : undefined;
  return Array.from({ length: n }, () => ({ key: r.below(1 << 20), kind: one ?? r.pick(kinds) }));
}

/** Rows, so that `width` numbers a row make not too much work. */
function rowCount(r: Random, width: number): number {
  return Math.min(r.chance(0.2) ? r.between(1, 40) : r.between(1, 8), Math.max(1, Math.floor(WORK / width)));
}

type Drawn = Pick<KernelSpec, 'sizes'> & Partial<Pick<KernelSpec, 'rows' | 'keys'>>;

function drawMatmul(r: Random): Drawn {
  const k = r.chance(0.06) ? r.pick([4096, r.between(257, 1100), r.between(257, 1100)]) : drawSize(r);
  const count = Math.min(rowCount(r, 1), Math.max(1, Math.floor(WORK / k / 4)));
  const n = Math.max(1, Math.min(drawSize(r), Math.floor((2 * WORK) / k / count)));
  const flag = () => (r.chance(0.4) ? 1 : 0);
  return { sizes: { k, n, bias: flag(), old: flag(), mirrored: flag() }, rows: drawRows(r, count) };
}

/** Few rows a matrix, or many: how many meet is up to the routing. */
function drawExperts(r: Random): Drawn {
  const [k, n] = [drawSize(r, 80), drawSize(r, 80)];
  const n_expert = r.pick([1, 2, 4, 6, r.between(1, 12)]);
  const n_used = r.between(1, Math.min(n_expert, 4));
  const count = Math.min(rowCount(r, 1), Math.max(1, Math.floor(WORK / k / n / n_used)));
  return { sizes: { k, n, n_expert, n_used, per_slot: r.below(2) }, rows: drawRows(r, count) };
}

/** Up to 256 keys anywhere, with a gap or without; more begin where a sum over keys is cut. */
function drawAttention(r: Random): Drawn {
  const d = even(r.pick([2, 6, 8, 16, 18, 32, 64, 70, 128, r.between(1, 64)]));
  const n_head_kv = r.between(1, 3);
  const group = r.between(1, 3);
  const count = r.chance(0.15) ? r.between(257, 600) : r.chance(0.5) ? r.ragged(256) : r.between(1, 100);
  const queries = Math.max(1, Math.min(r.between(1, 6), Math.floor(WORK / (n_head_kv * group * d * count))));
  const many = count > 256;
  const first = many ? 256 * r.below(4) : r.chance(0.5) ? 0 : r.below(2000);
  return {
    sizes: {
      n_head_kv,
      group,
      d,
      first,
      gap: many || r.chance(0.6) ? 0 : 1,
      cap: r.chance(0.6) ? 0 : r.between(1, CAPS.length),
      alibi: r.chance(0.7) ? 0 : r.pick([8, 8, 1, 3, 16]),
    },
    rows: drawRows(r, queries),
    keys: drawRows(r, count),
  };
}

const DRAW: { readonly [Op in OperatorName]: (r: Random) => Drawn } = {
  embed: (r) => ({ sizes: { n: drawSize(r), n_vocab: r.between(1, 9) } }),
  rmsNorm: (r) => ({ sizes: { n: drawSize(r), weighted: r.below(2), eps: r.below(EPS.length) } }),
  headNorm: (r) => ({
    sizes: { n_head: r.between(1, 5), d: drawSize(r, 130), weighted: r.below(4), eps: r.below(EPS.length) },
  }),
  matmul: drawMatmul,
  rope(r) {
    const d = even(r.pick([2, 6, 16, 18, 64, 80, 128, r.between(1, 64)]));
    const n_rot = r.chance(0.5) ? d : even(r.between(1, d - 1));
    return {
      sizes: {
        neox: r.below(2),
        n_head: r.between(1, 4),
        d,
        n_rot,
        base: r.below(BASES.length),
        reach: r.pick([40, 300, 2000]),
      },
    };
  },
  kvStore: (r) => ({ sizes: { n: even(drawSize(r)) } }),
  attention: drawAttention,
  siluMul: (r) => ({ sizes: { n: drawSize(r) } }),
  route(r) {
    const n_expert = r.pick([1, 2, 4, 6, 8, 16, 17, r.between(1, 140)]);
    const n_used = r.between(1, Math.min(n_expert, r.chance(0.1) ? 40 : 8));
    return { sizes: { n_expert, n_used, ties: r.below(2), shares: r.below(3) } };
  },
  expertMatmul: drawExperts,
  expertSum: (r) => ({ sizes: { n: drawSize(r), n_used: r.between(1, 6), weighted: r.below(4) } }),
  geluMul: (r) => ({ sizes: { n: drawSize(r) } }),
  scaleRows: (r) => ({ sizes: { n: drawSize(r) } }),
  timesEach: (r) => ({ sizes: { n: drawSize(r), times: r.between(1, 4) } }),
  normAdd: (r) => ({ sizes: { n: drawSize(r), eps: r.below(EPS.length) } }),
  capOutputs: (r) => ({ sizes: { n: drawSize(r) } }),
  ssmConv: (r) => ({
    sizes: { n: drawSize(r, 80), d_conv: r.pick([4, 4, 1, 2, 3, 5]), tokens: r.between(1, 6) },
  }),
  shortConv: (r) => ({
    sizes: { n: drawSize(r, 80), d_conv: r.pick([3, 3, 1, 2, 4, 5]), tokens: r.between(1, 6) },
  }),
  ssmScan(r) {
    const d_state = r.pick([16, 16, 1, 4, 8, 15, 17, 40]);
    const tokens = r.between(1, 6);
    const n = r.between(1, Math.max(1, Math.min(48, Math.floor(1500 / d_state / tokens))));
    return { sizes: { n, d_state, tokens } };
  },
  ssmGate: (r) => ({ sizes: { n: drawSize(r) } }),
  ssmScanHeads(r) {
    const d_state = r.pick([16, 16, 1, 8, 15, 17, 32, 40, 64, 128, 130]);
    const tokens = r.between(1, 6);
    const [n_group, per_group] = [r.pick([1, 1, 2, 3, 8]), r.pick([1, 2, 3])];
    const most = Math.max(1, Math.floor(1500 / d_state / tokens / n_group / per_group));
    return { sizes: { d_head: Math.min(r.between(1, 20), most), per_group, n_group, d_state, tokens } };
  },
  ssmGateNorm(r) {
    const n_group = r.pick([1, 1, 2, 3, 8]);
    return {
      sizes: { n_group, size: Math.max(1, Math.floor(drawSize(r) / n_group)), eps: r.below(EPS.length) },
    };
  },
  ...DRAW_RWKV,
};

/** Operators that are drawn as often as their kernels have cases of their own. */
const OFTEN: Readonly<Record<OperatorName, number>> = {
  embed: 1,
  rmsNorm: 3,
  headNorm: 2,
  matmul: 6,
  rope: 3,
  kvStore: 2,
  attention: 4,
  siluMul: 2,
  route: 2,
  expertMatmul: 3,
  expertSum: 1,
  geluMul: 2,
  scaleRows: 1,
  timesEach: 1,
  normAdd: 2,
  capOutputs: 2,
  ssmConv: 2,
  shortConv: 2,
  ssmScan: 3,
  ssmGate: 2,
  ssmScanHeads: 3,
  ssmGateNorm: 2,
  ...OFTEN_RWKV,
};

/** Whose rows are sets of tokens. */
const SETS: readonly OperatorName[] = ['ssmConv', 'shortConv', 'ssmScan', 'ssmScanHeads'];

export function drawSpec(r: Random): KernelSpec {
  const op = OPERATORS[r.weighted(OPERATORS.map((name) => OFTEN[name]))]!;
  const drawn = DRAW[op](r);
  const { n = 1, n_group = 1, size = 1, tokens = 1, d_state = 1 } = drawn.sizes;
  const width = n * n_group * size * tokens * d_state;
  const rows = drawn.rows ?? drawRows(r, SETS.includes(op) ? r.between(1, 3) : rowCount(r, 4 * width));
  return { op, seed: r.u32(), type: r.chance(0.5) ? 'F32' : 'F16', keys: [], ...drawn, rows };
}

const EPS = [1e-5, 1e-6, 1e-12].map(Math.fround);
const BASES = [10_000, 500_000, 100];
/** Softcaps. */
const CAPS = [50, 3, 0.7].map(Math.fround);

/** Positions of keys: neighbours, perhaps with a gap in the middle that leaves them in their lanes (16). */
function positions(n: number, first: number, gap: boolean): number[] {
  return Array.from({ length: n }, (_, i) => first + i + (gap && 2 * i >= n ? 48 : 0));
}

type Build = (s: KernelSpec, d: Numbers, sizes: Record<string, number>) => OperatorInput;

/** n of the numbers below `of`, ascending; which ones, `hash` says. */
function someOf(of: number, n: number, hash: (i: number) => number): number[] {
  const all = Array.from({ length: of }, (_, i) => i).sort((i, j) => hash(i) - hash(j));
  return all.slice(0, n).sort((i, j) => i - j);
}

/** Ranges of a window, of causal attention, and now and then of nothing. */
function range(h: number, keys: number): readonly [number, number] {
  if (h % 32 === 0) return [0, 0];
  const end = h % 3 === 0 ? keys : 1 + ((h >>> 8) % keys);
  return [h % 5 < 3 ? 0 : (h >>> 16) % end, end];
}

const BUILD: { readonly [Op in OperatorName]: Build } = {
  embed({ rows, type }, d, { n, n_vocab }) {
    const table = d.plain(1, n_vocab!, n!, type === 'F16');
    return { op: 'embed', n: n!, type, table, tokens: rows.map(({ key }) => key % n_vocab!) };
  },
  rmsNorm({ rows }, d, { n, weighted, eps }) {
    const x = d.rows(1, rows, n!, [-20, 40]);
    const weight = weighted ? d.plain(2, 1, n!) : null;
    return { op: 'rmsNorm', n: n!, rows: rows.length, eps: EPS[eps! % EPS.length]!, x, weight };
  },
  headNorm({ rows }, d, { n_head, d: n_embd_head, weighted, eps }) {
    return {
      op: 'headNorm',
      n_head: n_head!,
      n_embd_head: n_embd_head!,
      rows: rows.length,
      eps: EPS[eps! % EPS.length]!,
      x: d.rows(1, rows, n_head! * n_embd_head!, [-20, 40]),
      weight: weighted ? d.plain(2, 1, n_embd_head!) : null,
    };
  },
  matmul({ rows, type }, d, { k, n, bias, old, mirrored }) {
    const [x, w] = [d.rows(1, rows, k!, [-60, 20]), d.plain(2, n!, k!, type === 'F16')];
    const middle = Math.ceil(k! / 2);
    if (mirrored)
      for (let o = 0; o < n!; o++) for (let i = middle; i < k!; i++) w[o * k! + i] = w[o * k! + i - middle]!;
    return {
      op: 'matmul',
      k: k!,
      n: n!,
      rows: rows.length,
      type,
      x,
      w,
      bias: bias ? d.plain(3, 1, n!) : null,
      old: old ? d.rows(4, rows, n!, [-60, 20]) : null,
    };
  },
  rope({ rows }, d, { neox, n_head, d: n_embd_head, n_rot, base, reach }) {
    const pos = rows.map(({ key }) => d.hash(2, key) % reach!);
    const x = d.rows(1, rows, n_head! * n_embd_head!, [-20, 10]);
    return {
      op: 'rope',
      rope_type: neox ? 'NEOX' : 'NORMAL',
      n_head: n_head!,
      n_embd_head: n_embd_head!,
      n_rot: Math.min(n_rot!, n_embd_head!),
      freq_base: BASES[base! % BASES.length]!,
      freq_scale: d.hash(3, 0) % 2 === 0 ? 1 : 0.25,
      pos,
      x,
    };
  },
  kvStore({ rows, type }, d, { n }) {
    const x = d.rows(1, rows, n!, [-26, 15]);
    // One number that F16 cannot hold, far from the border.
    if (type === 'F16' && d.hash(2, rows[0]!.key) % 4 === 0) x[x.length - 1] = 70_000;
    return { op: 'kvStore', n: n!, rows: rows.length, type, x };
  },
  attention({ rows, keys, type }, d, { n_head_kv, group, d: n_embd_head, first, gap, cap, alibi }) {
    const kv = n_head_kv! * n_embd_head!;
    return {
      op: 'attention',
      n_head: n_head_kv! * group!,
      n_head_kv: n_head_kv!,
      n_embd_head: n_embd_head!,
      ...(cap ? { softcap: CAPS[(cap - 1) % CAPS.length]! } : {}),
      ...(alibi ? { alibi } : {}),
      type,
      q: d.rows(1, rows, kv * group!, SMALL),
      k: d.rows(2, keys, kv, [-8, 2], type === 'F16'),
      v: d.rows(3, keys, kv, [-12, 10], type === 'F16'),
      pos: positions(keys.length, first!, gap === 1),
      ranges: rows.map(({ key }) => range(d.hash(4, key), keys.length)),
    };
  },
  siluMul({ rows }, d, { n }) {
    const gate = d.rows(1, rows, n!, [-20, 7]);
    return { op: 'siluMul', n: n!, rows: rows.length, gate, up: d.rows(2, rows, n!, SMALL) };
  },
  route({ rows }, d, { n_expert, n_used, ties, shares: of }) {
    const logits = d.rows(1, rows, n_expert!, [-12, 5]);
    // Halves: many are equal.
    const some = ties ? logits.map((x) => Math.round(2 * x) / 2) : logits;
    const used = Math.min(n_used!, n_expert!);
    const shares = (['chosen', 'all', 'sigmoid'] as const)[of! % 3]!;
    return { op: 'route', n_expert: n_expert!, n_used: used, shares, rows: rows.length, logits: some };
  },
  expertMatmul({ rows, type }, d, { k, n, n_expert, n_used, per_slot }) {
    const used = Math.min(n_used!, n_expert!);
    const each = per_slot ? tokenRows(rows, used) : rows;
    return {
      op: 'expertMatmul',
      k: k!,
      n: n!,
      n_expert: n_expert!,
      type,
      per_slot: per_slot === 1,
      x: d.rows(1, each, k!, [-60, 20]),
      w: d.plain(2, n_expert! * n!, k!, type === 'F16'),
      experts: rows.map(({ key }) => someOf(n_expert!, used, (i) => d.hash(3, mix32(key) + i))),
    };
  },
  expertSum({ rows }, d, { n, n_used, weighted }) {
    const x = d.rows(1, tokenRows(rows, n_used!), n!, SMALL);
    const weights = weighted ? d.plain(2, rows.length, n_used!).map(Math.abs) : null;
    return {
      op: 'expertSum',
      n: n!,
      n_used: n_used!,
      rows: rows.length,
      x,
      weights,
      old: d.rows(3, rows, n!, SMALL),
    };
  },
  geluMul({ rows }, d, { n }) {
    const gate = d.rows(1, rows, n!, [-20, 5]);
    return { op: 'geluMul', n: n!, rows: rows.length, gate, up: d.rows(2, rows, n!, SMALL) };
  },
  scaleRows({ rows }, d, { n }) {
    const factor = Math.fround(Math.sqrt(n!));
    return { op: 'scaleRows', n: n!, rows: rows.length, factor, x: d.rows(1, rows, n!, [-60, 20]) };
  },
  timesEach({ rows }, d, { n, times }) {
    const by = d.plain(2, rows.length, times!);
    return { op: 'timesEach', n: n!, rows: rows.length, times: times!, x: d.rows(1, rows, n!, SMALL), by };
  },
  normAdd({ rows }, d, { n, eps }) {
    const [x, old] = [d.rows(1, rows, n!, [-20, 40]), d.rows(3, rows, n!, SMALL)];
    const weight = d.plain(2, 1, n!);
    return { op: 'normAdd', n: n!, rows: rows.length, eps: EPS[eps! % EPS.length]!, x, weight, old };
  },
  capOutputs({ rows }, d, { n }) {
    const cap = CAPS[d.hash(2, 0) % CAPS.length]!;
    return { op: 'capOutputs', n: n!, rows: rows.length, cap, x: d.rows(1, rows, n!, [-20, 7]) };
  },
  ssmConv({ rows }, d, { n, d_conv, tokens }) {
    const x = d.rows(1, tokenRows(rows, tokens!), n!, SMALL);
    const states = rows.map((row) =>
      d.hash(5, row.key) % 4 === 0 ? null : d.row(4, row, (d_conv! - 1) * n!, SMALL),
    );
    const [w, bias] = [d.plain(2, n!, d_conv!), d.plain(3, 1, n!)];
    return { op: 'ssmConv', n: n!, d_conv: d_conv!, n_seq_tokens: tokens!, x, w, bias, states };
  },
  shortConv({ rows }, d, { n, d_conv, tokens }) {
    const [b, gate, x] = [1, 2, 3].map((name) => d.rows(name, tokenRows(rows, tokens!), n!, SMALL));
    const states = rows.map((row) =>
      d.hash(5, row.key) % 4 === 0 ? null : d.row(4, row, (d_conv! - 1) * n!, SMALL),
    );
    const shape = { n: n!, d_conv: d_conv!, n_seq_tokens: tokens! };
    return { op: 'shortConv', ...shape, b: b!, gate: gate!, x: x!, w: d.plain(6, n!, d_conv!), states };
  },
  ssmScan({ rows }, d, { n, d_state, tokens }) {
    const each = tokenRows(rows, tokens!);
    const A = d.plain(5, n!, d_state!).map((x) => -(2 ** (4 * x)));
    return {
      op: 'ssmScan',
      n: n!,
      d_state: d_state!,
      n_seq_tokens: tokens!,
      x: d.rows(1, each, n!, SMALL),
      dt: d.rows(2, each, n!, SMALL).map((x) => 4 * x),
      B: d.rows(3, each, d_state!, SMALL),
      C: d.plain(4, each.length, d_state!),
      A,
      states: rows.map((row) => (d.hash(7, row.key) % 4 === 0 ? null : d.row(6, row, d_state! * n!, SMALL))),
    };
  },
  ssmGate({ rows }, d, { n }) {
    const [y, x] = [d.rows(1, rows, n!, SMALL), d.rows(2, rows, n!, SMALL)];
    const [z, skip] = [d.rows(3, rows, n!, [-20, 7]), d.plain(4, 1, n!)];
    return { op: 'ssmGate', n: n!, rows: rows.length, y, x, z, skip };
  },
  ssmScanHeads({ rows }, d, { d_head, per_group, n_group, d_state, tokens }) {
    const each = tokenRows(rows, tokens!);
    const n_head = per_group! * n_group!;
    const [n, shared] = [n_head * d_head!, d_state! * n_group!];
    return {
      op: 'ssmScanHeads',
      n_head,
      d_head: d_head!,
      n_group: n_group!,
      d_state: d_state!,
      n_seq_tokens: tokens!,
      x: d.rows(1, each, n, SMALL),
      dt: d.rows(2, each, n_head, SMALL).map((x) => 4 * x),
      B: d.rows(3, each, shared, SMALL),
      C: d.plain(4, each.length, shared),
      A: d.plain(5, 1, n_head).map((x) => -(2 ** (4 * x))),
      states: rows.map((row) => (d.hash(7, row.key) % 4 === 0 ? null : d.row(6, row, d_state! * n, SMALL))),
    };
  },
  ssmGateNorm({ rows }, d, { n_group, size, eps }) {
    const n = n_group! * size!;
    const [y, x] = [d.rows(1, rows, n, SMALL), d.rows(2, rows, n, SMALL)];
    const [z, skip, weight] = [d.rows(3, rows, n, [-20, 7]), d.plain(4, 1, n), d.plain(5, 1, n)];
    const shape = { n, n_group: n_group!, rows: rows.length, eps: EPS[eps! % EPS.length]! };
    return { op: 'ssmGateNorm', ...shape, y, x, z, skip, weight };
  },
  ...BUILD_RWKV,
};

/** The operands of a case. */
export function inputOf(spec: KernelSpec): OperatorInput {
  return BUILD[spec.op](spec, new Numbers(spec.seed), { ...spec.sizes });
}

/** Smaller cases: parts of the rows, smaller sizes, nothing optional, F32, plain rows. */
export function* smallerSpecs(spec: KernelSpec): Generator<KernelSpec> {
  for (const rows of fewer(spec.rows)) yield { ...spec, rows };
  for (const keys of fewer(spec.keys)) yield { ...spec, keys };
  for (const [name, [least, step]] of Object.entries(SIZES[spec.op])) {
    const size = spec.sizes[name]!;
    const half = least + step * Math.floor((size - least) / 2 / step);
    for (const smaller of new Set([least, half, size - step]))
      if (smaller >= least && smaller < size) yield { ...spec, sizes: { ...spec.sizes, [name]: smaller } };
  }
  if (spec.type === 'F16') yield { ...spec, type: 'F32' };
  const plain = (list: readonly RowSpec[]) => list.map(({ key }) => ({ key, kind: 'plain' as const }));
  const uneven = [...spec.rows, ...spec.keys].some(({ kind }) => kind !== 'plain');
  if (uneven) yield { ...spec, rows: plain(spec.rows), keys: plain(spec.keys) };
}

/** Lists without a part, large parts first; never empty. */
function* fewer<T>(list: readonly T[]): Generator<readonly T[]> {
  for (let part = list.length >> 1; part >= 1; part >>= 1)
    for (let at = 0; at < list.length; at += part) {
      const rest = [...list.slice(0, at), ...list.slice(at + part)];
      if (rest.length > 0) yield rest;
    }
}

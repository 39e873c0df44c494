/**
 * The kernels of RWKV one by one (`kernels-white.ts`), laid out as the plans of rwkv6 and rwkv7 do it. States of
 * recurrences are [head][key][value] with values padded to whole vectors, so those of RWKV-7 are turned.
 */
import type { InputOf, OperatorName } from '../contract/operators.ts';
import type { RwkvInput } from '../contract/operators-rwkv.ts';
import { DIM, pad16 } from '../native/plan.ts';
import * as ops from '../native/plan-rwkv.ts';
import { type Layout, layStates, padded, type Read, result, unpadded } from './kernel-layout.ts';

/** {d, d, n_head}, element (i, j) at (h d + i) d + j, as [n_head][d][pad16(d)]; `turned`: i and j exchanged. */
function wideState(state: Float32Array, n_head: number, d: number, turned: boolean): Float32Array {
  const wide = new Float32Array(n_head * d * pad16(d));
  for (let h = 0; h < n_head; h++)
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++) {
        const [row, column] = turned ? [j, i] : [i, j];
        wide[(h * d + row) * pad16(d) + column] = state[(h * d + i) * d + j]!;
      }
  return wide;
}

function narrowState(wide: Float32Array, n_head: number, d: number, turned: boolean): Float32Array {
  const state = new Float32Array(n_head * d * d);
  for (let h = 0; h < n_head; h++)
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++) {
        const [row, column] = turned ? [j, i] : [i, j];
        state[(h * d + i) * d + j] = wide[(h * d + row) * pad16(d) + column]!;
      }
  return state;
}

/** What both recurrences have alike: their rows, states and answers. `record` adds the operation. */
function recurrence(
  lay: Layout,
  input: InputOf<'wkv6'> | InputOf<'wkv7'>,
  turned: boolean,
  record: (at: {
    readonly rows: Record<'r' | 'w' | 'k' | 'v', number>;
    readonly dst: number;
    readonly states: ReturnType<typeof layStates>;
  }) => void,
): Read {
  const { n_head, d, n_seq_tokens, states } = input;
  const n = n_head * d;
  const count = states.length * n_seq_tokens;
  const width = n * pad16(d);
  lay.dims[DIM.seqs] = states.length;
  lay.dims[DIM.seq_tokens] = n_seq_tokens;
  const wide = states.map((state) => state && wideState(state, n_head, d, turned));
  const placed = layStates(lay, wide, width);
  const dst = lay.hole(count * pad16(n));
  const row = (data: Float32Array) => lay.rows(data, n);
  const rows = { r: row(input.r), w: row(input.w), k: row(input.k), v: row(input.v) };
  record({ rows, dst, states: placed });
  return (memory) => {
    const cache = new Float32Array(memory.cache.buffer);
    const values = placed.rows.flatMap((at) => {
      const begin = placed.state + at * width;
      return [...narrowState(cache.subarray(begin, begin + width), n_head, d, turned)];
    });
    return [
      { name: 'result', n, values: unpadded(memory.act, dst, count, n) },
      { name: 'state', n: n * d, values: Float32Array.from(values) },
    ];
  };
}

type Kernels = {
  readonly [Op in Extract<OperatorName, RwkvInput['op']>]: (lay: Layout, input: InputOf<Op>) => Read;
};

export const rwkvKernels: Kernels = {
  layerNorm(lay, { n_part: nPart, d, rows, eps, x, weight, bias }) {
    const n = nPart * d;
    lay.dims[DIM.tokens] = rows;
    const dst = lay.hole(rows * pad16(n));
    ops.layerNorm(lay.plan, {
      rows: DIM.tokens,
      src: lay.rows(x, n),
      dst,
      stride: pad16(n),
      nPart,
      n: d,
      weight: lay.weights.put(padded(weight, n)),
      bias: lay.weights.put(padded(bias, n)),
      eps,
    });
    return result(n, rows, dst);
  },
  tokenShift(lay, { n, n_seq_tokens, x, states }) {
    const wide = pad16(n);
    lay.dims[DIM.seqs] = states.length;
    lay.dims[DIM.seq_tokens] = n_seq_tokens;
    const count = states.length * n_seq_tokens;
    const placed = layStates(
      lay,
      states.map((state) => state && padded(state, n)),
      wide,
    );
    const dst = lay.hole(count * wide);
    ops.tokenShift(lay.plan, { x: lay.rows(x, n), dst, stride: wide, n: wide, ...placed });
    return ({ act, cache }) => {
      const after = new Float32Array(cache.buffer);
      const values = placed.rows.flatMap((row) => [...unpadded(after, placed.state + row * wide, 1, n)]);
      return [
        { name: 'result', n, values: unpadded(act, dst, count, n) },
        { name: 'state', n, values: Float32Array.from(values) },
      ];
    };
  },
  lerp(lay, { n, rows, x, to, weight, way }) {
    lay.dims[DIM.tokens] = rows;
    const dst = lay.hole(rows * pad16(n));
    ops.lerp(lay.plan, {
      rows: DIM.tokens,
      x: lay.rows(x, n),
      to: lay.rows(to, n),
      dst,
      stride: pad16(n),
      n: pad16(n),
      weight: weight === null ? -1 : lay.weights.put(padded(weight, n)),
      way: way === null ? -1 : lay.rows(way, n),
    });
    return result(n, rows, dst);
  },
  pointwise(lay, { f, n, rows, x }) {
    lay.dims[DIM.tokens] = rows;
    const at = lay.rows(x, n);
    ops.pointwise(lay.plan, { rows: DIM.tokens, x: at, stride: pad16(n), n, f: ops.FUNCTION[f] });
    return result(n, rows, at);
  },
  gatedAdd(lay, { n, rows, gate, y, x, scale }) {
    lay.dims[DIM.tokens] = rows;
    const stride = pad16(n);
    const at = lay.rows(x, n);
    const from = { gate: lay.rows(gate, n), y: lay.rows(y, n) };
    ops.gatedAdd(lay.plan, { rows: DIM.tokens, ...from, x: at, stride, n: stride, scale });
    return result(n, rows, at);
  },
  wkv6(lay, input) {
    const { n_head: nHead, d } = input;
    const u = lay.weights.put(padded(input.u, nHead * d));
    return recurrence(lay, input, false, ({ rows, dst, states }) => {
      ops.wkv6(lay.plan, { ...rows, dst, stride: pad16(nHead * d), nHead, d, u, ...states });
    });
  },
  wkv7(lay, input) {
    const { n_head: nHead, d, kappa, iclr } = input;
    const n = nHead * d;
    return recurrence(lay, input, true, ({ rows, dst, states }) => {
      const keys = {
        kappa: lay.rows(kappa, n),
        b: lay.rows(
          kappa.map((x, i) => x * iclr[i]!),
          n,
        ),
      };
      ops.wkv7(lay.plan, { ...rows, ...keys, dst, stride: pad16(n), nHead, d, ...states });
    });
  },
  wkv7Keys(lay, { n_head: nHead, d, rows, k, iclr, scale, share }) {
    const n = nHead * d;
    const stride = pad16(n);
    lay.dims[DIM.tokens] = rows;
    const at = { k: lay.rows(k, n), kappa: lay.hole(rows * stride), b: lay.hole(rows * stride) };
    ops.wkv7Keys(lay.plan, {
      rows: DIM.tokens,
      ...at,
      iclr: lay.rows(iclr, n),
      stride,
      nHead,
      d,
      keyScale: lay.weights.put(padded(scale, n)),
      keyIclr: lay.weights.put(padded(share, n)),
    });
    return ({ act }) => {
      const values = new Float32Array(3 * n * rows);
      [at.kappa, at.b, at.k].forEach((from, part) => {
        const found = unpadded(act, from, rows, n);
        for (let r = 0; r < rows; r++) values.set(found.subarray(r * n, (r + 1) * n), (3 * r + part) * n);
      });
      return [{ name: 'result', n: 3 * n, values }];
    };
  },
  wkv7Output(lay, { n_head: nHead, d, rows, rk, ...input }) {
    const n = nHead * d;
    lay.dims[DIM.tokens] = rows;
    const row = (data: Float32Array) => lay.rows(data, n);
    const at = { y: row(input.y), r: row(input.r), k: row(input.k), v: row(input.v), g: row(input.g) };
    const weights = lay.weights.put(padded(rk, n));
    ops.wkv7Output(lay.plan, { rows: DIM.tokens, ...at, stride: pad16(n), nHead, d, rk: weights });
    return result(n, rows, at.y);
  },
};

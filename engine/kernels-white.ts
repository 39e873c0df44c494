/**
 * The engine's kernels one by one, for white-box properties: each operator becomes a plan of one record, laid out as
 * the forward passes do it (llama.ts, mamba.ts), and runs on a named implementation.
 *
 * The zeros behind the last column of a row belong to what kernels promise and are checked too (`kernel-layout.ts`).
 */

import { IsobatchError } from '../contract/errors.ts';
import type {
  ElementType,
  InputOf,
  KernelBox,
  OperatorInput,
  OperatorName,
  OperatorOutput,
} from '../contract/operators.ts';
import type { KernelSet } from '../native/binding.ts';
import { DIM, type Memory, packMatrix, pad16, ROPE, SPACE, STATUS, TYPE } from '../native/plan.ts';
import { HALF } from '../native/portable/math.ts';
import { alibiSlopes } from './alibi.ts';
import { Layout, layStates, padded, type Read, result, scattered, typed, unpadded } from './kernel-layout.ts';
import { expertMatmul, expertSum, route } from './kernels-experts.ts';
import { rwkvKernels } from './kernels-rwkv.ts';
import { RopeTable } from './rope.ts';

/** Products without bias and old value go to rows of the caller's buffer, in another order, as logits do. */
function matmul(lay: Layout, input: InputOf<'matmul'>): Read {
  const { k, n, rows, type, bias, old } = input;
  const toOut = bias === null && old === null;
  const map = scattered(rows);
  lay.dims[DIM.tokens] = rows;
  const dst = toOut
    ? lay.out.put(new Float32Array(rows * n).fill(Number.NaN))
    : old
      ? lay.rows(old, n)
      : lay.hole(rows * pad16(n));
  lay.plan.matmul({
    rows: DIM.tokens,
    src: lay.rows(input.x, k),
    srcStride: pad16(k),
    dstSpace: toOut ? SPACE.out : SPACE.act,
    dst,
    dstStride: toOut ? n : pad16(n),
    k,
    n,
    store: toOut ? n : pad16(n),
    w: lay.weights.put(packMatrix(typed(input.w, type) as Float32Array, k, n)),
    type: TYPE[type],
    bias: bias ? lay.weights.put(padded(bias, n)) : -1,
    add: old !== null,
    rowMap: toOut ? lay.list(map) : -1,
  });
  if (!toOut) return result(n, rows, dst);
  return ({ out }) => {
    const values = new Float32Array(rows * n);
    for (const [r, to] of map.entries()) values.set(out.subarray(dst + to * n, dst + (to + 1) * n), r * n);
    return [{ name: 'result', n, values }];
  };
}

const ropeTables = new Map<string, RopeTable>();

function ropeTable({ rope_type, n_rot, freq_base, freq_scale }: InputOf<'rope'>): RopeTable {
  const key = `${rope_type} ${n_rot} ${freq_base} ${freq_scale}`;
  let table = ropeTables.get(key);
  if (table === undefined) {
    table = new RopeTable(n_rot, freq_base, freq_scale, rope_type);
    ropeTables.set(key, table);
  }
  return table;
}

function rope(lay: Layout, input: InputOf<'rope'>): Read {
  const { n_head, n_embd_head, n_rot, pos } = input;
  const n = n_head * n_embd_head;
  const angles = new Float32Array(pos.length * n_rot);
  for (const [r, p] of pos.entries()) ropeTable(input).copyRow(p, angles, r * n_rot);
  lay.dims[DIM.tokens] = pos.length;
  const x = lay.rows(input.x, n);
  lay.plan.rope({
    rows: DIM.tokens,
    x,
    stride: pad16(n),
    nHead: n_head,
    d: n_embd_head,
    nRot: n_rot,
    table: lay.rows(angles, n_rot),
    tableStride: pad16(n_rot),
    type: ROPE[input.rope_type],
  });
  return result(n, pos.length, x);
}

function cacheRow(memory: Memory, at: number, cell: number, n: number, type: ElementType): Float32Array {
  const { buffer } = memory.cache;
  if (type === 'F32') return new Float32Array(buffer, 4 * (at + cell * n), n);
  return Float32Array.from(new Uint16Array(buffer, 4 * at + 2 * cell * n, n), (h) => HALF[h]!);
}

function kvStore(lay: Layout, { n, rows, type, x }: InputOf<'kvStore'>): Read {
  const cells = scattered(rows);
  lay.dims[DIM.tokens] = rows;
  const empty =
    type === 'F16' ? new Uint16Array(rows * n).fill(0x7e00) : new Float32Array(rows * n).fill(Number.NaN);
  const dst = lay.cache.put(empty);
  const src = lay.rows(x, n);
  lay.plan.kvStore({
    rows: DIM.tokens,
    src,
    stride: pad16(n),
    n,
    dst,
    type: TYPE[type],
    cells: lay.list(cells),
  });
  return (memory) => {
    const values = new Float32Array(rows * n);
    for (const [r, cell] of cells.entries()) values.set(cacheRow(memory, dst, cell, n, type), r * n);
    return [{ name: 'result', n, values }];
  };
}

/** Keys lie in cells in another order, and one group holds all queries. */
function attention(lay: Layout, input: InputOf<'attention'>): Read {
  const { n_head, n_head_kv, n_embd_head: d, softcap, alibi, type, pos, ranges } = input;
  const [n, kv] = [n_head * d, n_head_kv * d];
  const cells = scattered(pos.length);
  const spread = (data: Float32Array) => {
    const rows = new Float32Array(data.length);
    for (const [i, cell] of cells.entries()) rows.set(data.subarray(i * kv, (i + 1) * kv), cell * kv);
    return lay.cache.put(typed(rows, type));
  };
  lay.dims[DIM.groups] = 1;
  const dst = lay.hole(ranges.length * pad16(n));
  const lists = [
    [0, pos.length],
    [0, ranges.length],
    ranges.map((_, j) => j),
    ranges.map(([begin]) => begin),
    ranges.map(([, end]) => end),
    cells,
    pos,
  ];
  lay.plan.attention({
    q: lay.rows(input.q, n),
    qStride: pad16(n),
    dst,
    dstStride: pad16(n),
    nHead: n_head,
    nHeadKv: n_head_kv,
    d,
    k: spread(input.k),
    v: spread(input.v),
    type: TYPE[type],
    scale: Math.fround(1 / Math.sqrt(d)),
    ...(softcap === undefined ? {} : { cap: softcap }),
    ...(alibi === undefined ? {} : { slopes: lay.weights.put(alibiSlopes(n_head, alibi)) }),
    index: lay.list(lists.map((list) => lay.list(list))),
  });
  return result(n, ranges.length, dst);
}

/** Taps and states of a convolution in their places, and what reads its result (from `dst`) and the new states. */
function layConvolution(
  lay: Layout,
  input: InputOf<'ssmConv'> | InputOf<'shortConv'>,
): { readonly placed: { w: number } & ReturnType<typeof layStates>; read(dst: number): Read } {
  const { n, d_conv, n_seq_tokens, states } = input;
  const wide = pad16(n);
  const width = (d_conv - 1) * wide;
  lay.dims[DIM.seqs] = states.length;
  lay.dims[DIM.seq_tokens] = n_seq_tokens;
  const w = new Float32Array(d_conv * wide);
  for (let c = 0; c < n; c++) for (let j = 0; j < d_conv; j++) w[j * wide + c] = input.w[c * d_conv + j]!;
  const columns = states.map((state) => state && padded(state, n));
  const placed = { w: lay.weights.put(w), ...layStates(lay, columns, width) };
  const rows = states.length * n_seq_tokens;
  const read =
    (dst: number): Read =>
    (memory) => {
      const cache = new Float32Array(memory.cache.buffer);
      const values = placed.rows.flatMap((row) => [
        ...unpadded(cache, placed.state + row * width, d_conv - 1, n),
      ]);
      return [
        { name: 'result', n, values: unpadded(memory.act, dst, rows, n) },
        { name: 'state', n: (d_conv - 1) * n, values: Float32Array.from(values) },
      ];
    };
  return { placed, read };
}

function ssmConv(lay: Layout, input: InputOf<'ssmConv'>): Read {
  const { n, d_conv, n_seq_tokens, states } = input;
  const wide = pad16(n);
  const { placed, read } = layConvolution(lay, input);
  const dst = lay.hole(states.length * n_seq_tokens * wide);
  lay.plan.ssmConv({
    x: lay.rows(input.x, n),
    xStride: wide,
    dst,
    dstStride: wide,
    n: wide,
    dConv: d_conv,
    bias: lay.weights.put(padded(input.bias, n)),
    ...placed,
  });
  return read(dst);
}

function shortConv(lay: Layout, input: InputOf<'shortConv'>): Read {
  const { n, d_conv, n_seq_tokens, states } = input;
  const wide = pad16(n);
  const rows = states.length * n_seq_tokens;
  const { placed, read } = layConvolution(lay, input);
  const dst = lay.hole(rows * wide);
  lay.plan.shortConv({
    b: lay.rows(input.b, n),
    gate: lay.rows(input.gate, n),
    x: lay.rows(input.x, n),
    stride: wide,
    dst,
    dstStride: wide,
    n: wide,
    dConv: d_conv,
    ...placed,
  });
  return read(dst);
}

/** {d_state, n} as [n/16][d_state][16], and back. */
function channelsAsLanes(from: Float32Array, d_state: number, n: number, back = false): Float32Array {
  const to = new Float32Array(d_state * (back ? n : pad16(n)));
  for (let c = 0; c < n; c++) {
    for (let i = 0; i < d_state; i++) {
      const lane = ((c >> 4) * d_state + i) * 16 + (c & 15);
      if (back) to[c * d_state + i] = from[lane]!;
      else to[lane] = from[c * d_state + i]!;
    }
  }
  return to;
}

function ssmScan(lay: Layout, input: InputOf<'ssmScan'>): Read {
  const { n, d_state, n_seq_tokens, states } = input;
  const wide = pad16(n);
  const width = d_state * wide;
  lay.dims[DIM.seqs] = states.length;
  lay.dims[DIM.seq_tokens] = n_seq_tokens;
  const rows = states.length * n_seq_tokens;
  const placed = layStates(
    lay,
    states.map((state) => state && channelsAsLanes(state, d_state, n)),
    width,
  );
  const dst = lay.hole(rows * wide);
  lay.plan.ssmScan({
    x: lay.rows(input.x, n),
    xStride: wide,
    dt: lay.rows(input.dt, n),
    dtStride: wide,
    b: lay.rows(input.B, d_state),
    bStride: pad16(d_state),
    c: lay.rows(input.C, d_state),
    cStride: pad16(d_state),
    dst,
    dstStride: wide,
    n: wide,
    nState: d_state,
    a: lay.weights.put(channelsAsLanes(input.A, d_state, n)),
    ...placed,
  });
  return (memory) => {
    const cache = new Float32Array(memory.cache.buffer);
    const values = placed.rows.flatMap((row) => {
      const at = placed.state + row * width;
      return [...channelsAsLanes(cache.subarray(at, at + width), d_state, n, true)];
    });
    return [
      { name: 'result', n, values: unpadded(memory.act, dst, rows, n) },
      { name: 'state', n: d_state * n, values: Float32Array.from(values) },
    ];
  };
}

/** Two inner products of a feed-forward net: the function that the operator names, of one, times the other. */
function gated(lay: Layout, { op, n, rows, gate, up }: InputOf<'siluMul'> | InputOf<'geluMul'>): Read {
  lay.dims[DIM.tokens] = rows;
  const dst = lay.hole(rows * pad16(n));
  const operands = { gate: lay.rows(gate, n), up: lay.rows(up, n) };
  lay.plan[op]({ rows: DIM.tokens, ...operands, dst, stride: pad16(n), n });
  return result(n, rows, dst);
}

/** [channel][pad16(d_state)]: the states of a channel are the lanes. */
function ssmScanHeads(lay: Layout, input: InputOf<'ssmScanHeads'>): Read {
  const { n_head, d_head, n_group, d_state, n_seq_tokens, states } = input;
  const n = n_head * d_head;
  const width = n * pad16(d_state);
  lay.dims[DIM.seqs] = states.length;
  lay.dims[DIM.seq_tokens] = n_seq_tokens;
  const rows = states.length * n_seq_tokens;
  const placed = layStates(
    lay,
    states.map((state) => state && padded(state, d_state)),
    width,
  );
  const dst = lay.hole(rows * pad16(n));
  lay.plan.ssmScanHeads({
    x: lay.rows(input.x, n),
    xStride: pad16(n),
    dt: lay.rows(input.dt, n_head),
    dtStride: pad16(n_head),
    b: lay.rows(input.B, d_state * n_group),
    bStride: pad16(d_state * n_group),
    c: lay.rows(input.C, d_state * n_group),
    cStride: pad16(d_state * n_group),
    dst,
    dstStride: pad16(n),
    nHead: n_head,
    dHead: d_head,
    nGroup: n_group,
    nState: d_state,
    a: lay.weights.put(padded(input.A, n_head)),
    ...placed,
  });
  return (memory) => {
    const cache = new Float32Array(memory.cache.buffer);
    const values = placed.rows.flatMap((row) => [...unpadded(cache, placed.state + row * width, n, d_state)]);
    return [
      { name: 'result', n, values: unpadded(memory.act, dst, rows, n) },
      { name: 'state', n: d_state * n, values: Float32Array.from(values) },
    ];
  };
}

function ssmGateNorm(lay: Layout, input: InputOf<'ssmGateNorm'>): Read {
  const { n, n_group, rows, eps } = input;
  const stride = pad16(n);
  lay.dims[DIM.tokens] = rows;
  const dst = lay.hole(rows * stride);
  lay.plan.ssmGateNorm({
    rows: DIM.tokens,
    y: lay.rows(input.y, n),
    yStride: stride,
    x: lay.rows(input.x, n),
    xStride: stride,
    z: lay.rows(input.z, n),
    zStride: stride,
    dst,
    dstStride: stride,
    n,
    groups: n_group,
    dSkip: lay.weights.put(padded(input.skip, n)),
    weight: lay.weights.put(padded(input.weight, n)),
    eps,
  });
  return result(n, rows, dst);
}

const LAY: { readonly [Op in OperatorName]: (lay: Layout, input: InputOf<Op>) => Read } = {
  embed(lay, { n, type, table, tokens }) {
    lay.dims[DIM.tokens] = tokens.length;
    const dst = lay.hole(tokens.length * pad16(n));
    lay.plan.embed({
      rows: DIM.tokens,
      dst,
      dstStride: pad16(n),
      table: lay.weights.put(typed(padded(table, n), type)),
      tableStride: pad16(n),
      type: TYPE[type],
      n,
      ids: lay.list(tokens),
    });
    return result(n, tokens.length, dst);
  },
  rmsNorm(lay, { n, rows, eps, x, weight }) {
    lay.dims[DIM.tokens] = rows;
    const dst = lay.hole(rows * pad16(n));
    lay.plan.rmsNorm({
      rows: DIM.tokens,
      src: lay.rows(x, n),
      srcStride: pad16(n),
      dst,
      dstStride: pad16(n),
      n,
      weight: weight ? lay.weights.put(padded(weight, n)) : -1,
      eps,
    });
    return result(n, rows, dst);
  },
  headNorm(lay, { n_head, n_embd_head, rows, eps, x, weight }) {
    const n = n_head * n_embd_head;
    lay.dims[DIM.tokens] = rows;
    const at = lay.rows(x, n);
    lay.plan.headNorm({
      rows: DIM.tokens,
      x: at,
      stride: pad16(n),
      nHead: n_head,
      d: n_embd_head,
      weight: weight === null ? -1 : lay.weights.put(padded(weight, n_embd_head)),
      eps,
    });
    return result(n, rows, at);
  },
  matmul,
  rope,
  kvStore,
  attention,
  siluMul: gated,
  geluMul: gated,
  scaleRows(lay, { n, rows, factor, x }) {
    lay.dims[DIM.tokens] = rows;
    const at = lay.rows(x, n);
    lay.plan.scaleRows({ rows: DIM.tokens, x: at, stride: pad16(n), n, factor });
    return result(n, rows, at);
  },
  timesEach(lay, { n, rows, times, x, by }) {
    lay.dims[DIM.tokens] = rows;
    const src = lay.rows(x, n);
    const dst = times === 1 ? src : lay.hole(rows * times * pad16(n));
    lay.plan.timesEach({
      rows: DIM.tokens,
      src,
      srcStride: pad16(n),
      by: lay.rows(by, times),
      byStride: pad16(times),
      times,
      dst,
      dstStride: pad16(n),
      n,
    });
    return result(n, rows * times, dst);
  },
  normAdd(lay, { n, rows, eps, x, weight, old }) {
    lay.dims[DIM.tokens] = rows;
    const dst = lay.rows(old, n);
    lay.plan.normAdd({
      rows: DIM.tokens,
      src: lay.rows(x, n),
      srcStride: pad16(n),
      dst,
      dstStride: pad16(n),
      n,
      weight: lay.weights.put(padded(weight, n)),
      eps,
    });
    return result(n, rows, dst);
  },
  route,
  expertMatmul,
  expertSum,
  capOutputs(lay, { n, rows, cap, x }) {
    lay.dims[DIM.outputs] = rows;
    const places = scattered(rows);
    const data = new Float32Array(x.length);
    for (const [r, place] of places.entries()) data.set(x.subarray(r * n, (r + 1) * n), place * n);
    const at = lay.out.put(data);
    if (at !== 0) throw new IsobatchError('native', 'output rows begin at 0');
    lay.plan.capOutputs({ rows: DIM.outputs, n, cap, rowMap: lay.list(places) });
    return (memory) => {
      const values = new Float32Array(x.length);
      for (const [r, place] of places.entries())
        values.set(memory.out.subarray(place * n, (place + 1) * n), r * n);
      return [{ name: 'result', n, values }];
    };
  },
  ssmConv,
  shortConv,
  ssmScan,
  ssmScanHeads,
  ssmGateNorm,
  ssmGate(lay, { n, rows, y, x, z, skip }) {
    lay.dims[DIM.tokens] = rows;
    const stride = pad16(n);
    const dst = lay.hole(rows * stride);
    lay.plan.ssmGate({
      rows: DIM.tokens,
      y: lay.rows(y, n),
      yStride: stride,
      x: lay.rows(x, n),
      xStride: stride,
      z: lay.rows(z, n),
      zStride: stride,
      dst,
      dstStride: stride,
      n: stride,
      dSkip: lay.weights.put(padded(skip, n)),
    });
    return result(n, rows, dst);
  },
  ...rwkvKernels,
};

/** The kernels of a set, which is loaded when the box is first asked: building it may take seconds. */
export function makeKernelBox(load: () => KernelSet): KernelBox {
  let set: KernelSet | undefined;
  const kernels = (): KernelSet => {
    set ??= load();
    return set;
  };
  return {
    get isas() {
      return kernels().isas;
    },
    same_bits: true,
    run(isa: string, input: OperatorInput): OperatorOutput[] {
      const lay = new Layout();
      const read = (LAY[input.op] as (lay: Layout, input: OperatorInput) => Read)(lay, input);
      const memory = lay.memory();
      const status = kernels().get(isa).run(lay.plan.build(), 1, lay.dims, memory);
      if ((status & 0xff) === STATUS.kvOverflow)
        throw new IsobatchError('memory.overflow', `a value of ${input.op} does not fit`, { isa });
      if (status !== 0)
        throw new IsobatchError('native', `${isa} answered status ${status} to ${input.op}`, { isa, status });
      return read(memory);
    },
  };
}

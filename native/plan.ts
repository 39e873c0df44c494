/**
 * The plan: a flat list of kernel calls that one call into the native library (or the portable interpreter) runs.
 *
 * A plan is built once for a model. What changes from ubatch to ubatch stands in `dims` and in the index space, so
 * running one allocates nothing. A record is `OP_WORDS` int32: the opcode, then its operands in the order in which the
 * builder below takes them. Offsets count 4-byte words from the start of their space.
 *
 * Kernels know rows, columns and numbers; they know neither models nor sequences. Every activation row has a stride
 * that is a multiple of 16 floats and zeros behind its last column; kernels keep it so.
 */

export const OP_WORDS = 24;

/** Where an operand lives. */
export const SPACE = { weights: 0, act: 1, cache: 2, index: 3, out: 4 } as const;

/** Entries of `dims`, the numbers that change from ubatch to ubatch. */
export const DIM = {
  /** Tokens of the ubatch. */
  tokens: 0,
  /** Output rows of the ubatch. */
  outputs: 1,
  /** Sequence sets and tokens a set (recurrent ubatches). */
  seqs: 2,
  seq_tokens: 3,
  /** State rows that are gathered because they move. */
  moved: 4,
  /** State rows that move without being computed on. */
  extra: 5,
  /** Groups of queries that share one list of keys. */
  groups: 6,
  /** The last tokens of each set that leave states of their own, fewer than a set has; 0: only the last one does. */
  kept: 7,
} as const;
export const N_DIMS = 8;

export const TYPE = { F32: 0, F16: 1 } as const;

/** What the weights of chosen experts are: `PlanBuilder.route`. */
export const SHARES = { chosen: 0, all: 1, sigmoid: 2 } as const;

/** Which channels of a head rotate together: (2i, 2i+1), or (i, i + nRot/2). */
export const ROPE = { NORMAL: 0, NEOX: 1 } as const;

export const OP = {
  embed: 1,
  rmsNorm: 2,
  matmul: 3,
  rope: 4,
  kvStore: 5,
  attention: 6,
  siluMul: 7,
  gatherRows: 8,
  stateGather: 9,
  stateScatter: 10,
  ssmConv: 11,
  ssmScan: 12,
  ssmGate: 13,
  kvLoad: 14,
  ssmScanHeads: 20,
  ssmGateNorm: 21,
  headNorm: 35,
  route: 36,
  expertMatmul: 37,
  expertSum: 38,
  layerNorm: 25,
  tokenShift: 26,
  lerp: 27,
  pointwise: 28,
  gatedAdd: 29,
  wkv6: 30,
  wkv7Keys: 31,
  wkv7: 32,
  wkv7Output: 33,
  geluMul: 40,
  scaleRows: 41,
  normAdd: 42,
  capOutputs: 43,
  shortConv: 47,
  timesEach: 48,
  outputRows: 49,
} as const;

/** What `run` returns beside 0: (index of the op << 8) | code. */
export const STATUS = { kvOverflow: 1, badOp: 2 } as const;

const bits = new DataView(new ArrayBuffer(4));
/** The int32 with the bits of a float32. */
export function floatBits(x: number): number {
  bits.setFloat32(0, x, true);
  return bits.getInt32(0, true);
}

/** Rounds up to whole vectors of 16 floats. */
export function pad16(n: number): number {
  return (n + 15) & ~15;
}

/**
 * Appends records. Arguments named `rows` (and `seqs`, `seqTokens`) are entries of DIM; offsets are words in the space
 * that the comment names.
 */
export class PlanBuilder {
  readonly #words: number[] = [];

  get n_ops(): number {
    return this.#words.length / OP_WORDS;
  }

  build(): Int32Array {
    return Int32Array.from(this.#words);
  }

  #push(...words: number[]): void {
    if (words.length > OP_WORDS) throw new Error('plan record too long');
    this.#words.push(...words);
    for (let i = words.length; i < OP_WORDS; i++) this.#words.push(0);
  }

  /** A record that is said elsewhere (`plan-rwkv.ts`): an opcode and its operands. */
  record(...words: number[]): void {
    this.#push(...words);
  }

  /** act dst[r, 0..n) = table[ids[r], 0..n); table rows have `tableStride` elements of `type` in weights. */
  embed(a: {
    rows: number;
    dst: number;
    dstStride: number;
    table: number;
    tableStride: number;
    type: number;
    n: number;
    ids: number;
  }): void {
    this.#push(OP.embed, a.rows, a.dst, a.dstStride, a.table, a.tableStride, a.type, a.n, a.ids);
  }

  /**
   * act dst[r] = (src[r] * s) * weight with s = 1 / sqrt(sum of squares / n + eps); weight (weights, pad16(n) floats)
   * or -1 for none. The row sum is that of the bit contract, terms fma(x, x, lane).
   */
  rmsNorm(a: {
    rows: number;
    src: number;
    srcStride: number;
    dst: number;
    dstStride: number;
    n: number;
    weight: number;
    eps: number;
  }): void {
    this.#push(OP.rmsNorm, a.rows, a.src, a.srcStride, a.dst, a.dstStride, a.n, a.weight, floatBits(a.eps));
  }

  /**
   * dst[map(r), c] = sum over k of src[r, k] * w[c, k], plus bias[c] if any, plus the old dst if `add`.
   *
   * src in act, w packed by `packMatrix` in weights, dst in `dstSpace` (act or out). `store` columns are written:
   * pad16(n) in act, n in out. `rowMap` (index) gives the row of dst for row r, or -1 for r itself.
   */
  matmul(a: {
    rows: number;
    src: number;
    srcStride: number;
    dstSpace: number;
    dst: number;
    dstStride: number;
    k: number;
    n: number;
    store: number;
    w: number;
    type: number;
    bias: number;
    add: boolean;
    rowMap: number;
  }): void {
    this.#push(
      OP.matmul,
      a.rows,
      a.src,
      a.srcStride,
      a.dstSpace,
      a.dst,
      a.dstStride,
      a.k,
      a.n,
      a.store,
      a.w,
      a.type,
      a.bias,
      a.add ? 1 : 0,
      a.rowMap,
    );
  }

  /**
   * Rotates pairs i < nRot/2 of each of nHead heads of d channels in act x[r]; `type` (ROPE) says which channels are a
   * pair. `table` (act) has a row of `tableStride` floats a token, in the order of the channels: cos_0, sin_0, cos_1,
   * sin_1 ... for NORMAL, cos_0, cos_1 ... sin_0, sin_1 ... for NEOX. x0' = x0*cos - x1*sin as fma(x0, cos, -(x1*sin)),
   * x1' = fma(x0, sin, x1*cos).
   */
  rope(a: {
    rows: number;
    x: number;
    stride: number;
    nHead: number;
    d: number;
    nRot: number;
    table: number;
    tableStride: number;
    type: number;
  }): void {
    this.#push(OP.rope, a.rows, a.x, a.stride, a.nHead, a.d, a.nRot, a.table, a.tableStride, a.type);
  }

  /**
   * RMS norm (see `rmsNorm`) of each of nHead heads of d channels in act x[r], in place, all with one weight (d floats; -1:
   * none).
   */
  headNorm(a: {
    rows: number;
    x: number;
    stride: number;
    nHead: number;
    d: number;
    weight: number;
    eps: number;
  }): void {
    this.#push(OP.headNorm, a.rows, a.x, a.stride, a.nHead, a.d, a.weight, floatBits(a.eps));
  }

  /**
   * cache row cells[r] (n values of `type`, rows packed without padding, n even) = act src[r, 0..n), rounded once.
   * A finite value that becomes infinite in F16, or a NaN or infinity at all, ends the plan with STATUS.kvOverflow;
   * this op then stored nothing, but earlier ones did what they did.
   */
  kvStore(a: {
    rows: number;
    src: number;
    stride: number;
    n: number;
    dst: number;
    type: number;
    cells: number;
  }): void {
    this.#push(OP.kvStore, a.rows, a.src, a.stride, a.n, a.dst, a.type, a.cells);
  }

  /** act dst[r, 0..n) = cache row cells[r] (n values of `type`), widened; zeros behind: what `kvStore` stored. */
  kvLoad(a: {
    rows: number;
    dst: number;
    stride: number;
    n: number;
    src: number;
    type: number;
    cells: number;
  }): void {
    this.#push(OP.kvLoad, a.rows, a.dst, a.stride, a.n, a.src, a.type, a.cells);
  }

  /**
   * Attention of every query over its visible keys, head h with K and V head h / (nHead / nHeadKv).
   *
   * q and dst in act; k and v in cache, row = cell, nHeadKv*d values of `type`. `index` (index) is the place of seven
   * offsets into the index space: groupKey[g] and groupQuery[g] (g = 0..groups, prefix bounds), queryRow[j],
   * queryBegin[j], queryEnd[j] (key range, numbers i of the whole list), keyCell[i], keyPos[i]. Keys of a group ascend by
   * position; a position may come twice (after a division), and then counts twice. Rows that no query names stay as
   * they were.
   *
   * Two passes: score = (sum over channels of q*k) * scale, sum as in a matrix product, and with a cap that is made
   * cap * tanh(score / cap), and with slopes fma(slope, pos - that of the query's last key, score); exact maximum; e = exp(score -
   * maximum); sum of e with lane = position mod 16; values: fma(e, v, acc) by position, cut at positions divisible by
   * 256, cuts added in order; divided by the sum. A query that sees nothing gives zeros.
   */
  attention(a: {
    q: number;
    qStride: number;
    dst: number;
    dstStride: number;
    nHead: number;
    nHeadKv: number;
    d: number;
    k: number;
    v: number;
    type: number;
    scale: number;
    /** Softcap of the scores, 0 for none. */
    cap?: number;
    /** Slopes of ALiBi (weights, pad16(nHead) floats), -1 for none. */
    slopes?: number;
    index: number;
  }): void {
    this.#push(
      OP.attention,
      DIM.groups,
      a.q,
      a.qStride,
      a.dst,
      a.dstStride,
      a.nHead,
      a.nHeadKv,
      a.d,
      a.k,
      a.v,
      a.type,
      floatBits(a.scale),
      a.index,
      floatBits(a.cap ?? 0),
      a.slopes ?? -1,
    );
  }

  /**
   * Which nUsed of nExpert experts row r goes to: those with the largest `logits` (act), ties to the lower number. act
   * ids[r] = their numbers as floats, ascending; weights[r, s] = exp(logit - maximum) / sum of these, the sum over the
   * chosen ones with lane = s mod 16, or over all with lane = number mod 16; or sigmoid(logit) (`SHARES`). ids and weights
   * have one stride.
   */
  route(a: {
    rows: number;
    logits: number;
    logitsStride: number;
    nExpert: number;
    nUsed: number;
    ids: number;
    weights: number;
    stride: number;
    shares: number;
  }): void {
    this.#push(
      OP.route,
      a.rows,
      a.logits,
      a.logitsStride,
      a.nExpert,
      a.nUsed,
      a.ids,
      a.weights,
      a.stride,
      a.shares,
    );
  }

  /**
   * Products with the matrix of one expert each: act dst[r * nUsed + s] = w[ids[r, s]] src, with src row r, or row
   * r * nUsed + s if `perSlot`. Sums as in `matmul`. Matrices {k, n} are packed by `packMatrix`, `step` words apart;
   * pad16(n) columns are written. ids are those of `route`.
   */
  expertMatmul(a: {
    rows: number;
    nExpert: number;
    nUsed: number;
    ids: number;
    idsStride: number;
    src: number;
    srcStride: number;
    perSlot: boolean;
    dst: number;
    dstStride: number;
    k: number;
    n: number;
    w: number;
    step: number;
    type: number;
  }): void {
    this.#push(
      OP.expertMatmul,
      a.rows,
      a.nExpert,
      a.nUsed,
      a.ids,
      a.idsStride,
      a.src,
      a.srcStride,
      a.perSlot ? 1 : 0,
      a.dst,
      a.dstStride,
      a.k,
      a.n,
      a.w,
      a.step,
      a.type,
    );
  }

  /**
   * act dst[r] += the sum of fma(weights[r, s], src[r * nUsed + s], sum) from zero, s ascending; n columns. weights -1: all
   * are 1.
   */
  expertSum(a: {
    rows: number;
    src: number;
    srcStride: number;
    weights: number;
    weightsStride: number;
    nUsed: number;
    dst: number;
    dstStride: number;
    n: number;
  }): void {
    this.#push(
      OP.expertSum,
      a.rows,
      a.src,
      a.srcStride,
      a.weights,
      a.weightsStride,
      a.nUsed,
      a.dst,
      a.dstStride,
      a.n,
    );
  }

  /** act dst[r, i] = silu(gate[r, i]) * up[r, i], i < n. */
  siluMul(a: { rows: number; gate: number; up: number; dst: number; stride: number; n: number }): void {
    this.#push(OP.siluMul, a.rows, a.gate, a.up, a.dst, a.stride, a.n);
  }

  /** act dst[r, i] = gelu(gate[r, i]) * up[r, i], i < n. */
  geluMul(a: { rows: number; gate: number; up: number; dst: number; stride: number; n: number }): void {
    this.#push(OP.geluMul, a.rows, a.gate, a.up, a.dst, a.stride, a.n);
  }

  /** act dst[r * times + s, i] = src[r, i] * by[r, s], s < times, i < n. With times 1, dst may be src. */
  timesEach(a: {
    rows: number;
    src: number;
    srcStride: number;
    by: number;
    byStride: number;
    times: number;
    dst: number;
    dstStride: number;
    n: number;
  }): void {
    const { rows, src, srcStride, by, byStride, times, dst, dstStride, n } = a;
    this.#push(OP.timesEach, rows, src, srcStride, by, byStride, times, dst, dstStride, n);
  }

  /** act x[r, i] *= factor, i < n. */
  scaleRows(a: { rows: number; x: number; stride: number; n: number; factor: number }): void {
    this.#push(OP.scaleRows, a.rows, a.x, a.stride, a.n, floatBits(a.factor));
  }

  /** act dst[r] += rmsNorm(src[r]), which must have a weight; see `rmsNorm`. */
  normAdd(a: {
    rows: number;
    src: number;
    srcStride: number;
    dst: number;
    dstStride: number;
    n: number;
    weight: number;
    eps: number;
  }): void {
    this.#push(OP.normAdd, a.rows, a.src, a.srcStride, a.dst, a.dstStride, a.n, a.weight, floatBits(a.eps));
  }

  /** out row rowMap[r], i < n: x = cap * tanh(x / cap). Rows of out have n floats. */
  capOutputs(a: { rows: number; n: number; cap: number; rowMap: number }): void {
    this.#push(OP.capOutputs, a.rows, a.n, floatBits(a.cap), a.rowMap);
  }

  /** out row rowMap[r] = act src[r, 0..n). Rows of out have n floats. */
  outputRows(a: { rows: number; src: number; srcStride: number; n: number; rowMap: number }): void {
    this.#push(OP.outputRows, a.rows, a.src, a.srcStride, a.n, a.rowMap);
  }

  /** act dst[r] = src[ids[r]], n floats (a multiple of 16). src and dst do not overlap. */
  gatherRows(a: {
    rows: number;
    src: number;
    srcStride: number;
    dst: number;
    dstStride: number;
    n: number;
    ids: number;
  }): void {
    this.#push(OP.gatherRows, a.rows, a.src, a.srcStride, a.dst, a.dstStride, a.n, a.ids);
  }

  /** act dst[i] = cache row ids[i] of `width` floats, or zeros if ids[i] is -1; i < dims.moved. */
  stateGather(a: { src: number; width: number; ids: number; dst: number }): void {
    this.#push(OP.stateGather, DIM.moved, a.src, a.width, a.ids, a.dst);
  }

  /** cache row dstIds[j] = act src row srcIds[j]; j < dims.extra. */
  stateScatter(a: { src: number; width: number; srcIds: number; dst: number; dstIds: number }): void {
    this.#push(OP.stateScatter, DIM.extra, a.src, a.width, a.srcIds, a.dst, a.dstIds);
  }

  /**
   * Depthwise causal convolution, bias and SiLU over equal sets of tokens: row s*seqTokens + t is token t of set s.
   *
   * dst = silu(acc + bias), acc = fma(sx[t + j], w[j], acc) for j = 0 .. dConv-1 from zero, where sx is the state's
   * dConv-1 columns followed by the tokens. Old state of set s: cache row srcIds[s]; zeros if -1; act row -2 - srcIds[s]
   * of `moved` if below -1. The new state (the last dConv-1 columns) goes to cache row dstIds[s]. A state row is
   * [dConv-1][n] floats, n a multiple of 16; w is [dConv][n], bias [n] in weights. x and dst do not overlap. Sets are
   * done in order, so a cache row that one set writes and a later one reads must come from `moved` instead.
   *
   * With DIM.kept = k > 0 a set is k + 1 parts, all tokens but the last k and then each of those, and srcIds and dstIds
   * have an entry for each part, part after part of set after set; a part begins with the state that its srcIds say.
   */
  ssmConv(a: {
    x: number;
    xStride: number;
    dst: number;
    dstStride: number;
    n: number;
    dConv: number;
    w: number;
    bias: number;
    state: number;
    srcIds: number;
    dstIds: number;
    moved: number;
  }): void {
    this.#push(
      OP.ssmConv,
      DIM.seqs,
      DIM.seq_tokens,
      a.x,
      a.xStride,
      a.dst,
      a.dstStride,
      a.n,
      a.dConv,
      a.w,
      a.bias,
      a.state,
      a.srcIds,
      a.dstIds,
      a.moved,
    );
  }

  /**
   * Selective scan of Mamba-1 over equal sets of tokens. n channels (a multiple of 16), nState states.
   *
   * d = softplus(dt); xd = x * d; for each state i: s = fma(s, exp(d * a[i]), b[i] * xd); lane[i mod 16] = fma(s, c[i],
   * lane) from zero; dst = the lanes folded by +8, +4, +2, +1. b and c rows have nState floats a token. States and `a`
   * are [n/16][nState][16]; where states come from and go to: as in ssmConv.
   */
  ssmScan(a: {
    x: number;
    xStride: number;
    dt: number;
    dtStride: number;
    b: number;
    bStride: number;
    c: number;
    cStride: number;
    dst: number;
    dstStride: number;
    n: number;
    nState: number;
    a: number;
    state: number;
    srcIds: number;
    dstIds: number;
    moved: number;
  }): void {
    this.#push(
      OP.ssmScan,
      DIM.seqs,
      DIM.seq_tokens,
      a.x,
      a.xStride,
      a.dt,
      a.dtStride,
      a.b,
      a.bStride,
      a.c,
      a.cStride,
      a.dst,
      a.dstStride,
      a.n,
      a.nState,
      a.a,
      a.state,
      a.srcIds,
      a.dstIds,
      a.moved,
    );
  }

  /** act dst[r] = fma(dSkip, x[r], y[r]) * silu(z[r]); dSkip [n] in weights, n a multiple of 16. */
  ssmGate(a: {
    rows: number;
    y: number;
    yStride: number;
    x: number;
    xStride: number;
    z: number;
    zStride: number;
    dst: number;
    dstStride: number;
    n: number;
    dSkip: number;
  }): void {
    this.#push(
      OP.ssmGate,
      a.rows,
      a.y,
      a.yStride,
      a.x,
      a.xStride,
      a.z,
      a.zStride,
      a.dst,
      a.dstStride,
      a.n,
      a.dSkip,
    );
  }

  /**
   * Selective scan of Mamba-2 over equal sets of tokens: nHead heads of dHead channels, one decay a head, nState states
   * a channel. Head h takes b and c of group floor(h / (nHead / nGroup)); a row of b or c has nState floats a group.
   *
   * d = softplus(dt[h]); e = exp(d * a[h]); xd = x * d; for each state i: s = fma(s, e, b[i] * xd); lane[i mod 16] =
   * fma(s, c[i], lane) from zero; dst = the lanes folded by +8, +4, +2, +1. A state row is [nHead * dHead][pad16(nState)]
   * floats; where states come from and go to: as in ssmConv. dt rows and `a` (weights) are padded to whole vectors.
   */
  ssmScanHeads(a: {
    x: number;
    xStride: number;
    dt: number;
    dtStride: number;
    b: number;
    bStride: number;
    c: number;
    cStride: number;
    dst: number;
    dstStride: number;
    nHead: number;
    dHead: number;
    nGroup: number;
    nState: number;
    a: number;
    state: number;
    srcIds: number;
    dstIds: number;
    moved: number;
  }): void {
    this.#push(
      OP.ssmScanHeads,
      DIM.seqs,
      DIM.seq_tokens,
      a.x,
      a.xStride,
      a.dt,
      a.dtStride,
      a.b,
      a.bStride,
      a.c,
      a.cStride,
      a.dst,
      a.dstStride,
      a.nHead,
      a.dHead,
      a.nGroup,
      a.nState,
      a.a,
      a.state,
      a.srcIds,
      a.dstIds,
      a.moved,
    );
  }

  /**
   * Gate, then a norm of each group: v = fma(dSkip, x[r], y[r]) * silu(z[r]); act dst[r] = (v * s) * weight with s = 1 /
   * sqrt(sum of squares of the group / its channels + eps). Channels n / groups a group, one group behind the other; the
   * row sum of a group begins in lane 0. dSkip and weight [pad16(n)] in weights. dst may be y.
   */
  ssmGateNorm(a: {
    rows: number;
    y: number;
    yStride: number;
    x: number;
    xStride: number;
    z: number;
    zStride: number;
    dst: number;
    dstStride: number;
    n: number;
    groups: number;
    dSkip: number;
    weight: number;
    eps: number;
  }): void {
    this.#push(
      OP.ssmGateNorm,
      a.rows,
      a.y,
      a.yStride,
      a.x,
      a.xStride,
      a.z,
      a.zStride,
      a.dst,
      a.dstStride,
      a.n,
      a.groups,
      a.dSkip,
      a.weight,
      floatBits(a.eps),
    );
  }

  /**
   * Gated short convolution over equal sets of tokens: x[r] becomes b[r] * x[r], and dst = gate * acc with acc =
   * fma(sx[t + j], w[j], acc) for j = 0 .. dConv-1 from zero, where sx is the state's dConv-1 columns followed by the
   * new x. b, gate and x have one stride. The rest as in ssmConv.
   */
  shortConv(a: {
    b: number;
    gate: number;
    x: number;
    stride: number;
    dst: number;
    dstStride: number;
    n: number;
    dConv: number;
    w: number;
    state: number;
    srcIds: number;
    dstIds: number;
    moved: number;
  }): void {
    this.#push(
      OP.shortConv,
      DIM.seqs,
      DIM.seq_tokens,
      a.b,
      a.gate,
      a.x,
      a.stride,
      a.dst,
      a.dstStride,
      a.n,
      a.dConv,
      a.w,
      a.state,
      a.srcIds,
      a.dstIds,
      a.moved,
    );
  }
}

/** The five spaces. weights, cache: bytes, 64-byte aligned starts are welcome but not required. */
export interface Memory {
  weights: Uint8Array;
  act: Float32Array;
  cache: Uint8Array;
  index: Int32Array;
  out: Float32Array;
}

/** A named implementation of all kernels. */
export interface Kernels {
  readonly isa: string;
  /** Runs a plan; 0, or (index of the failing op << 8) | STATUS. */
  run(plan: Int32Array, n_ops: number, dims: Int32Array, memory: Memory): number;
}

/**
 * Packs a matrix of n outputs (rows of k elements, F32 or half bits) into panels of 16 outputs: [pad16(n)/16][k][16],
 * zeros behind the last output. The result has the element type of the source.
 */
export function packMatrix<T extends Float32Array | Uint16Array>(rows: T, k: number, n: number): T {
  const panels = pad16(n) >> 4;
  const packed = new (rows.constructor as new (length: number) => T)(panels * k * 16);
  for (let o = 0; o < n; o++) {
    const base = (o >> 4) * k * 16 + (o & 15);
    for (let i = 0; i < k; i++) packed[base + i * 16] = rows[o * k + i]!;
  }
  return packed;
}

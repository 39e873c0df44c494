/**
 * A plan in the making: the spaces that it takes, and the operations that every architecture begins, goes on and ends
 * with. An architecture takes its activation rows from here, adds its operations in order, and is `built`.
 */
import type { Model } from '../../model/types.ts';
import { DIM, PlanBuilder, pad16, SPACE } from '../../native/plan.ts';
import { Arena, type BuiltPlan, type CacheIndex, type KeptRows, type PlanContext } from '../layout.ts';
import type { PositionTable, RopeTable, RopeType } from '../rope.ts';
import { type Matrix, type Table, WeightsBuilder } from '../weights.ts';

/** Activation rows, one a token: offset and stride in words. */
export interface Rows {
  readonly at: number;
  readonly stride: number;
}

/** The rows of a rope table, which belong to pairs of one kind. */
export interface Angles extends Rows {
  readonly type: RopeType;
}

/** What a model begins and ends with. */
export interface Ends {
  readonly embed: Table;
  readonly outputNorm: number;
  readonly output: Matrix;
}

/** A model's weights, packed: its ends, and what `pack` makes of layer l (`prefix` is `blk.0.` and so on). */
export function packModel<L>(
  model: Model,
  pack: (builder: WeightsBuilder, prefix: string, l: number) => L,
  lastNorm = 'output_norm',
): { readonly ends: Ends; readonly layers: readonly L[]; readonly weights: Uint8Array } {
  const builder = new WeightsBuilder(model);
  const embed = builder.table('token_embd.weight');
  const layers: L[] = [];
  for (let l = 0; l < model.hparams.n_layer; l++) layers.push(pack(builder, `blk.${l}.`, l));
  const outputNorm = builder.vector(`${lastNorm}.weight`);
  const output = builder.matrix(builder.has('output.weight') ? 'output.weight' : 'token_embd.weight');
  return { ends: { embed, outputNorm, output }, layers, weights: builder.build() };
}

export class Draft {
  readonly context: PlanContext;
  /** Where operations go. */
  plan = new PlanBuilder();
  /** Of the activation space. */
  readonly act = new Arena();
  /** Of the cache space: layers take what they keep in turn. */
  readonly cache = new Arena();
  /** Which rows operations are for (DIM): those of all tokens, or from `onlyOutputs` on those of outputs. */
  rows: number = DIM.tokens;
  readonly #tableRows: number[] = [];
  /** What each cache of the network keeps, and how a shift turns it. */
  readonly #caches: { readonly kept: KeptRows[]; readonly shift: PlanBuilder }[];

  constructor(context: PlanContext) {
    this.context = context;
    this.#caches = context.index.caches.map(() => ({ kept: [], shift: new PlanBuilder() }));
  }

  /** Cache number `at` of the network, which must be of this kind. */
  cacheIndex<K extends CacheIndex['kind']>(kind: K, at: number): Extract<CacheIndex, { kind: K }> {
    const cache = this.context.index.caches[at];
    if (cache?.kind !== kind) throw new Error(`cache ${at} of the network is not ${kind}`);
    return cache as Extract<CacheIndex, { kind: K }>;
  }

  /**
   * Room for what cache number `cache` keeps of one more layer: its `rows` of so many bytes. Answers the place in the
   * cache space (words).
   */
  keep(cache: number, bytes: number, turned = false): number {
    const at = this.cache.take(Math.ceil((this.context.index.caches[cache]!.rows * bytes) / 4));
    this.#caches[cache]!.kept.push({ at: 4 * at, bytes, turned });
    return at;
  }

  /** What `operations` adds goes to the plan that shifts this cache. */
  onShift(cache: number, operations: () => void): void {
    const plan = this.plan;
    this.plan = this.#caches[cache]!.shift;
    operations();
    this.plan = plan;
  }

  /** Room for rows of n values, padded to whole vectors. */
  take(n: number): Rows {
    const stride = pad16(n);
    return { at: this.act.take(this.context.tokens * stride), stride };
  }

  /** Room for the rows of a table. Tables are taken in the order of `Network.tables`. */
  takeTable({ width }: PositionTable): Rows {
    const rows = this.take(width);
    this.#tableRows.push(rows.at);
    return rows;
  }

  takeRope(table: RopeTable): Angles {
    return { ...this.takeTable(table), type: table.type };
  }

  /** dst = the n_embd values of each token in the table. */
  embed(table: Table, n_embd: number, dst: Rows): void {
    this.plan.embed({
      rows: this.rows,
      dst: dst.at,
      dstStride: dst.stride,
      table: table.offset,
      tableStride: table.stride,
      type: table.type,
      n: n_embd,
      ids: this.context.index.tokenIds,
    });
  }

  /** dst = RMS norm of n values, times `weight` (-1: none). src and dst have one stride and may be the same. */
  rmsNorm(src: Rows, dst: Rows, n: number, weight: number, eps: number): void {
    const at = { rows: this.rows, src: src.at, srcStride: src.stride, dst: dst.at, dstStride: dst.stride };
    this.plan.rmsNorm({ ...at, n, weight, eps });
  }

  /** dst = m src (+ bias), or dst += m src. */
  project(
    m: Matrix,
    src: Rows,
    dst: Rows,
    how: { readonly bias?: number; readonly add?: boolean } = {},
  ): void {
    this.plan.matmul({
      rows: this.rows,
      src: src.at,
      srcStride: src.stride,
      dstSpace: SPACE.act,
      dst: dst.at,
      dstStride: dst.stride,
      k: m.k,
      n: m.n,
      store: pad16(m.n),
      w: m.offset,
      type: m.type,
      bias: how.bias ?? -1,
      add: how.add ?? false,
      rowMap: -1,
    });
  }

  /**
   * From here on only output rows: what is still needed of all rows is gathered, each into rows of its own. Called in
   * the last layer, behind what looks at other tokens.
   */
  onlyOutputs<T extends readonly Rows[]>(...needed: T): { [K in keyof T]: Rows } {
    this.rows = DIM.outputs;
    return needed.map((src) => {
      const dst = this.take(src.stride);
      this.plan.gatherRows({
        rows: this.rows,
        src: src.at,
        srcStride: src.stride,
        dst: dst.at,
        dstStride: dst.stride,
        n: src.stride,
        ids: this.context.index.outIds,
      });
      return dst;
    }) as { [K in keyof T]: Rows };
  }

  /** Output rows of src, n numbers each, are the answer: each goes to its final row. */
  answer(src: Rows, n: number): void {
    const { outRows: rowMap } = this.context.index;
    this.plan.outputRows({ rows: DIM.outputs, src: src.at, srcStride: src.stride, n, rowMap });
  }

  /** The logits of every output row of src, each written to its final row. */
  projectOutputs(output: Matrix, src: Rows): void {
    this.plan.matmul({
      rows: DIM.outputs,
      src: src.at,
      srcStride: src.stride,
      dstSpace: SPACE.out,
      dst: 0,
      dstStride: output.n,
      k: output.k,
      n: output.n,
      store: output.n,
      w: output.offset,
      type: output.type,
      bias: -1,
      add: false,
      rowMap: this.context.index.outRows,
    });
  }

  built(): BuiltPlan {
    return {
      plan: this.plan.build(),
      n_ops: this.plan.n_ops,
      actWords: this.act.words,
      cacheBytes: 4 * this.cache.words,
      tableRows: this.#tableRows,
      caches: this.#caches.map(({ kept, shift }) => ({
        kept,
        ...(shift.n_ops === 0 ? {} : { shift: { plan: shift.build(), n_ops: shift.n_ops } }),
      })),
    };
  }
}

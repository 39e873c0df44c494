/**
 * Where things lie in the index and activation spaces of a context. Offsets are words; every part starts at a whole
 * vector. A context has one layout, made when it is opened, and its plan refers to it.
 */
import { pad16 } from '../native/plan.ts';
import type { RopeTable } from './rope.ts';

/** Hands out offsets. */
export class Arena {
  words = 0;

  /** Room for n words (rounded up to whole vectors). */
  take(n: number): number {
    const offset = this.words;
    this.words += pad16(n);
    return offset;
  }
}

/** Index space: what changes from ubatch to ubatch. The key lists come last, because they grow. */
export interface IndexLayout {
  readonly tokenIds: number;
  readonly outIds: number;
  readonly outRows: number;
  /** Cells of the ubatch's tokens. */
  readonly cells: number;
  /** Seven offsets for `PlanBuilder.attention`. */
  readonly attention: number;
  readonly groupKey: number;
  readonly groupQuery: number;
  readonly queryRow: number;
  readonly queryBegin: number;
  readonly queryEnd: number;
  /** Recurrent state rows: where each set's state comes from and goes to, rows that move, rows carried along. */
  readonly srcIds: number;
  readonly dstIds: number;
  readonly movedIds: number;
  readonly extraSrc: number;
  readonly extraDst: number;
  /** Key cells, then key positions, each of `keyRoom` words in a buffer that may be replaced by a larger one. */
  readonly keys: number;
}

/** For ubatches of at most `tokens` tokens and contexts of `seqs` sequences. */
export function indexLayout(tokens: number, seqs: number): IndexLayout {
  const arena = new Arena();
  return {
    tokenIds: arena.take(tokens),
    outIds: arena.take(tokens),
    outRows: arena.take(tokens),
    cells: arena.take(tokens),
    attention: arena.take(7),
    groupKey: arena.take(seqs + 1),
    groupQuery: arena.take(seqs + 1),
    queryRow: arena.take(tokens),
    queryBegin: arena.take(tokens),
    queryEnd: arena.take(tokens),
    srcIds: arena.take(seqs),
    dstIds: arena.take(seqs),
    movedIds: arena.take(seqs),
    extraSrc: arena.take(seqs),
    extraDst: arena.take(seqs),
    keys: arena.words,
  };
}

/** What an architecture's builder needs to know about the context. */
export interface PlanContext {
  /** Most tokens of a ubatch. */
  readonly tokens: number;
  readonly n_ctx: number;
  readonly n_seq_max: number;
  /** TYPE of K and V. */
  readonly typeKv: number;
  readonly index: IndexLayout;
}

/** A plan and the sizes of the spaces that it uses. */
export interface BuiltPlan {
  readonly plan: Int32Array;
  readonly n_ops: number;
  readonly actWords: number;
  readonly cacheBytes: number;
  /** Where the rows of each table of `Network.ropes` lie (act), each of pad16(n_rot) words a token. */
  readonly ropeRows: readonly number[];
}

/** A model, packed, and able to build a plan for a context. */
export interface Network {
  readonly memory: 'attention' | 'recurrent';
  readonly weights: Uint8Array;
  /** The tables of cosines and sines that its plans read; the context fills their rows for every ubatch. */
  readonly ropes: readonly RopeTable[];
  build(context: PlanContext): BuiltPlan;
}

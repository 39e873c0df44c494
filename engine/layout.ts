/**
 * Where things lie in the index and activation spaces of a context. Offsets are words; every part starts at a whole
 * vector. A context has one layout, made when it is opened, and its plan refers to it.
 */
import { pad16 } from '../native/plan.ts';
import type { Window } from './mask.ts';
import type { PositionTable } from './rope.ts';

/** Plans say where things lie in 32 bits. */
const MOST_WORDS = 2 ** 31 - 16;

/** Hands out offsets. */
export class Arena {
  words = 0;

  /** Room for n words (rounded up to whole vectors). Throws a RangeError, as what cannot be allocated does. */
  take(n: number): number {
    if (n > MOST_WORDS - this.words) throw new RangeError(`${n} words more are beyond what a plan can say`);
    const offset = this.words;
    this.words += pad16(n);
    return offset;
  }
}

/**
 * A cache that a model needs: cells for the layers that attend (of one window), or states for the recurrent ones; or rows
 * for the tokens of one ubatch, which see to both sides, at most `around` positions far.
 */
export type CacheSpec =
  | { readonly kind: 'attention'; readonly window?: Window }
  | { readonly kind: 'ubatch'; readonly around?: number }
  | { readonly kind: 'recurrent' };

/** Where the queries and keys of an attention cache stand; the key lists themselves come last, because they grow. */
export interface AttentionIndex {
  readonly kind: 'attention';
  readonly window?: Window;
  /** It keeps nothing behind a ubatch, whose tokens see as far as this to both sides. */
  readonly around?: number;
  /** Cells of the cache. */
  readonly size: number;
  /** As many: what a layer keeps. */
  readonly rows: number;
  /** Cells of the ubatch's tokens. */
  readonly cells: number;
  /** Seven offsets for `PlanBuilder.attention`. */
  readonly attention: number;
  readonly groupKey: number;
  readonly groupQuery: number;
  readonly queryRow: number;
  readonly queryBegin: number;
  readonly queryEnd: number;
}

/** State rows: where each set's state comes from and goes to, rows that move, rows carried along. */
export interface RecurrentIndex {
  readonly kind: 'recurrent';
  /** Slots. */
  readonly size: number;
  /** As many, or two for each slot; more where states are kept. */
  readonly rows: number;
  /** A batch can fail, and leaves the old states then. */
  readonly spare: boolean;
  /** How many states before its last one are kept of each sequence. */
  readonly kept: number;
  readonly srcIds: number;
  readonly dstIds: number;
  readonly movedIds: number;
  readonly extraSrc: number;
  readonly extraDst: number;
}

export type CacheIndex = AttentionIndex | RecurrentIndex;

/** Index space: what changes from ubatch to ubatch. */
export interface IndexLayout {
  readonly tokenIds: number;
  readonly outIds: number;
  readonly outRows: number;
  /** In the order of `Network.caches`. */
  readonly caches: readonly CacheIndex[];
  /** Behind all that has a fixed place: key cells, then key positions, of each attention cache in turn. */
  readonly end: number;
}

export interface ContextSizes {
  /** Most tokens of a ubatch. */
  readonly tokens: number;
  readonly n_ctx: number;
  readonly n_batch: number;
  readonly n_seq_max: number;
  /** States that are kept of each sequence beside its last one. */
  readonly n_rs_seq: number;
}

export function indexLayout(specs: readonly CacheSpec[], sizes: ContextSizes): IndexLayout {
  const arena = new Arena();
  const { tokens } = sizes;
  const fixed = { tokenIds: arena.take(tokens), outIds: arena.take(tokens), outRows: arena.take(tokens) };
  // Storing keys and values can fail (an overflow), and nothing else of a plan.
  const spare = specs.some(({ kind }) => kind === 'attention');
  const caches = specs.map((spec) => {
    if (spec.kind === 'recurrent') return recurrentIndex(arena, sizes, spare);
    if (spec.kind === 'attention') return attentionIndex(arena, sizes, cellsOf(sizes, spec.window), spec);
    return attentionIndex(arena, sizes, tokens, { around: spec.around ?? Number.POSITIVE_INFINITY });
  });
  return { ...fixed, caches, end: arena.words };
}

/** With a window: room for what all sequences see of the past, and for one batch, which forgets nothing (`commit`). */
function cellsOf({ n_ctx, n_batch, n_seq_max }: ContextSizes, window?: Window): number {
  return window === undefined ? n_ctx : Math.min(n_ctx, n_seq_max * window.size + n_batch);
}

function attentionIndex(
  arena: Arena,
  { tokens, n_seq_max }: ContextSizes,
  size: number,
  { window, around }: Pick<AttentionIndex, 'window' | 'around'>,
): AttentionIndex {
  return {
    kind: 'attention',
    window,
    ...(around === undefined ? {} : { around }),
    size,
    rows: size,
    cells: arena.take(tokens),
    attention: arena.take(7),
    groupKey: arena.take(n_seq_max + 1),
    groupQuery: arena.take(n_seq_max + 1),
    queryRow: arena.take(tokens),
    queryBegin: arena.take(tokens),
    queryEnd: arena.take(tokens),
  };
}

function recurrentIndex(arena: Arena, { n_seq_max, n_rs_seq }: ContextSizes, spare: boolean): RecurrentIndex {
  const states = n_seq_max * (n_rs_seq + 1);
  // The states of one set are written before those that they replace are given up (`KeptStates`).
  const replaced = n_rs_seq === 0 ? 0 : n_rs_seq + 1;
  return {
    kind: 'recurrent',
    size: n_seq_max,
    rows: (spare ? 2 * states : states) + replaced,
    spare,
    kept: n_rs_seq,
    srcIds: arena.take(states),
    dstIds: arena.take(states),
    movedIds: arena.take(n_seq_max),
    extraSrc: arena.take(n_seq_max),
    extraDst: arena.take(n_seq_max),
  };
}

/** What an architecture's builder needs to know about the context. */
export interface PlanContext extends ContextSizes {
  /** TYPE of K and V. */
  readonly typeKv: number;
  readonly index: IndexLayout;
}

/** A plan that turns the keys of one cache in place: those of the cells in `AttentionIndex.cells`, by the rope rows. */
export interface ShiftPlan {
  readonly plan: Int32Array;
  readonly n_ops: number;
}

/** What a cache keeps in the cache space: so many rows of `bytes` bytes, one a cell or slot, from byte `at` on. */
export interface KeptRows {
  readonly at: number;
  readonly bytes: number;
  /** Keys, which a shift turns. */
  readonly turned: boolean;
}

/** What a context needs to move rows of a cache. */
export interface CacheRows {
  readonly kept: readonly KeptRows[];
  /** Absent where nothing depends on positions. */
  readonly shift?: ShiftPlan;
}

/** A plan and the sizes of the spaces that it uses. */
export interface BuiltPlan {
  readonly plan: Int32Array;
  readonly n_ops: number;
  readonly actWords: number;
  readonly cacheBytes: number;
  /** Where the rows of each table of `Network.tables` lie (act), each of pad16(width) words a token. */
  readonly tableRows: readonly number[];
  /** In the order of `Network.caches`. */
  readonly caches: readonly CacheRows[];
}

/** A model, packed, and able to build a plan for a context. */
export interface Network {
  /** At least one. A plan names them by their place here. */
  readonly caches: readonly CacheSpec[];
  readonly weights: Uint8Array;
  /** The tables that its plans read, such as cosines and sines; the context fills their rows for every ubatch. */
  readonly tables: readonly PositionTable[];
  build(context: PlanContext): BuiltPlan;
}

/**
 * How the recurrent cells of a libllama lie in memory (`llama_memory_recurrent`; before, a recurrent
 * `llama_kv_cache`), found by what they hold and not by the version of the build (spec: libllama.md 5).
 *
 * What is taken for granted is x86-64 with libstdc++: a std::vector is three pointers, and a std::set of ids, which
 * ends each cell, is 48 bytes whose empty form points to itself. Everything else is looked for: first, in a new context,
 * a vector of as many cells with empty sets as there are sequences; then, over a known history, the one word of a cell
 * that always held its position, and the one that always held the tail. A place for which a word is missing or could be
 * another is not taken. What lies before the vector (counts, the window) is optional and is found in the same way.
 */
import type { ShownCells } from '../../../contract/white.ts';
import type { Address } from './library.ts';
import type { ProcessMemory } from './process-memory.ts';

/** A vector that may be the one of the cells. */
export interface Place {
  /** Offset of a pointer to the object that holds it; null if the object is the one that was given. */
  readonly through: number | null;
  /** Offset of the vector in its object. */
  readonly vector: number;
  /** Bytes of a cell. */
  readonly stride: number;
}

/** Words of a cell by their number, and offsets of u32 before the vector. */
export interface CellLayout extends Place {
  readonly pos: number;
  readonly tail: number;
  readonly src?: number;
  readonly src0?: number;
  readonly used?: number;
  readonly window?: { readonly head: number; readonly n: number; readonly zero?: number };
}

/** What lies at a place at some moment. */
export interface Raw {
  /** The words before the set, by cell. */
  readonly words: readonly (readonly number[])[];
  /** Ids in the set of each cell, ascending. */
  readonly sets: readonly (readonly number[])[];
  /** The words before the vector, nearest first: word k lies 4 (k+1) bytes before it. */
  readonly before: readonly number[];
}

/** What is known of a moment: last position by sequence, -1 = none; and after a decode the window of its ubatch. */
export interface Known {
  readonly pos: readonly number[];
  readonly window?: { readonly head: number; readonly n: number; readonly zero: number };
}

/** Farther from an object nothing is looked for. */
const OBJECT_BYTES = 2048;
const INNER_BYTES = 512;
/** Members of the cells' class before its vector; the widest that is known takes 48 bytes. */
const BEFORE_BYTES = 64;
const SET_BYTES = 48;
/** Offsets in a std::set: root of the tree, its leftmost and rightmost node, its size; the header begins at 8. */
const SET = { header: 8, root: 16, left: 24, right: 32, size: 40 } as const;
/** Offsets in a node of its tree. */
const NODE = { left: 16, right: 24, id: 32, bytes: 40 } as const;
const MOST_STRIDE = 256;
/** Of user space. */
const LOWEST = 1n << 16n;
const HIGHEST = 1n << 47n;

function pointerAt(view: DataView, offset: number): Address {
  return view.getBigUint64(offset, true);
}

function isAddress(at: Address): boolean {
  return at >= LOWEST && at < HIGHEST && at % 8n === 0n;
}

/**
 * Vectors of `n` cells with empty sets, near `root` or behind one of its pointers. One vector may be found several times,
 * because what lies before its object leads to it as well; the object itself is where it is nearest, and comes first.
 */
export function findPlaces(memory: ProcessMemory, root: Address, n: number): Place[] {
  const object = readMost(memory, root, OBJECT_BYTES);
  if (object === null) return [];
  const near = vectorsIn(memory, object, n).map((found) => ({ through: null, ...found }));
  const behind: Place[] = [];
  for (let through = 0; through + 8 <= object.byteLength; through += 8) {
    const at = pointerAt(object, through);
    const inner = isAddress(at) ? readMost(memory, at, INNER_BYTES) : null;
    if (inner !== null) for (const found of vectorsIn(memory, inner, n)) behind.push({ through, ...found });
  }
  return [...near, ...behind].sort((a, b) => a.vector - b.vector);
}

/** Less where the memory ends before. */
function readMost(memory: ProcessMemory, at: Address, bytes: number): DataView | null {
  for (let n = bytes; n >= 64; n /= 2) {
    const view = memory.read(at, n);
    if (view !== null) return view;
  }
  return null;
}

function vectorsIn(memory: ProcessMemory, object: DataView, n: number): Omit<Place, 'through'>[] {
  const found: Omit<Place, 'through'>[] = [];
  for (let vector = BEFORE_BYTES / 4; vector + 24 <= object.byteLength; vector += 8) {
    const cells = vectorAt(memory, object, vector, n);
    if (cells === null) continue;
    const { view, stride, begin } = cells;
    const empty = Array.from({ length: n }, (_, i) => i).every((i) => {
      const set = i * stride + stride - SET_BYTES;
      const header = begin + BigInt(set + SET.header);
      return (
        view.getBigUint64(set + SET.size, true) === 0n &&
        pointerAt(view, set + SET.left) === header &&
        pointerAt(view, set + SET.right) === header
      );
    });
    if (empty) found.push({ vector, stride });
  }
  return found;
}

/** The elements of a vector of `n` that may be cells. */
function vectorAt(
  memory: ProcessMemory,
  object: DataView,
  vector: number,
  n: number,
): { readonly view: DataView; readonly begin: Address; readonly stride: number } | null {
  const [begin, end, room] = [0, 8, 16].map((o) => pointerAt(object, vector + o)) as [bigint, bigint, bigint];
  if (!isAddress(begin) || end <= begin || room < end || end - begin > BigInt(n * MOST_STRIDE)) return null;
  const stride = Number(end - begin) / n;
  if (!Number.isInteger(stride) || stride % 8 !== 0 || stride < SET_BYTES + 8) return null;
  const view = memory.read(begin, n * stride);
  return view === null ? null : { view, begin, stride };
}

/** What lies at a place now; null if that are no `n` cells. Vectors move, so nothing is kept between two calls. */
export function readRaw(memory: ProcessMemory, root: Address, place: Place, n: number): Raw | null {
  let at = root;
  if (place.through !== null) {
    const pointer = memory.read(root + BigInt(place.through), 8);
    if (pointer === null || !isAddress(pointerAt(pointer, 0))) return null;
    at = pointerAt(pointer, 0);
  }
  const room = Math.min(BEFORE_BYTES, place.vector);
  const object = memory.read(at + BigInt(place.vector - room), room + 24);
  const cells = object === null ? null : vectorAt(memory, object, room, n);
  if (object === null || cells === null || cells.stride !== place.stride) return null;
  const { view, stride } = cells;
  const words: number[][] = [];
  const sets: number[][] = [];
  for (let i = 0; i < n; i++) {
    const set = i * stride + stride - SET_BYTES;
    const ids = readSet(memory, view, set, n);
    if (ids === null) return null;
    sets.push(ids);
    words.push(
      Array.from({ length: (stride - SET_BYTES) / 4 }, (_, k) => view.getInt32(i * stride + 4 * k, true)),
    );
  }
  const before = Array.from({ length: room / 4 }, (_, k) => object.getInt32(room - 4 * (k + 1), true));
  return { words, sets, before };
}

/** The ids of a std::set; null if it is none, or holds more than there can be (`most`, and some that do not exist). */
function readSet(memory: ProcessMemory, cell: DataView, set: number, most: number): number[] | null {
  const size = Number(cell.getBigUint64(set + SET.size, true));
  if (size > 4 * most + 4) return null;
  const ids: number[] = [];
  const walk = (at: Address): boolean => {
    if (at === 0n) return true;
    const node = ids.length < size && isAddress(at) ? memory.read(at, NODE.bytes) : null;
    if (node === null || !walk(pointerAt(node, NODE.left))) return false;
    ids.push(node.getInt32(NODE.id, true));
    return walk(pointerAt(node, NODE.right));
  };
  return (size === 0 || walk(pointerAt(cell, set + SET.root))) && ids.length === size ? ids : null;
}

/**
 * The layout of the cells at a place by what lay there in a new context and at each known moment after it; or what is
 * wrong with it.
 */
export function layoutOf(
  place: Place,
  fresh: Raw,
  moments: readonly { readonly raw: Raw; readonly known: Known }[],
): CellLayout | { readonly wrong: string } {
  for (const [k, { raw, known }] of moments.entries()) {
    const lost = known.pos.findIndex(
      (pos, seq) => (pos < 0 ? 0 : 1) !== raw.sets.flat().filter((s) => s === seq).length,
    );
    if (lost >= 0) return { wrong: `sequence ${lost} has not one cell at moment ${k}` };
  }
  const words = fresh.words[0]!.map((_, w) => w);
  const isFree = (w: number): boolean => fresh.words.every((cell) => cell[w] === -1);
  const free = words.filter(isFree);
  /** Words that hold what they should at every moment; `each` says what, for a cell that is in use. */
  const holding = (among: readonly number[], each: (i: number, raw: Raw, known: Known) => number): number[] =>
    among.filter((w) =>
      moments.every(({ raw, known }) =>
        raw.words.every((cell, i) => raw.sets[i]!.length === 0 || cell[w] === each(i, raw, known)),
      ),
    );
  const positions = holding(free, (i, raw, known) => known.pos[raw.sets[i]![0]!]!);
  const tails = free.filter((w) =>
    moments.every(({ raw }) =>
      raw.words.every((cell, seq) => cell[w] === raw.sets.findIndex((ids) => ids.includes(seq))),
    ),
  );
  const [pos] = positions;
  const [tail] = tails;
  if (pos === undefined || positions.length > 1)
    return { wrong: `${positions.length} words that hold positions` };
  if (tail === undefined || tails.length > 1) return { wrong: `${tails.length} words that hold tails` };
  const rows = sources(
    free.filter((w) => w !== pos && w !== tail),
    moments,
    holding,
  );
  return { ...place, pos, tail, ...rows, ...countsOf(place, moments, rows.src0 !== undefined) };
}

/**
 * Rows of states. After the first ubatch its state lies in its own row, whatever the release. If two words say so, the
 * one that always does is where the state lies, the other where it came from.
 */
function sources(
  rest: readonly number[],
  moments: readonly { readonly raw: Raw; readonly known: Known }[],
  holding: (among: readonly number[], each: (i: number) => number) => number[],
): { readonly src?: number; readonly src0?: number } {
  const { raw } = moments[0]!;
  const rows = rest.filter((w) => raw.words.every((cell, i) => raw.sets[i]!.length === 0 || cell[w] === i));
  if (rows.length === 1) return { src: rows[0]! };
  const own = holding(rows, (i) => i);
  if (rows.length !== 2 || own.length !== 1) return {};
  return { src: own[0]!, src0: rows.find((w) => w !== own[0])! };
}

/** Counts and the window: words before the vector that held what they should, if there is only one of each. */
function countsOf(
  { vector }: Place,
  moments: readonly { readonly raw: Raw; readonly known: Known }[],
  withZero: boolean,
): Pick<CellLayout, 'used' | 'window'> {
  const only = (want: (raw: Raw, known: Known) => number | undefined): number | undefined => {
    const found = moments[0]!.raw.before.flatMap((_, k) => {
      const holds = moments.every(({ raw, known }) => {
        const value = want(raw, known);
        return value === undefined || raw.before[k] === value;
      });
      return holds ? [vector - 4 * (k + 1)] : [];
    });
    return found.length === 1 ? found[0] : undefined;
  };
  const used = only((raw) => raw.sets.filter((ids) => ids.length > 0).length);
  const head = only((_, { window }) => window?.head);
  const n = only((_, { window }) => window?.n);
  const zero = withZero ? only((_, { window }) => window?.zero) : undefined;
  return {
    ...(used === undefined ? {} : { used }),
    ...(head === undefined || n === undefined
      ? {}
      : { window: { head, n, ...(zero === undefined ? {} : { zero }) } }),
  };
}

/** The cells as they are shown. The row that was zeroed for the ubatch is told as the zero state. */
export function shownBy(layout: CellLayout, raw: Raw): ShownCells {
  const { pos, tail, src, used, window } = layout;
  const before = (offset: number): number => raw.before[(layout.vector - offset) / 4 - 1]!;
  const cells = raw.words.map((cell, i) => ({
    pos: cell[pos]!,
    seq: raw.sets[i]!,
    ...(src === undefined ? {} : { src: cell[src]! }),
  }));
  return {
    cells,
    tail: raw.words.map((cell) => cell[tail]!),
    ...(used === undefined ? {} : { used: before(used) }),
    ...(window === undefined ? {} : { last: windowOf(layout, raw, before) }),
  };
}

function windowOf(
  { src0, window }: CellLayout,
  raw: Raw,
  before: (offset: number) => number,
): NonNullable<ShownCells['last']> {
  const head = before(window!.head);
  const n = before(window!.n);
  if (src0 === undefined || window!.zero === undefined) return { head, n };
  const zero = before(window!.zero);
  const rows = raw.words.slice(Math.max(head, 0), Math.max(head + n, 0)).map((cell) => cell[src0]!);
  return { head, n, src0: rows.map((row) => (row === zero ? -1 : row)) };
}

/**
 * The recurrent cells of a libllama, where the build keeps them in a way that can be found (`cell-layout.ts`). Nothing
 * promises how they lie, so before anything is believed a known history is run on a small model of the same kind of
 * memory; a build whose cells do not say what is known shows none, and the reason is given.
 */
import type { MemoryKind } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import type { ShownCells } from '../../../contract/white.ts';
import {
  type CellLayout,
  findPlaces,
  type Known,
  layoutOf,
  type Raw,
  readRaw,
  shownBy,
} from './cell-layout.ts';
import type { Address } from './library.ts';
import type { ProcessMemory } from './process-memory.ts';

/** What is done with a context in the known history. */
export interface KnownContext {
  /** The object to look in: the memory of the context, or the context itself. */
  readonly root: Address;
  /** Tokens of single sequences, in a row each. */
  decode(seqs: readonly number[], tokens: number): void;
  copy(from: number, to: number): void;
  remove(seq: number): void;
}

/** A context, and how many cells it has. */
export interface ContextCells {
  readonly root: Address;
  readonly n_seq_max: number;
}

/** Sequences, and so cells, of the known history, and of another context that is open at the same time. */
export const KNOWN_SEQUENCES = 5;
export const OTHER_SEQUENCES = 3;

interface KnownStep extends Known {
  readonly name: string;
  readonly does: (ctx: KnownContext) => void;
}

/**
 * Windows are those of b5640 to v0.5.0, measured, and are what the rules of batching.md 4.2 give. Older releases have
 * no such window. The row that is zeroed is the lowest of the window in which nobody's state lies.
 */
const KNOWN: readonly KnownStep[] = [
  {
    name: 'three tokens of 2',
    does: (ctx) => ctx.decode([2], 3),
    pos: [-1, -1, 2, -1, -1],
    window: { head: 0, n: 1, zero: 0 },
  },
  {
    name: 'two tokens of 4',
    does: (ctx) => ctx.decode([4], 2),
    pos: [-1, -1, 2, -1, 1],
    window: { head: 1, n: 1, zero: 1 },
  },
  {
    name: 'a token of 0, 1 and 2',
    does: (ctx) => ctx.decode([0, 1, 2], 1),
    pos: [0, 0, 3, -1, 1],
    window: { head: 0, n: 4, zero: 2 },
  },
  { name: '3 is a copy of 4', does: (ctx) => ctx.copy(4, 3), pos: [0, 0, 3, 1, 1] },
  {
    name: 'a token of 3 and 4',
    does: (ctx) => ctx.decode([3, 4], 1),
    pos: [0, 0, 3, 2, 2],
    window: { head: 3, n: 2, zero: 4 },
  },
  { name: 'without 0', does: (ctx) => ctx.remove(0), pos: [-1, 0, 3, 2, 2] },
];

/**
 * Finds the cells by the known history. `other` lies elsewhere, so what is only a neighbour's is not found there. Throws
 * `refused` with the reason where the cells are not found.
 */
export function findCells(memory: ProcessMemory, ctx: KnownContext, other: ContextCells): CellLayout {
  const look = (place: Parameters<typeof readRaw>[2]): Raw | null =>
    readRaw(memory, ctx.root, place, KNOWN_SEQUENCES);
  const elsewhere = findPlaces(memory, other.root, other.n_seq_max);
  const inBoth = findPlaces(memory, ctx.root, KNOWN_SEQUENCES).filter((a) =>
    elsewhere.some((b) => a.through === b.through && a.vector === b.vector && a.stride === b.stride),
  );
  let places = inBoth.flatMap((place) => {
    const fresh = look(place);
    return fresh === null ? [] : [{ place, fresh, moments: [] as { raw: Raw; known: Known }[] }];
  });
  if (places.length === 0) throw notFound('nothing in a new context looks like cells');
  for (const known of KNOWN) {
    known.does(ctx);
    places = places.flatMap(({ place, fresh, moments }) => {
      const raw = look(place);
      return raw === null ? [] : [{ place, fresh, moments: [...moments, { raw, known }] }];
    });
    if (places.length === 0) throw notFound(`what looked like cells does so no more after: ${known.name}`);
  }
  const layouts = places.map(({ place, fresh, moments }) => layoutOf(place, fresh, moments));
  const found = layouts.find((layout): layout is CellLayout => !('wrong' in layout));
  if (found === undefined) throw notFound((layouts[0] as { readonly wrong: string }).wrong);
  return found;
}

function notFound(why: string): IsobatchError {
  return new IsobatchError(
    'refused',
    `the recurrent cells of this build are not where they can be found: ${why}`,
  );
}

/** A context whose cells are read. */
export interface CellsOf extends ContextCells {
  readonly kind: MemoryKind;
}

/** Finds the cells in two contexts. */
export type Find = (ctx: KnownContext, other: ContextCells) => CellLayout;

type OnKnown = (kind: MemoryKind, find: Find) => Promise<CellLayout>;

/** Reads the cells of contexts of one library. Layouts are looked for on first use, by kind of memory. */
export class CellReader {
  readonly #memory: () => ProcessMemory;
  /** Runs `find` on new contexts of this kind of memory, and closes them. */
  readonly #onKnown: OnKnown;
  readonly #layouts = new Map<MemoryKind, Promise<CellLayout>>();

  constructor(memory: () => ProcessMemory, onKnown: OnKnown) {
    this.#memory = memory;
    this.#onKnown = onKnown;
  }

  layout(kind: MemoryKind): Promise<CellLayout> {
    let layout = this.#layouts.get(kind);
    if (layout === undefined) {
      layout = this.#onKnown(kind, (ctx, other) => findCells(this.#memory(), ctx, other));
      this.#layouts.set(kind, layout);
    }
    return layout;
  }

  /** Kinds of memory whose cells are found. Throws `refused` with the reason if there is none. */
  async kinds(): Promise<readonly MemoryKind[]> {
    const found: MemoryKind[] = [];
    let why: unknown;
    for (const kind of ['recurrent', 'hybrid'] as const) {
      try {
        await this.layout(kind);
        found.push(kind);
      } catch (error) {
        why ??= error;
      }
    }
    if (found.length === 0) throw why;
    return found;
  }

  /** Throws `refused` if the cells are not found, or do not lie as they did when they were. */
  async read({ kind, root, n_seq_max }: CellsOf): Promise<ShownCells> {
    const layout = await this.layout(kind);
    const raw = readRaw(this.#memory(), root, layout, n_seq_max);
    if (raw === null)
      throw new IsobatchError(
        'refused',
        `there are no ${n_seq_max} cells where the known history has found them`,
        {
          mark: 'cells: gone',
        },
      );
    return shownBy(layout, raw);
  }
}

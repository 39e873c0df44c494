/**
 * The cells of a libllama: found in a memory that stands for that of a process, however they lie in it, and refused
 * where they do not say what is known; and the library itself, where one is in the cache.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Subject } from '../../../contract/subject.ts';
import type { SlotMemory } from '../../../contract/white.ts';
import { oracleWhite } from '../../../oracle/white.ts';
import { modelBytes } from '../../campaign-models.ts';
import { recurrentCells } from '../../recurrent-cells.ts';
import type { Env } from '../../types.ts';
import { remoteSubject } from '../remote.ts';
import { shownKinds } from '../shown.ts';
import { cachedRelease } from './cache.ts';
import type { CellLayout } from './cell-layout.ts';
import { CellReader, findCells, KNOWN_SEQUENCES, type KnownContext, OTHER_SEQUENCES } from './cells.ts';
import type { Address } from './library.ts';
import type { ProcessMemory } from './process-memory.ts';

type Word = 'pos' | 'src' | 'src0' | 'tail' | 'delta';

/** How cells lie in a library that does not exist. */
interface Build {
  readonly words: readonly Word[];
  /** The words before the vector, and the offset of the vector. */
  readonly members: readonly string[];
  readonly vector: number;
  /** The object lies behind a pointer at this offset of the root. */
  readonly through?: number;
  /** Changes a word of a cell before it is written. */
  readonly bend?: (word: Word, value: number, cell: number) => number;
  /** The object lies behind so many bytes of another, to which a pointer before leads. */
  readonly behind?: number;
  /** What the ends of an empty set point to, beside its header. */
  readonly ends?: number;
}

const NEWER: Build = {
  words: ['pos', 'src', 'src0', 'tail'],
  members: ['head', 'size', 'used', 'n', 'zero', ''],
  vector: 32,
};
const OLDER: Build = {
  words: ['pos', 'delta', 'src', 'tail'],
  members: ['head moves on', 'size', 'used', 'n', '', ''],
  vector: 376,
};

const ROOT = 0x1000_0000n;
const INNER = 0x2000_0000n;
const CELLS = 0x3000_0000n;
const NODES = 0x4000_0000n;
/** Between two contexts. */
const APART = 0x10_0000_0000n;

/** Runs the known history on the oracle's slots and writes them down as a library would. */
class Image implements ProcessMemory, KnownContext {
  readonly root: Address;
  readonly n_seq_max: number;
  readonly slots: SlotMemory;
  readonly #build: Build;
  readonly #base: Address;
  readonly #src0: number[];
  #segments = new Map<Address, DataView>();
  #members: Record<string, number>;
  #moved = 0n;

  constructor(build: Build, n_seq_max = KNOWN_SEQUENCES, base = 0n) {
    this.#build = build;
    this.#base = base;
    this.root = base + ROOT;
    this.n_seq_max = n_seq_max;
    this.slots = oracleWhite.slots(n_seq_max);
    this.#src0 = new Array<number>(n_seq_max).fill(-1);
    this.#members = { size: n_seq_max, head: 0, n: 0, zero: -1, 'head moves on': 0 };
    this.#write();
  }

  read(at: Address, bytes: number): DataView | null {
    for (const [begin, view] of this.#segments) {
      const from = Number(at - begin);
      if (from >= 0 && from + bytes <= view.byteLength)
        return new DataView(view.buffer.slice(from, from + bytes));
    }
    return null;
  }

  decode(seqs: readonly number[], tokens: number): void {
    const sets = seqs.map((seq) => [seq]);
    const last = seqs.map((seq) => this.slots.seqPosMax(seq) + tokens);
    const { head, n, src0 } = this.slots.findSlot(sets, tokens, last);
    const zero = src0.findIndex((_, k) => !src0.includes(head + k)) + head;
    src0.forEach((row, k) => {
      this.#src0[head + k] = row < 0 ? zero : row;
    });
    const moved = (this.#members['head moves on']! + tokens) % this.n_seq_max;
    this.#members = { ...this.#members, head, n, zero, 'head moves on': moved };
    this.#write();
  }

  copy(from: number, to: number): void {
    this.slots.seqCp(from, to);
    this.#write();
  }

  remove(seq: number): void {
    this.slots.seqRm(seq, -1, -1);
    this.#write();
  }

  #write(): void {
    const { words, members, vector, through, behind = 0, bend = (_, value) => value } = this.#build;
    const { cells, tail, used } = this.slots.view();
    // The vector is another one after each decode.
    this.#moved += 0x10000n;
    const begin = this.#base + CELLS + this.#moved;
    const stride = 4 * words.length + 48;
    const array = new DataView(new ArrayBuffer(this.n_seq_max * stride));
    this.#segments = new Map([[begin, array]]);
    cells.forEach((cell, i) => {
      const value = { pos: cell.pos, src: cell.src, src0: this.#src0[i]!, tail: tail[i]!, delta: 0 };
      words.forEach((word, w) => {
        array.setInt32(i * stride + 4 * w, bend(word, value[word], i), true);
      });
      this.#writeSet(array, i * stride + 4 * words.length, begin, cell.seq, i);
    });
    const around = new DataView(new ArrayBuffer(behind + (through === undefined ? 2048 : 512)));
    const object = new DataView(around.buffer, behind);
    const values: Record<string, number> = { ...this.#members, used };
    members.forEach((name, k) => {
      object.setInt32(vector - 4 * (members.length - k), values[name] ?? 77, true);
    });
    object.setBigUint64(vector, begin, true);
    object.setBigUint64(vector + 8, begin + BigInt(array.byteLength), true);
    object.setBigUint64(vector + 16, begin + BigInt(array.byteLength), true);
    if (through === undefined) {
      this.#segments.set(this.root, around);
      return;
    }
    const root = new DataView(new ArrayBuffer(2048));
    root.setBigUint64(through, this.#base + INNER, true);
    if (behind > 0) root.setBigUint64(through - 8, this.#base + INNER - BigInt(behind), true);
    this.#segments.set(this.#base + INNER - BigInt(behind), around);
    this.#segments.set(this.root, root);
  }

  #writeSet(array: DataView, at: number, begin: Address, ids: readonly number[], cell: number): void {
    const header = begin + BigInt(at + 8 + (this.#build.ends ?? 0));
    // A tree that leans to the right, as a list.
    const node = (k: number): Address => this.#base + NODES + BigInt(0x1000 * cell + 64 * k);
    const last = ids.length - 1;
    array.setBigUint64(at + 16, last < 0 ? 0n : node(0), true);
    array.setBigUint64(at + 24, last < 0 ? header : node(0), true);
    array.setBigUint64(at + 32, last < 0 ? header : node(last), true);
    array.setBigUint64(at + 40, BigInt(ids.length), true);
    ids.forEach((id, k) => {
      const view = new DataView(new ArrayBuffer(40));
      if (k < last) view.setBigUint64(24, node(k + 1), true);
      view.setInt32(32, id, true);
      this.#segments.set(node(k), view);
    });
  }
}

/** Searches in a context of a build, beside another one. */
function search(build: Build, other = build): CellLayout {
  const image = new Image(build);
  const second = new Image(other, OTHER_SEQUENCES, APART);
  return findCells(both(image, second), image, second);
}

function both(a: ProcessMemory, b: ProcessMemory): ProcessMemory {
  return { read: (at, bytes) => a.read(at, bytes) ?? b.read(at, bytes) };
}

function refusal(build: Build, other = build): string {
  try {
    search(build, other);
  } catch (error) {
    return (error as Error).message;
  }
  return 'found';
}

describe('the search for cells', () => {
  it.each<[string, Build, object]>([
    [
      'as in newer releases',
      NEWER,
      { through: null, vector: 32, pos: 0, src: 1, src0: 2, tail: 3, used: 16 },
    ],
    ['behind a pointer', { ...NEWER, through: 24 }, { through: 24, window: { head: 8, n: 20, zero: 24 } }],
    [
      'in another order',
      { ...NEWER, words: ['tail', 'src0', 'pos', 'src'], members: ['used', 'zero', 'n', 'head'] },
      { pos: 2, tail: 0, src: 3, src0: 1, used: 16, window: { head: 28, n: 24, zero: 20 } },
    ],
    ['as in older releases', OLDER, { pos: 0, src: 2, tail: 3, used: 360 }],
  ])('finds them %s', (_, build, layout) => {
    expect(search(build)).toMatchObject(layout);
  });

  it('tells no window where the first word moves on with the tokens', () => {
    const found = search(OLDER);
    expect([found.window, found.src0]).toEqual([undefined, undefined]);
  });

  it('is not led astray by what lies before the object, in one context or in both', () => {
    const plain: Build = { ...NEWER, through: 24 };
    const crowded: Build = { ...plain, behind: 200 };
    for (const [a, b] of [
      [crowded, crowded],
      [crowded, plain],
      [plain, crowded],
    ] as const)
      expect(search(a, b)).toMatchObject({ through: 24, vector: 32 });
    // Found in one of them only.
    expect(refusal({ ...NEWER, through: 24 }, { ...NEWER, through: 32 })).toMatch(/nothing in a new context/);
  });

  it('reads what is there', async () => {
    const image = new Image(NEWER);
    let memory: ProcessMemory = image;
    const reader = new CellReader(
      () => memory,
      async (_, find) => {
        const [known, other] = [new Image(NEWER), new Image(NEWER, OTHER_SEQUENCES, APART)];
        memory = both(known, other);
        return find(known, other);
      },
    );
    expect(await reader.kinds()).toEqual(['recurrent', 'hybrid']);
    memory = image;
    image.decode([1, 3], 2);
    image.copy(3, 0);
    const { cells, tail, used } = image.slots.view();
    const shown = await reader.read({ kind: 'recurrent', root: ROOT, n_seq_max: KNOWN_SEQUENCES });
    expect(shown).toEqual({ cells, tail, used, last: { head: 0, n: 2, src0: [-1, -1] } });
    const other = reader.read({ kind: 'recurrent', root: ROOT, n_seq_max: KNOWN_SEQUENCES + 1 });
    await expect(other).rejects.toMatchObject({ kind: 'refused' });
  });

  it.each<[string, RegExp, Build]>([
    ['nothing lies there', /nothing in a new context looks like cells/, { ...NEWER, ends: 8 }],
    [
      'positions are counted in another way',
      /0 words that hold positions/,
      { ...NEWER, bend: (word, value) => (word === 'pos' && value >= 0 ? value + 1 : value) },
    ],
    [
      'two words hold positions',
      /2 words that hold positions/,
      { ...NEWER, words: ['pos', 'pos', 'src', 'src0', 'tail', 'delta'] },
    ],
    [
      'tails are those of cells',
      /0 words that hold tails/,
      { ...NEWER, bend: (word, value, cell) => (word === 'tail' && value >= 0 ? cell : value) },
    ],
  ])('refuses a build in which %s', (_, why, build) => {
    expect(refusal(NEWER)).toBe('found');
    expect(refusal(build)).toMatch(why);
  });
});

const main = fileURLToPath(new URL('../../../dist/properties/subjects/llama/serve-main.js', import.meta.url));

/** Signatures of the first cases of the property on a release, and how many cells were looked at. */
async function findingsOf(release: string, model: string, cases: number) {
  const subject: Subject = await remoteSubject({
    name: release,
    file: process.execPath,
    args: [main, JSON.stringify({ files: cachedRelease(release) })],
    env: { ...process.env, GGML_NO_BACKTRACE: '1' },
  });
  try {
    const kinds = await shownKinds(subject);
    if ('none' in kinds) throw new Error(kinds.none);
    const loaded = await subject.load(modelBytes(model), model);
    const env: Env = {
      seed: 'cells',
      subject: subject.info,
      model: loaded.info,
      modelName: model,
      loaded,
      oracle: oracleWhite,
      coverage: {},
      restrict: {},
    };
    const signatures = new Set<string>();
    let compared = 0;
    for (let i = 0; i < cases; i++) {
      const outcome = await recurrentCells.run(env, recurrentCells.generate(env, i));
      compared += outcome.compared;
      if (outcome.failure !== undefined) signatures.add(outcome.failure.signature);
    }
    return { kinds, signatures: [...signatures], compared };
  } finally {
    await subject.close();
  }
}

const newer = ['v0.5.0', 'b8352', 'b8095', 'b6673', 'b6122'].find((name) => cachedRelease(name) !== null);

describe('the library itself', () => {
  it.skipIf(newer === undefined)(
    `${newer ?? 'skipped, no release that has them is in the cache'}: shows cells, which are right`,
    async () => {
      const { kinds, signatures, compared } = await findingsOf(newer!, 'recipe:mamba-loadable', 80);
      expect(kinds).toEqual(['recurrent', 'hybrid']);
      expect(compared).toBeGreaterThan(2000);
      // Known: removing all sequences at once is refused, or leaves tails behind; and contexts that cannot be opened.
      const known = /seqRm of all|\/refused\.(subject|ops\.partial)/;
      expect(signatures.filter((signature) => !known.test(signature))).toEqual([]);
    },
    60_000,
  );

  it.skipIf(cachedRelease('b4980') === null)(
    'b4980: states lie in the rows of other cells',
    async () => {
      const { signatures } = await findingsOf('b4980', 'recipe:mamba-loadable', 10);
      expect(signatures).toContain('recurrent-cells/mamba/259/INV-RS-9 after decode');
    },
    60_000,
  );
});

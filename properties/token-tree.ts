/**
 * The token lists of a campaign are paths of one tree of a few thousand nodes per seed and model, so that what each
 * list says alone is computed once (`answers.ts`). Paths share beginnings of ragged length: sequences that were
 * alike and then part are where a stale or mixed-up cell shows.
 */
import { goldenText } from '../golden/assets.ts';
import { BOS, BYTE_OFFSET } from '../golden/tokens.ts';
import { caseRandom, type Random } from './random.ts';

export const N_PATHS = 48;
export const PATH_LENGTH = 64;

/** Vocabulary of the trained models: <unk>, <s>, </s> and 256 bytes. */
const BYTE_VOCAB = 259;

/** How many lists, and of how many tokens. */
export interface TreeSize {
  readonly paths: number;
  readonly length: number;
}

const WHOLE: TreeSize = { paths: N_PATHS, length: PATH_LENGTH };

export interface TokenTree {
  /** Tokens of each list. */
  readonly length: number;
  /** Lists of that many tokens. */
  readonly paths: readonly (readonly number[])[];
  /** For each path the others that begin alike, longest common beginning first. */
  readonly relatives: readonly (readonly { readonly path: number; readonly common: number }[])[];
}

const trees = new Map<string, TokenTree>();

/** The tree of a campaign; the same for every worker. `trained` takes tokens from a golden text. */
export function tokenTree(
  seed: string,
  family: string,
  n_vocab: number,
  trained: boolean,
  size = WHOLE,
): TokenTree {
  const name = [seed, family, n_vocab, trained, size.paths, size.length].join('\u0000');
  let tree = trees.get(name);
  if (tree === undefined) {
    tree = grow(caseRandom(seed, 'token-tree', family, 0), n_vocab, trained && n_vocab === BYTE_VOCAB, size);
    // A process that runs many campaigns must not keep the trees of all of them.
    if (trees.size >= 16) trees.clear();
    trees.set(name, tree);
  }
  return tree;
}

function grow(r: Random, n_vocab: number, fromText: boolean, size: TreeSize): TokenTree {
  const { length } = size;
  const text = fromText ? goldenText('recall64k') : null;
  const paths: number[][] = [];
  for (let p = 0; p < size.paths; p++) {
    const root = p === 0 || r.chance(0.25);
    const path = root ? [] : paths[r.below(p)]!.slice(0, r.ragged((3 * length) / 4));
    if (text === null) growRandom(r, path, n_vocab, length);
    else growText(r, path, text, length);
    paths.push(path);
  }
  const relatives = paths.map((a, i) =>
    paths
      .map((b, path) => ({ path, common: path === i ? 0 : commonLength(a, b) }))
      .filter((x) => x.common > 0)
      .sort((x, y) => y.common - x.common || x.path - y.path),
  );
  return { length, paths, relatives };
}

/** Random tokens; one that stood within the last 8 is not taken, so that a wrong key is a different key. */
function growRandom(r: Random, path: number[], n_vocab: number, length: number): void {
  const gap = Math.min(8, n_vocab - 1);
  while (path.length < length) {
    let token = r.below(n_vocab);
    for (let tries = 0; tries < 8 && path.lastIndexOf(token) >= Math.max(0, path.length - gap); tries++) {
      token = r.below(n_vocab);
    }
    path.push(token);
  }
}

/** BOS, then bytes of the text from a random place on. */
function growText(r: Random, path: number[], text: Uint8Array, length: number): void {
  if (path.length === 0) path.push(BOS);
  const start = r.below(text.length - length);
  for (let i = start; path.length < length; i++) path.push(text[i]! + BYTE_OFFSET);
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && a[n] === b[n]) n++;
  return n;
}

/** A path that begins with the first `depth` tokens of `path`: itself, or a relative. */
export function relative(r: Random, tree: TokenTree, path: number, depth: number): number {
  if (depth === 0) return r.below(tree.paths.length);
  const list = tree.relatives[path]!;
  let n = 0;
  while (n < list.length && list[n]!.common >= depth) n++;
  const k = r.below(n + 1);
  return k === n ? path : list[k]!.path;
}

/** Lists that are the beginning of no other one, longest first. */
export function longestOf(lists: readonly (readonly number[])[]): (readonly number[])[] {
  const begun = new Set<string>();
  const longest: (readonly number[])[] = [];
  for (const list of lists.toSorted((a, b) => b.length - a.length)) {
    if (begun.has(list.join())) continue;
    longest.push(list);
    for (let n = 1; n <= list.length; n++) begun.add(list.slice(0, n).join());
  }
  return longest;
}

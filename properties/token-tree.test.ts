import { expect, test } from 'vitest';
import { Random } from './random.ts';
import { longestOf, N_PATHS, PATH_LENGTH, relative, tokenTree } from './token-tree.ts';

/** Distinct beginnings: what must be evaluated alone. */
function nodes(paths: readonly (readonly number[])[]): number {
  const seen = new Set<string>();
  for (const path of paths) for (let n = 1; n <= path.length; n++) seen.add(path.slice(0, n).join());
  return seen.size;
}

test('a tree of a few thousand nodes, the same whenever it is grown', () => {
  const a = tokenTree('s', 'llama/64', 64, false);
  for (let i = 0; i < 20; i++) tokenTree(`other ${i}`, 'llama/64', 64, false);
  const b = tokenTree('s', 'llama/64', 64, false);
  expect(b).not.toBe(a);
  expect(b.paths).toEqual(a.paths);
  expect(a.paths.length).toBe(N_PATHS);
  expect(a.paths.every((path) => path.length === PATH_LENGTH)).toBe(true);
  expect(nodes(a.paths)).toBeGreaterThan(1500);
  expect(nodes(a.paths)).toBeLessThan(N_PATHS * PATH_LENGTH);
  // Neighbouring tokens are different ones, so that a wrong key is another key.
  for (const path of a.paths) {
    for (let i = 1; i < path.length; i++) expect(path[i]).not.toBe(path[i - 1]);
  }
});

test('a trained model gets text that begins with BOS', () => {
  const { paths } = tokenTree('s', 'llama/259/text', 259, true);
  for (const path of paths) {
    expect(path[0]).toBe(1);
    expect(path.slice(1).every((token) => token >= 3 && token < 259)).toBe(true);
  }
});

test('a relative begins alike', () => {
  const tree = tokenTree('s', 'llama/64', 64, false);
  const r = new Random(1, 2, 3);
  let others = 0;
  for (let i = 0; i < 2000; i++) {
    const path = r.below(N_PATHS);
    const depth = r.below(12);
    const other = relative(r, tree, path, depth);
    expect(tree.paths[other]!.slice(0, depth)).toEqual(tree.paths[path]!.slice(0, depth));
    if (depth > 0 && other !== path) others++;
  }
  expect(others).toBeGreaterThan(200);
});

test('beginnings of other lists are not lists of their own', () => {
  const lists = [[1], [1, 2, 3], [2], [1, 2], [1, 3], [1, 2, 3]];
  expect(longestOf(lists)).toEqual([[1, 2, 3], [1, 3], [2]]);
  expect(longestOf([])).toEqual([]);
});

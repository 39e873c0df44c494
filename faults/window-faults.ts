/**
 * Planted faults of windows, of several caches in one context, and of gemma. One expression each. Those that are wrong
 * for everybody in the same way stand in `reference-faults.ts`.
 */
import type { PlantedFault } from './planted.ts';

const model = 'recipe:gemma2-fuzz';

export const windowFaults: readonly PlantedFault[] = [
  {
    name: 'window-evicts-early',
    file: 'engine/memory/attention.ts',
    find: 'this.posMax(seq) + 1',
    replace: 'this.posMax(seq) + 2',
    standsFor: 'H02, transformers issue 37574: the wrong key was dropped when the length reached the window',
    describe: 'after a batch a window forgets one position that the next token still sees',
    shows: 'first call',
    model,
    alone: true,
  },
  {
    name: 'window-evicts-by-first',
    file: 'engine/memory/attention.ts',
    find: 'this.posMax(seq) + 1',
    replace: 'Math.max(this.posMax(seq), this.posMax(0)) + 1',
    standsFor: 'I01, ik_llama.cpp issue 2186: the tail of the window was that of one sequence',
    describe: 'a window forgets as if every sequence were as long as sequence 0',
    shows: 'first call',
    model,
  },
  {
    name: 'window-chunk-start',
    file: 'engine/mask.ts',
    find: 'pos % size',
    replace: '(pos + 1) % size',
    standsFor: 'batching.md 6.2: a chunk begins at a multiple of its size',
    describe: 'chunks begin one position early',
    shows: 'first call',
    model,
    rulesOnly: true,
  },
  {
    name: 'window-copy-remembers',
    file: 'engine/memory/attention.ts',
    find: 'this.#evicted.copy(from, to, p0, p1)',
    replace: 'this.#evicted.copy(from, to, 0, 0)',
    standsFor: 'batching.md INV-SWA-1: what a query sees is what a cache that keeps everything would show',
    describe: 'a copied sequence does not know what its window has forgotten, so nothing is refused to it',
    shows: 'second call',
    needs: 'shared tokens',
    model,
  },
  {
    name: 'window-floor-lost',
    file: 'engine/memory/attention.ts',
    find: 'this.#evicted.remove(seq, p0, p1)',
    replace: 'this.#evicted.remove(seq, 0, p1)',
    standsFor: 'batching.md INV-SWA-1: what a query sees is what a cache that keeps everything would show',
    describe: 'a removal inside makes a sequence forget what its window had forgotten before',
    shows: 'second call',
    needs: 'reused slot',
    model,
  },
  {
    name: 'caches-copy-one',
    file: 'engine/memory/several.ts',
    find: 'cache.seqCp(from, to, p0, p1)',
    replace: 'cache === this.#whole && cache.seqCp(from, to, p0, p1)',
    standsFor: 'L08, llama.cpp PR 15226: an operation reached the first table only',
    describe: 'a sequence is copied in the cache that keeps everything, and not in its window',
    shows: 'second call',
    needs: 'shared tokens',
    model,
  },
  {
    name: 'caches-undo-one',
    file: 'engine/memory/several.ts',
    find: 'cache.rollback()',
    replace: 'this.#whole.rollback()',
    standsFor: 'L05, llama.cpp PR 26051: what a call that failed had noted stayed',
    describe:
      'a batch that fails stays in the windows, and is undone only in the cache that keeps everything',
    shows: 'second call',
    model,
    rulesOnly: true,
  },
  {
    name: 'gemma-caps-first-rows',
    file: 'native/gemma.inl.h',
    find: 'm.index[a[4] + r]',
    replace: 'r',
    standsFor: 'L33, llama.cpp PR 13267: only the outputs of the last ubatch were put in order',
    describe: 'the logits that each ubatch caps are those of the first rows',
    shows: 'first call',
    model,
  },
];

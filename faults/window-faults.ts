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
    name: 'window-move-forgotten-stays',
    file: 'engine/memory/attention.ts',
    find: 'moved(move, forgotten[j])',
    replace: 'forgotten[j]',
    standsFor: 'batching.md 5.7: operations go to both caches, and the floor of the window with them',
    describe: 'a move leaves what a window has forgotten where it was, so the wrong removals are refused',
    shows: 'second call',
    needs: 'reused slot',
    model,
    rulesOnly: true,
  },
  {
    name: 'window-move-unasked',
    file: 'engine/memory/attention.ts',
    find: 'lastForgotten >= lowestSeen(this.#window, last + 1)',
    replace: 'lastForgotten > last + 1',
    standsFor:
      'batching.md 5.7: a partial removal and going on gives wrong attention, as nobody asks what is gone',
    describe: 'a move that brings what a window has forgotten before the next token is done',
    shows: 'second call',
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

const encoder = 'recipe:isobatch-symmetric';

/** Of windows to both sides: wrong for everybody in the same way, or only where no history is. */
export const symmetricFaults: readonly PlantedFault[] = [
  {
    name: 'around-one-less',
    file: 'engine/memory/ubatch.ts',
    find: 'pos + this.#around + 1',
    replace: 'pos + this.#around',
    standsFor: 'batching.md 6.2: a symmetric window shows keys of half its size to both sides',
    describe: 'a symmetric window shows one key less of what comes after',
    shows: 'first call',
    finds: 'reference',
    model: encoder,
  },
  {
    name: 'around-causal',
    file: 'engine/memory/ubatch.ts',
    find: 'pos + this.#around + 1',
    replace: 'pos + 1',
    standsFor: 'batching.md 6.3: what is encoded sees to both sides',
    describe: 'an encoder sees nothing of what comes after',
    shows: 'first call',
    finds: 'reference',
    model: encoder,
  },
  {
    name: 'around-keys-of-first',
    file: 'engine/memory/ubatch.ts',
    find: 'countBelow(this.cells, seq, pos - this.#around)',
    replace: 'countBelow(this.cells, 0, pos - this.#around)',
    standsFor: 'I01, ik_llama.cpp issue 2186: the tail of the window was that of one sequence',
    describe: 'the windows of all sequences begin where that of sequence 0 does',
    shows: 'first call',
    finds: 'encoder',
    model: encoder,
  },
];

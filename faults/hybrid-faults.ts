/**
 * Planted faults of models that keep several things: halves of a hybrid that get out of step, a failed batch that is
 * half undone, layers that share what is theirs alone. Numbers of bugs are those of the bug catalogue (spec: bugs.md).
 */
import type { PlantedFault } from './planted.ts';

const HYBRID = 'recipe:jamba-fuzz';

export const hybridFaults: readonly PlantedFault[] = [
  {
    name: 'hybrid-state-not-removed',
    file: 'engine/memory/several.ts',
    find: 'cache.seqRm(seq, p0, p1)',
    replace: 'cache === this.#whole && cache.seqRm(seq, p0, p1)',
    standsFor:
      'V05, vLLM PR 47861: what is right for blocks of keys was done to a state that knows no such thing',
    describe: 'a removal in a hybrid takes cells, and the state stays for whoever comes next',
    shows: 'second call',
    needs: 'reused slot',
    model: HYBRID,
  },
  {
    name: 'hybrid-state-not-copied',
    file: 'engine/memory/several.ts',
    find: 'cache.seqCp(from, to, p0, p1)',
    replace: 'cache === this.#whole && cache.seqCp(from, to, p0, p1)',
    standsFor: 'T03, TensorRT-LLM PR 15444: a copy had rows of its own that nobody ever filled',
    describe: 'a copied sequence of a hybrid has the cells of the first one, and no state',
    shows: 'second call',
    needs: 'shared tokens',
    model: HYBRID,
  },
  {
    name: 'hybrid-state-refusal-late',
    file: 'engine/memory/several.ts',
    find: 'cache.checkRm(seq, p0, p1)',
    replace: 'cache === this.#whole && cache.checkRm(seq, p0, p1)',
    standsFor: 'L41, llama.cpp PR 17009: a removal was accepted that a state cannot do',
    describe: 'a partial removal in a hybrid takes cells, although the state cannot follow',
    shows: 'second call',
    model: HYBRID,
  },
  {
    name: 'rollback-states-stay',
    file: 'engine/memory/recurrent.ts',
    find: 'this.#rows.rollback()',
    replace: 'this.#rows.begin()',
    standsFor:
      'batching.md 4.7: after a failed computation a sequence goes on from a state that is half written',
    describe: 'a batch that fails leaves the books of states as they were, and the states of its own',
    shows: 'second call',
    model: HYBRID,
  },
  {
    name: 'rollback-books-stay',
    file: 'engine/memory/recurrent.ts',
    find: 'this.slots.restore()',
    replace: 'this.slots.save()',
    standsFor:
      'batching.md 4.7: after a failed computation the position claims tokens that the state has not',
    describe: 'a batch that fails leaves the states as they were, and their books as it made them',
    shows: 'second call',
    model: HYBRID,
  },
  {
    name: 'rollback-cells-stay',
    file: 'engine/memory/several.ts',
    find: 'cache.rollback()',
    replace: 'cache !== this.#whole && cache.rollback()',
    standsFor: 'batching.md 4.7: the ubatches before the one that failed stayed applied',
    describe: 'a batch that fails gives its states back, but not its cells',
    shows: 'second call',
    model: HYBRID,
  },
  {
    name: 'rollback-first-state',
    file: 'engine/memory/state-rows.ts',
    find: 'this.#written[slot] === 1',
    replace: 'this.#n_written > 0',
    standsFor: 'V04, vLLM PR 20838: what was done for the first request counted for all',
    describe: 'only the first state that a batch writes goes to a spare row, all others over what is there',
    shows: 'second call',
    model: HYBRID,
  },
  {
    name: 'layers-one-state',
    file: 'engine/models/parts.ts',
    find: 'this.#draft.keep(this.#cache, 4 * this.#width)',
    replace: '(this.kept ??= this.#draft.keep(this.#cache, 4 * this.#width))',
    standsFor: 'V07, vLLM issue 55600: the state of another block was used',
    describe: 'all layers keep their states in the same rows, so each goes on from the state of the last one',
    shows: 'first call',
  },
];

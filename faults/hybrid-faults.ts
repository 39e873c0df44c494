/**
 * Planted faults of models that keep several things: halves of a hybrid that get out of step, a failed batch that is
 * half undone, layers that share what is theirs alone. Numbers of bugs are those of the bug catalogue (spec: bugs.md).
 */
import type { PlantedFault } from './planted.ts';

const HYBRID = 'recipe:jamba-fuzz';
const LFM2 = 'recipe:lfm2-fuzz';
const FALCON = 'recipe:falcon-h1-fuzz';

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
  {
    name: 'shortconv-short-chunk',
    file: 'native/shortconv.inl.h',
    find: 'column[tokens + j], static_cast',
    replace: 'column[tokens + j - (tokens < kept)], static_cast',
    standsFor: 'V03, vLLM PR 56196: the convolution state of a chunk shorter than the kernel was wrong',
    describe: 'after one token the state of a short convolution is one column old',
    shows: 'first call',
    model: LFM2,
  },
  {
    name: 'shortconv-first-state',
    file: 'native/shortconv.inl.h',
    find: 'm.index[a[13] + s]',
    replace: 'm.index[a[13]]',
    standsFor: 'R01, mistral.rs issue 2306: the state of the first sequence was used for all',
    describe: 'every sequence of a ubatch convolves on from the state of the first one',
    shows: 'first call',
    model: LFM2,
  },
  {
    name: 'shortconv-neighbour',
    file: 'native/shortconv.inl.h',
    find: 'old ? old + static_cast<long>(j) * n : zeros',
    replace: 'old ? old + static_cast<long>(j) * n : s ? m.act + a[5] + (row + j - kept) * stride : zeros',
    standsFor: 'H03, transformers PR 46588: a short convolution read on into the sample before',
    describe: 'a new sequence that is not the first of its ubatch takes the rows before its own for its past',
    shows: 'first call',
    model: LFM2,
  },
  {
    name: 'hybrid-states-of-first-ubatch',
    file: 'engine/memory/several.ts',
    find: 'cache.place(batch, split, u, target)',
    replace: '(u < 1 || cache === this.#whole) && cache.place(batch, split, u, target)',
    standsFor: 'L55, llama.cpp PR 14705: hybrids mixed up the states of sequences that run in parallel',
    describe: 'states of a hybrid are placed once a batch: every ubatch goes on from those of the first one',
    shows: 'first call',
    model: FALCON,
  },
  {
    name: 'falcon-outputs-not-gathered',
    file: 'engine/models/falcon-h1.ts',
    find: 'draft.onlyOutputs(x, att, y)',
    replace: '[...draft.onlyOutputs(x, att), y]',
    standsFor: 'L33, llama.cpp PR 13267: a part of the outputs was not put in order',
    describe:
      'of the rows that are outputs only attention is gathered, and the states of others are added to it',
    shows: 'one ubatch',
    model: FALCON,
  },
];

/** Wrong for everybody in the same way. */
export const hybridReferenceFaults: readonly PlantedFault[] = [
  {
    name: 'jamba-norms-unweighted',
    file: 'engine/models/mamba.ts',
    find: 'draft.rmsNorm(c, c, d_state, norms.c, eps)',
    replace: 'draft.rmsNorm(c, c, d_state, -1, eps)',
    standsFor: 'L46, llama.cpp PR 15811: a parameter of the model was not the one that the file names',
    describe: 'the norm of C has no weights in any mixer',
    shows: 'first call',
    finds: 'reference',
    model: HYBRID,
  },
  {
    name: 'shortconv-gates-exchanged',
    file: 'engine/models/lfm2.ts',
    find: "part('in_proj', 0)",
    replace: "part('in_proj', 1)",
    standsFor: 'F01, flash-linear-attention issue 351: parts of a projection were taken for one another',
    describe: 'inputs of the short convolution are gated by c, as its results are',
    shows: 'first call',
    finds: 'reference',
    model: LFM2,
  },
  {
    name: 'falcon-other-pairs',
    file: 'engine/models/falcon-h1.ts',
    find: "'NEOX'",
    replace: "'NORMAL'",
    standsFor: 'L26, llama.cpp PR 13870: positions were rotated by another angle than they stand for',
    describe: 'neighbouring channels of falcon-h1 are rotated as pairs, not those half a head apart',
    shows: 'first call',
    finds: 'reference',
    model: FALCON,
  },
];

/**
 * Planted faults that belong to one architecture. `model` names the recipe that has what they break.
 */
import type { PlantedFault } from './planted.ts';

const OPENELM = 'recipe:openelm';
const MOE = 'recipe:llama-moe';

/** Faults of batching: none shows while the tokens of one sequence come one by one. */
export const archFaults: readonly PlantedFault[] = [
  {
    name: 'kv-row-of-other-layer',
    file: 'engine/models/openelm.ts',
    find: 'att, turn, scale }',
    replace:
      'att, turn, scale: (draft.cache.words -= l > 0 && n_head_kv < hparams.layers[l - 1].n_head_kv ? draft.cache.words >> 2 : 0, scale) }',
    standsFor: 'V07, vLLM issue 55600: the state of another block was used',
    describe: 'V of a wide layer has room for rows as narrow as those of the layer behind it: they overlap',
    shows: 'first call',
    model: OPENELM,
  },
  {
    name: 'layers-share-cells',
    file: 'engine/models/draft.ts',
    find: 'this.cache.take(Math.ceil(',
    replace: '(turned ? (this.cache.words = 0) : 0, this.cache).take(Math.ceil(',
    standsFor: 'I02, ik_llama.cpp PR 1933: states of one ubatch ran into each other',
    describe: 'all layers keep K and V in the same cells: right until a second ubatch reads them',
    shows: 'first call',
  },
  {
    name: 'experts-weights-of-neighbour',
    file: 'native/experts.inl.h',
    find: 'm.act + a[4] + static_cast<long>(r) * a[5]',
    replace: 'm.act + a[4] + static_cast<long>(r > 0 ? r - 1 : r) * a[5]',
    standsFor: 'V06, vLLM issue 57267: identical requests in one batch differed',
    describe: 'what the experts give is weighted as for the token before it in the ubatch',
    shows: 'one ubatch',
    model: MOE,
  },
  {
    name: 'experts-of-first-token',
    file: 'native/experts.inl.h',
    find: 'slotsByExpert(m.act + a[4], a[5], rows',
    replace: 'slotsByExpert(m.act + a[4], 0, rows',
    standsFor: 'V04, vLLM PR 20838: what was known of the first request was used for all',
    describe:
      'the largest logits are looked for once a ubatch: all its tokens go to the experts of the first',
    shows: 'one ubatch',
    model: MOE,
  },
];

/** Wrong for everybody in the same way. */
export const archReferenceFaults: readonly PlantedFault[] = [
  {
    name: 'rope-other-pairs',
    file: 'engine/models/openelm.ts',
    find: "'NEOX'",
    replace: "'NORMAL'",
    standsFor: 'L26, llama.cpp PR 13870: the rotation of another kind of pairs was used',
    describe: 'openelm rotates neighbouring channels instead of those half a head apart',
    shows: 'first call',
    finds: 'reference',
    model: OPENELM,
  },
  {
    name: 'head-norm-all-heads',
    file: 'native/rows.inl.h',
    find: 'rmsScale(x, d, eps)',
    replace: 'rmsScale(x - h * d, nHead * d, eps)',
    standsFor: 'G01, ggml PR 143: what belongs to each head was not computed for each head',
    describe: 'heads of q and k are normed by the root of all channels, not by that of their own',
    shows: 'first call',
    finds: 'reference',
    model: OPENELM,
  },
  {
    name: 'experts-not-renormalised',
    file: 'native/experts.inl.h',
    find: 'vset(vfold(sum))',
    replace:
      'vset(({ float all = 0; for (int i = 0; i < nExpert; i++) all += vfold(firstN(vexp(vset(logits[i] - max)), 1)); all; }))',
    standsFor: 'L46, llama.cpp PR 15811: a parameter of the model was not the one that the file names',
    describe: 'weights of the chosen experts are their shares among all experts and do not sum to 1',
    shows: 'first call',
    finds: 'reference',
    model: MOE,
  },
  {
    name: 'experts-tie-to-higher',
    file: 'native/experts.inl.h',
    find: 'logits[i] > logits[best]',
    replace: 'logits[i] >= logits[best]',
    standsFor: 'W01, whisper.cpp PR 1947: what was equal was told apart in another way than before',
    describe: 'of experts with equal logits the last is chosen, not the first',
    shows: 'first call',
    finds: 'kernels',
    model: MOE,
  },
];

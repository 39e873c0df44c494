/**
 * Faults that make every answer wrong in the same way, however it is batched and whatever kernels run: no comparison of
 * the engine with itself can see them. The property `reference` must. (Those in C++ are the same on every instruction
 * set, so only the portable kernels contradict them.)
 */
import type { PlantedFault } from './planted.ts';

export const referenceFaults: readonly PlantedFault[] = [
  {
    name: 'rope-far-angle',
    file: 'engine/rope.ts',
    find: 'p * this.#frequency[i]',
    replace: '(p < 32 ? p : p + 1) * this.#frequency[i]',
    standsFor: 'L26, llama.cpp PR 13870: positions were rotated by another angle than they stand for',
    describe: 'rotary angles are one position too far from position 32 on',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'norm-eps-doubled',
    file: 'engine/models/llama.ts',
    find: 'eps = hparams.norm_rms_eps',
    replace: 'eps = 2 * hparams.norm_rms_eps',
    standsFor: 'L46, llama.cpp PR 15811: a parameter of the model was not the one that the file names',
    describe: 'RMS norms of llama add twice the eps of the model',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'attention-scale',
    file: 'engine/models/llama.ts',
    find: '1 / Math.sqrt(d)',
    replace: '1 / Math.sqrt(d + 1)',
    standsFor: 'G01, ggml PR 143: a factor of the scores was wrong by one',
    describe: 'scores are scaled for one channel more than a head has',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'scan-decay-order',
    file: 'engine/models/mamba.ts',
    find: '(Math.floor(i / 16) % d_state)',
    replace: '(d_state - 1 - (Math.floor(i / 16) % d_state))',
    standsFor: 'F01, flash-linear-attention issue 351: a state was laid out the other way round',
    describe: 'states of a channel have the decays of its states in reverse order',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'mamba2-groups-in-turn',
    file: 'native/ssm_heads.inl.h',
    find: '(h / (nHead / nGroup))',
    replace: '(h % nGroup)',
    standsFor: 'llama.cpp PR 15625: heads of Mamba-2 took B and C of another group than their own',
    describe: 'heads of mamba2 take the groups in turn instead of one group behind the other',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'mamba2-norm-of-all',
    file: 'engine/models/mamba2.ts',
    find: 'groups: n_group',
    replace: 'groups: 1',
    standsFor: 'transformers PR 35943: with several groups the norm was over all of them',
    describe: 'the norm of mamba2 is over all channels instead of each group',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'mamba2-norm-before-gate',
    file: 'native/ssm_heads.inl.h',
    find: 'vfma(gated, gated, squares)',
    replace: 'vfma(v, v, squares)',
    standsFor: 'transformers PR 32686: the norm was before the gate where it should be behind',
    describe: 'the norm of mamba2 is of what comes before the gate, which then is applied behind it',
    shows: 'first call',
    finds: 'reference',
  },
];

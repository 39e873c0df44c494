/**
 * Faults that make every answer wrong in the same way, however it is batched and whatever kernels run: no comparison of
 * the engine with itself can see them. The property `reference` must.
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
    name: 'rwkv-head-eps',
    file: 'engine/models/rwkv.ts',
    find: 'HEAD_EPS = 64e-5',
    replace: 'HEAD_EPS = 1e-5',
    standsFor: 'L46, llama.cpp PR 15811: a parameter of the model was not the one that it was trained with',
    describe: 'the norm of a head of RWKV adds the usual eps, not its own',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'rwkv6-halved-early',
    file: 'engine/models/rwkv6.ts',
    find: '(l + 1) % q === 0',
    replace: 'l % q === 0',
    standsFor: 'L46, llama.cpp PR 15811: a parameter of the model was counted from another layer',
    describe: 'the residual stream of rwkv6 is halved one layer too early',
    shows: 'first call',
    finds: 'reference',
  },
  {
    name: 'rwkv7-residual-turned',
    file: 'engine/models/rwkv7.ts',
    find: 'x: v.at, to: vFirst.at',
    replace: 'x: vFirst.at, to: v.at',
    standsFor: 'F01, flash-linear-attention issue 351: two ways to compute the same disagreed',
    describe: 'later layers draw the values of the first one to their own, not the other way round',
    shows: 'first call',
    finds: 'reference',
  },
];

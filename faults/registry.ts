/**
 * The planted faults: one expression each, in engine or kernels, standing for a bug that a released engine had
 * (numbers: spec bugs.md). `isobatch verify --fault NAME` must find each of them, `--fault list` names them.
 */
import type { Fault } from './apply.ts';

export const faults: readonly Fault[] = [
  {
    name: 'split-contiguous',
    file: 'engine/split.ts',
    find: 'setTokens[from + j]',
    replace: 'setTokens[from] + j',
    standsFor: 'L38, llama.cpp PR 14217: equal splits mishandled shuffled batches',
    describe: 'the splitter takes the tokens of a sequence for neighbours in the batch',
  },
  {
    name: 'slots-claimed-tail',
    file: 'engine/slots.ts',
    find: 't === a',
    replace: 't === a && (this.lo[b] | this.hi[b]) !== 0',
    standsFor: 'batching.md 4.9: find_slot fixed only the tails of ids that a cell lists',
    describe: 'when slots are swapped, the tail of a slot that was just claimed stays behind',
  },
  {
    name: 'slots-stale-bystander',
    file: 'engine/memory.ts',
    find: 'src !== row) {',
    replace: 'src >= 0 && src !== row) {',
    standsFor: 'batching.md 4.3, INV-RS-11; this engine had it while it was written',
    describe: 'an empty slot within the window is not zeroed, though the books say that its state is its own',
  },
  {
    name: 'cells-removal-edge',
    file: 'engine/cells.ts',
    find: 'pos < from ||',
    replace: 'pos <= from ||',
    standsFor: 'L41, llama.cpp PR 17009: a removal was off by one at its boundary',
    describe: 'removing a suffix leaves its first token in the cache',
  },
  {
    name: 'mask-next-token',
    file: 'engine/mask.ts',
    find: '<= pos)',
    replace: '<= pos + 1)',
    standsFor: 'X01: a mask that was one position too wide',
    describe: 'a query sees the token behind it if that is in the same ubatch',
  },
  {
    name: 'outputs-stale-rows',
    file: 'engine/outputs.ts',
    find: '= batch.outputRow[i]',
    replace: '= n',
    standsFor: 'L33, llama.cpp PR 13267: only the outputs of the last ubatch were put in order',
    describe: 'the outputs of every ubatch are written to the first rows',
  },
  {
    name: 'conv-short-chunk',
    file: 'native/ssm.inl.h',
    find: 'column[tokens + j], static_cast',
    replace: 'column[tokens + j - (tokens < kept)], static_cast',
    standsFor: 'V03, vLLM PR 56196: the convolution state of a chunk shorter than the kernel was wrong',
    describe: 'after fewer tokens than the convolution reaches back, its state is one column old',
  },
];

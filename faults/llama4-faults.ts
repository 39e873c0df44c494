/** Planted faults of llama4: layers that turn nothing, temperatures, experts whose inputs are weighted. */
import type { PlantedFault } from './planted.ts';

const model = 'recipe:llama4-fuzz';

export const llama4Faults: readonly PlantedFault[] = [
  {
    name: 'move-turns-unturned',
    file: 'engine/models/llama4.ts',
    find: 'hparams.turned[l] ? (keys) => turn(keys, n_head_kv) : null',
    replace:
      '(keys) => ((draft.first ??= draft.plan), hparams.turned[l] || draft.first !== draft.plan) && turn(keys, n_head_kv)',
    standsFor: 'docs/llama-releases.md: b5640 to v0.5.0, a shift turns keys of layers that turn nothing',
    describe: 'a move turns the kept keys of all layers, also of those whose keys were never turned',
    shows: 'second call',
    model,
  },
  {
    name: 'temperature-of-first-token',
    file: 'native/gemma.inl.h',
    find: 'by = m.act + a[4] + static_cast<long>(r) * a[5]',
    replace: 'by = m.act + a[4] + static_cast<long>(r - r) * a[5]',
    standsFor: 'V04, vLLM PR 20838: what was known of the first request was used for all',
    describe: 'temperatures, and what opens the inputs of experts, are those of the first token of a ubatch',
    shows: 'one ubatch',
    model,
  },
  {
    name: 'temperature-of-row',
    file: 'engine/context.ts',
    find: 'batch.pos[splitter.index[begin + j]]',
    replace: '(tables[t].width === 1 ? j : batch.pos[splitter.index[begin + j]])',
    standsFor: 'L26, llama.cpp PR 13870: positions were rotated by another angle than they stand for',
    describe: 'the temperature of a token is that of its place in the ubatch, not that of its position',
    shows: 'first call',
    model,
  },
];

/** Wrong for everybody in the same way. */
export const llama4ReferenceFaults: readonly PlantedFault[] = [
  {
    name: 'temperature-late',
    file: 'engine/temperature.ts',
    find: '(pos + 1) / this.#length',
    replace: 'pos / this.#length',
    standsFor: 'V10, vLLM PR 945: a position was off by one',
    describe: 'temperatures grow one position too late',
    shows: 'first call',
    finds: 'reference',
    model,
  },
  {
    name: 'experts-opened-by-shares',
    file: 'engine/models/experts.ts',
    find: 'SHARES.sigmoid',
    replace: 'SHARES.all',
    standsFor: 'L46, llama.cpp PR 15811: a parameter of the model was not the one that the file names',
    describe: 'the inputs of experts are weighted by the softmax of the logits, not by the sigmoid of each',
    shows: 'first call',
    finds: 'reference',
    model,
  },
];

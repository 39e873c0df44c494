/** Cases for the tests of exported programs: small histories whose answers are known. */
import type { ModelInfo } from '../../../../contract/subject.ts';
import type { Case, Failure, Script } from '../../../types.ts';

export const LLAMA: ModelInfo = {
  arch: 'llama',
  memory: 'attention',
  n_vocab: 259,
  n_embd: 64,
  n_layer: 2,
  n_params: 1,
};

/** Two sequences in one batch, the second one first. */
export const PAIR: Script = {
  params: { n_ctx: 32, n_batch: 16, n_ubatch: 8, n_seq_max: 2, split: 'equal', type_kv: 'F16' },
  calls: [
    {
      op: 'decode',
      batch: {
        token: [5, 6, 7, 8],
        pos: [0, 1, 0, 1],
        seq_id: [[1], [1], [0], [0]],
        logits: [true, true, true, true],
      },
    },
  ],
};

export function caseOf(script: Script | undefined, more: Partial<Case> = {}): Case {
  const base = { version: 1, property: 'solo', model: 'recipe:llama-loadable', seed: 's', index: 0 } as const;
  return { ...base, script, ...more };
}

/** The last row differs at one element, with this bound. */
export function failureAt(bound: number | undefined): Pick<Failure, 'message' | 'difference' | 'signature'> {
  const missed = bound === undefined ? undefined : ({ bound, sigmas: 100, grade: 'not graded' } as const);
  return {
    message: 'solo: logits of token 3 of call 0 (sequence 0, position 1), element 17: got 1.5, want 0.5',
    difference: {
      what: 'logits of token 3 of call 0 (sequence 0, position 1)',
      at: { call: 0, index: 3 },
      index: 17,
      got: 1.5,
      want: 0.5,
      missed,
    },
    signature: 'solo/llama/259/logits',
  };
}

export const DIED: Pick<Failure, 'message' | 'difference' | 'signature'> = {
  message: 'the process that ran the case was killed by SIGABRT',
  difference: { what: 'the process of the subject', got: 'SIGABRT', want: 'an answer or a refusal' },
  signature: 'solo/jamba/259/died: SIGABRT',
};

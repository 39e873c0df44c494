/** Faults of states that are kept so that the last tokens of a sequence can be removed again. */
import type { PlantedFault } from './planted.ts';

const MEMORY = 'engine/memory/kept-states.ts';

export const rollbackFaults: readonly PlantedFault[] = [
  {
    name: 'kept-one-too-many',
    file: MEMORY,
    find: 'this.#set(q, this.#statesBefore(q, begin))',
    replace:
      'this.#set(q, this.#statesBefore(q, begin).map((state, j, left) => ({ ...state, row: (left[j + 1] ?? state).row })))',
    standsFor: 'batching.md 4.4, INV-RS-17: the next decode starts from the state after p0 - 1 tokens',
    describe: 'a rollback gives the state of one token too many taken back, and the right position',
    shows: 'second call',
  },
  {
    name: 'kept-not-shifted',
    file: MEMORY,
    find: 'this.#row[n + j] = row[from * this.#most + j]',
    replace: 'this.#row[n + j] = row[from * this.#most + Math.min(j + n, count[from] - 1)]',
    standsFor:
      'docs/llama-releases.md: after a decode of fewer tokens than are taken back an older state comes back',
    describe:
      'states that were kept before a batch stay at their distance from the end, though it is farther off now',
    shows: 'second call',
    model: 'recipe:lfm2-fuzz',
  },
  {
    name: 'kept-rolls-back-copies',
    file: MEMORY,
    find: 'if ((seq < 0 || q === seq) && this.posMax(q) >= begin)',
    replace:
      'if ((seq < 0 || q === seq || (begin > 0 && this.owned(q)[0] === this.owned(seq)[0])) && this.posMax(q) >= begin)',
    standsFor: 'docs/llama-releases.md: rolling back a sequence moves all that own its state',
    describe: 'a rollback takes tokens from the copies of a sequence, too',
    shows: 'second call',
    needs: 'shared tokens',
  },
  {
    name: 'kept-copy-of-oldest',
    file: MEMORY,
    find: 'this.#set(to, this.#listOf(from))',
    replace:
      'this.#set(to, this.#listOf(from).map((state, _, all) => ({ ...state, row: all[all.length - 1].row })))',
    standsFor: 'docs/llama-releases.md: a copy has another state than the sequence that was rolled back',
    describe: 'a copy begins with the oldest state that is kept',
    shows: 'second call',
    needs: 'shared tokens',
    model: 'recipe:rwkv7-fuzz',
  },
  {
    name: 'kept-rows-unheld',
    file: MEMORY,
    find: 'this.#release(states)',
    replace: 'this.#release(n)',
    standsFor: 'L40, llama.cpp PR 9249: a slot was free although a sequence still pointed to it',
    describe: 'rows of kept states are free too early, and another sequence writes into them',
    shows: 'first call',
    model: 'recipe:mamba2-fuzz',
  },
  {
    name: 'kept-lists-stay',
    file: MEMORY,
    find: 'copyLists(this.#before, this.#now)',
    replace: 'copyLists(this.#now, this.#before)',
    standsFor:
      'batching.md 4.7: after a failed computation the position claims tokens that the state has not',
    describe: 'a batch that fails leaves the lists of kept states as it made them',
    shows: 'second call',
    model: 'recipe:jamba-fuzz',
  },
  {
    name: 'kept-parts-of-first-set',
    file: 'native/ssm.inl.h',
    find: 'return j == 0 ? first : first + tokens - kept + j - 1;',
    replace: 'return j == 0 ? first : tokens - kept + j - 1;',
    standsFor: 'R01, mistral.rs issue 2306: the state of the first sequence was used for all',
    describe: 'the last tokens of every set are taken from the first set where states are kept',
    shows: 'first call',
    model: 'recipe:falcon-h1-fuzz',
  },
  {
    name: 'kept-token-shift-late',
    file: 'native/rwkv.inl.h',
    find: 'const long first = sets.row(s) * a[5];',
    replace: 'const long first = (sets.row(s) - (s % (sets.kept + 1) > 1)) * a[5];',
    standsFor: 'V03, vLLM PR 56196: the convolution state of a chunk shorter than the kernel was wrong',
    describe: 'the token before is one too early behind the second kept state of RWKV',
    shows: 'one ubatch',
    model: 'recipe:rwkv6-fuzz',
  },
];

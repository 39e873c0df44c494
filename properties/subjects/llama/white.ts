/**
 * The rules of a libllama, where the build shows them: its batch splitter, called one split at a time. What comes out
 * are ubatches of tokens, positions and sequence ids; they are told as indices into the batch (spec: libllama.md 5).
 *
 * Nothing promises these functions, so before anything is believed one known batch is split. A build that answers it in
 * any other way shows no rules, and the reason is given.
 */
import type { CompleteBatch, SplitOptions, SplitPolicy, Ubatch } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import type { RulesInfo, ShownSplit } from '../../../contract/white.ts';
import type { Address, Library } from './library.ts';
import { nativeSplitter } from './white-native.ts';

/** One ubatch as the library fills it: a row a token. */
export interface UbatchRows {
  readonly equal_seqs: boolean;
  readonly n_seqs: number;
  readonly n_seq_tokens: number;
  readonly token: readonly number[];
  readonly pos: readonly number[];
  readonly seq_id: readonly (readonly number[])[];
  readonly output: readonly boolean[];
}

/** The splitter of a library, or what stands for it in a test. */
export interface Splitter {
  readonly keep_tail: boolean;
  /** Takes a batch and forgets the one before. False if the library refuses it. */
  init(batch: CompleteBatch): boolean;
  /** The next ubatch; null if there is none. */
  next(policy: SplitPolicy, n_ubatch: number, n_keep_tail: number): UbatchRows | null;
  /** Batch indices of the outputs so far, in the order of execution. */
  outIds(): readonly number[];
  /** What was logged since `init`. */
  log(): string;
}

export interface LlamaRules {
  readonly info: RulesInfo;
  split(batch: CompleteBatch, options: SplitOptions): ShownSplit;
}

/** `whole` is ours, and `equal` as it was in PR 8526 is in no release that exports its splitter. */
const POLICIES: readonly SplitPolicy[] = ['simple', 'equal-batch', 'equal-sequential', 'sequence'];

/** Throws `refused` with the reason if this build does not show its rules. `vocab` is called if it may. */
export function llamaRules(library: Library, vocab: () => Address): LlamaRules {
  return checkedRules(nativeSplitter(library, vocab));
}

/** The rules behind a splitter that has passed the check. Throws `refused` if it does not. */
export function checkedRules(splitter: Splitter): LlamaRules {
  selfCheck(splitter);
  return {
    info: { policies: POLICIES, keep_tail: splitter.keep_tail, quirks: 'upstream' },
    split: (batch, options) => splitBy(splitter, batch, options),
  };
}

function splitBy(splitter: Splitter, batch: CompleteBatch, options: SplitOptions): ShownSplit {
  const { policy, n_ubatch, n_keep_tail = 0 } = options;
  if (!POLICIES.includes(policy) || (n_keep_tail > 0 && !splitter.keep_tail))
    throw new IsobatchError('params', `this build has no split by ${policy} with n_keep_tail ${n_keep_tail}`);
  // It asserts this, which would end the process.
  if (n_ubatch < 1 || n_ubatch <= n_keep_tail)
    throw new IsobatchError('params', `n_ubatch ${n_ubatch} for an n_keep_tail of ${n_keep_tail}`);
  if (!splitter.init(batch))
    throw new IsobatchError('refused', `the batch is refused: ${splitter.log() || 'no reason given'}`);
  const places = new Places(batch);
  const ubatches: Ubatch[] = [];
  let taken = 0;
  // Each ubatch holds a token, so there are no more ubatches than tokens, unless something is very wrong.
  while (ubatches.length <= batch.token.length) {
    const rows = splitter.next(policy, n_ubatch, n_keep_tail);
    if (rows === null) break;
    const { equal_seqs, n_seqs, n_seq_tokens } = rows;
    ubatches.push({ equal_seqs, n_seqs, n_seq_tokens, index: places.of(rows) });
    taken += rows.token.length;
  }
  if (taken < batch.token.length && /coupled sequences/.test(splitter.log()))
    throw new IsobatchError('batch.coupled', splitter.log());
  return { ubatches, out_ids: splitter.outIds() };
}

/** Finds the batch index of a row by a sequence and its position, which a legal batch has once. */
class Places {
  readonly #batch: CompleteBatch;
  readonly #at = new Map<number, number>();

  constructor(batch: CompleteBatch) {
    this.#batch = batch;
    batch.pos.forEach((pos, i) => {
      this.#at.set(keyOf(batch.seq_id[i]![0]!, pos), i);
    });
  }

  /** Batch indices by row; -1 for a row that agrees with no token of the batch in everything. */
  of({ token, pos, seq_id, output }: UbatchRows): number[] {
    const { token: tokens, seq_id: sets, logits } = this.#batch;
    return token.map((id, row) => {
      const ids = seq_id[row]!;
      const i = this.#at.get(keyOf(ids[0] ?? -1, pos[row]!)) ?? -1;
      const same =
        i >= 0 &&
        tokens[i] === id &&
        logits[i] === output[row] &&
        sets[i]!.length === ids.length &&
        sets[i]!.every((seq, k) => seq === ids[k]);
      return same ? i : -1;
    });
  }
}

function keyOf(seq: number, pos: number): number {
  return seq * 2 ** 32 + pos;
}

/** Two tokens of sequences 0 and 1 together, then their own, five of sequence 2 and one of sequence 3. */
const KNOWN: CompleteBatch = {
  token: [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  pos: [0, 1, 2, 3, 4, 2, 0, 1, 2, 3, 4, 0],
  seq_id: [[0, 1], [0, 1], [0], [0], [0], [1], [2], [2], [2], [2], [2], [3]],
  logits: [1, 2, 5, 8, 10, 11].reduce((flags, i) => flags.with(i, true), new Array<boolean>(12).fill(false)),
};
/** Measured on three releases (spec: libllama.md 5); n_seqs and the batch indices. */
const KNOWN_UBATCHES: readonly (readonly [number, readonly number[]])[] = [
  [3, [0, 6, 11]],
  [2, [1, 7]],
  [3, [2, 5, 8]],
  [2, [3, 4, 9, 10]],
];
const KNOWN_OUT_IDS = [11, 1, 2, 5, 8, 10];

/** Throws `refused` unless the known batch is split as it is known, with every field of every row in its place. */
function selfCheck(splitter: Splitter): void {
  const { ubatches, out_ids } = splitBy(splitter, KNOWN, { policy: 'equal-batch', n_ubatch: 512 });
  const want = KNOWN_UBATCHES.map(([n_seqs, index]) => {
    return { equal_seqs: true, n_seqs, n_seq_tokens: index.length / n_seqs, index };
  });
  const said = JSON.stringify([ubatches, out_ids]);
  if (said !== JSON.stringify([want, KNOWN_OUT_IDS]))
    throw new IsobatchError(
      'refused',
      `the build exports its batch splitter, but a known batch comes out otherwise, so its layout is not known: ${said}`,
    );
}

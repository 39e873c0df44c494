/**
 * Small scope, white-box, from empty memory: every batch of up to 4 tokens over 3 sequences with all output flags,
 * cut by every policy with n_ubatch 1 .. 4, for both kinds of memory. Legal ones are compared with the oracle (split,
 * outputs, slots or cells and mask) and with the invariants; illegal ones must be refused with the same kind.
 */
import { type CompleteBatch, SPLIT_POLICIES, type SplitOptions, type Ubatch } from '../../contract/batch.ts';
import type { WhiteBox } from '../../contract/white.ts';
import { checkCells } from '../white/cell-history.ts';
import { broken } from '../white/frame.ts';
import { checkOutputs } from '../white/outputs.ts';
import { checkSlots } from '../white/slots.ts';
import { checkSplit } from '../white/split.ts';
import {
  type CompleteBatchRule,
  completionOf,
  EMPTY_MEMORY,
  forEachPattern,
  patternCount,
  withoutStacks,
} from './enumerate.ts';
import { type ScopeResult, ScopeTally } from './result.ts';

export interface RulesScope {
  readonly subject: WhiteBox;
  readonly oracle: WhiteBox;
  /** Validation of the subject and of the oracle. */
  readonly complete: { readonly subject: CompleteBatchRule; readonly oracle: CompleteBatchRule };
  readonly n_seq?: number;
  readonly max_tokens?: number;
  readonly max_ubatch?: number;
}

const MEMORIES = ['attention', 'recurrent'] as const;
type Memory = (typeof MEMORIES)[number];

export function smallScopeRules(scope: RulesScope): ScopeResult {
  return withoutStacks(() => everyBatch(scope));
}

function everyBatch(scope: RulesScope): ScopeResult {
  const { n_seq = 3, max_tokens = 4, max_ubatch = 4 } = scope;
  const tally = new ScopeTally();
  const limits = { n_vocab: 64, n_batch: max_tokens, n_seq_max: n_seq };
  const shapes = SPLIT_POLICIES.length * max_ubatch * MEMORIES.length;
  forEachPattern(n_seq, max_tokens, (seq_id) => {
    const n = seq_id.length;
    const where = `ids ${JSON.stringify(seq_id)}`;
    const flagged: CompleteBatch[] = [];
    for (let flags = 0; flags < 1 << n; flags++) {
      tally.enumerated += shapes;
      const batch = {
        token: seq_id.map((_, i) => i),
        seq_id: [...seq_id],
        logits: seq_id.map((_, i) => ((flags >> i) & 1) === 1),
      };
      const want = completionOf(() => scope.complete.oracle(batch, EMPTY_MEMORY, limits));
      const got = completionOf(() => scope.complete.subject(batch, EMPTY_MEMORY, limits));
      tally.compared++;
      if (JSON.stringify(got) !== JSON.stringify(want))
        tally.fail(where, broken('oracle', 'completion', got, want));
      if ('refused' in want) tally.refused += shapes;
      else flagged.push(want.batch);
    }
    if (flagged.length > 0) eachShape(scope, tally, flagged, where, n_seq, max_ubatch);
  });
  return tally.result(patternCount(n_seq, max_tokens, 2) * shapes);
}

/** Batches with the same ids and all flags, under every policy, n_ubatch and kind of memory. */
function eachShape(
  { subject, oracle }: RulesScope,
  tally: ScopeTally,
  flagged: readonly CompleteBatch[],
  where: string,
  n_seq: number,
  max_ubatch: number,
): void {
  const batch = flagged.at(-1)!;
  for (const policy of SPLIT_POLICIES) {
    for (let n_ubatch = 1; n_ubatch <= max_ubatch; n_ubatch++) {
      const options: SplitOptions = { policy, n_ubatch };
      const here = `${where}, ${policy}, n_ubatch ${n_ubatch}`;
      const cut = checkSplit(subject, oracle, { batch, options });
      tally.compared += cut.compared;
      if (cut.broken !== null) tally.fail(here, cut.broken);
      const done = completionless(() => oracle.split(batch, options));
      for (const memory of MEMORIES) {
        // A slot a token would be needed: not legal for recurrent memory (DESIGN, table of policies).
        if (done === null || (policy === 'simple' && memory === 'recurrent')) {
          tally.refused += flagged.length;
          continue;
        }
        tally.legal += flagged.length;
        const placed = checkMemory(subject, oracle, memory, batch, done, n_seq);
        tally.compared += placed.compared;
        if (placed.broken !== null) tally.fail(`${here}, ${memory}`, placed.broken);
        for (const one of flagged) {
          const rows = checkOutputs(subject, oracle, one, done);
          tally.compared += rows.compared;
          if (rows.broken !== null) tally.fail(`${here}, outputs ${JSON.stringify(one.logits)}`, rows.broken);
        }
      }
    }
  }
}

/** The ubatches, or null if the policy refuses the batch (which `checkSplit` has looked at). */
function completionless(split: () => readonly Ubatch[]): readonly Ubatch[] | null {
  const done = completionOf(split as never);
  return 'refused' in done ? null : (done.batch as never);
}

function checkMemory(
  subject: WhiteBox,
  oracle: WhiteBox,
  memory: Memory,
  batch: CompleteBatch,
  ubatches: readonly Ubatch[],
  n_seq: number,
): ReturnType<typeof checkSlots> {
  if (memory === 'recurrent')
    return checkSlots(subject, oracle, { n_slots: n_seq, steps: slotSteps(batch, ubatches) });
  const steps = ubatches.map(({ index }) => ({
    op: 'place' as const,
    pos: index.map((i) => batch.pos[i]!),
    sets: index.map((i) => batch.seq_id[i]!),
    query: true,
  }));
  return checkCells(subject, oracle, { n_cells: batch.token.length, n_seq, steps });
}

/** What recurrent memory is asked for each ubatch. */
export function slotSteps(
  batch: CompleteBatch,
  ubatches: readonly Ubatch[],
): { op: 'ubatch'; sets: (readonly number[])[]; n_seq_tokens: number; last_pos: number[] }[] {
  return ubatches.map(({ index, n_seqs, n_seq_tokens }) => {
    const sets: (readonly number[])[] = [];
    const last_pos: number[] = [];
    for (let s = 0; s < n_seqs; s++) {
      const last = index[(s + 1) * n_seq_tokens - 1]!;
      sets.push(batch.seq_id[last]!);
      last_pos.push(batch.pos[last]!);
    }
    return { op: 'ubatch', sets, n_seq_tokens, last_pos };
  });
}

/**
 * How a batch is cut into ubatches (spec: batching.md 2). One function a policy, each written as its section says.
 *
 * - `simple` (2.2), `equal` (2.1 and 2.3), `equal-batch` and `equal-sequential` (2.4), `sequence` (2.5).
 * - `whole` is ours. A unit is all tokens of one exact set, in batch order. Units are never cut; one that is longer
 *   than n_ubatch is refused. For each ubatch the units that remain are scanned in the order of their first tokens in
 *   the batch. The first is always taken. A later one is taken if its set is disjoint from every earlier unit that was
 *   still there when the scan began (taken or passed over: what comes before it in one of its sequences must be
 *   evaluated before), it is as long as the first, and it still fits n_ubatch.
 *
 * With `quirks: 'none'` no ubatch exceeds n_ubatch, and `sequence` takes one exact set only. With `'upstream'` 2.4 may
 * choose n_ubatch+1 sets and 2.5 walks down through subsets. Ties of `equal` go to the group whose first token has the
 * lower batch index: among equals the array descends by it, since it is consumed from its end.
 */
import type { CompleteBatch, SeqId, SplitOptions, Ubatch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';

/** Tokens with the same list of ids: their batch indices, ascending. */
interface Group {
  readonly ids: readonly SeqId[];
  readonly tokens: number[];
}

/** Cuts a batch. Throws `params`, `batch.coupled` (equal-sequential) and `batch.whole` (whole). */
export function split(batch: CompleteBatch, options: SplitOptions): Ubatch[] {
  const { policy, n_ubatch } = options;
  if (!Number.isInteger(n_ubatch) || n_ubatch < 1) {
    throw new IsobatchError('params', `n_ubatch is ${n_ubatch}, must be at least 1`, { n_ubatch });
  }
  switch (policy) {
    case 'simple':
      return splitSimple(batch, n_ubatch);
    case 'equal':
      return splitEqual(batch, n_ubatch);
    case 'equal-batch':
      return splitLockstep(batch, options, false);
    case 'equal-sequential':
      return splitLockstep(batch, options, true);
    case 'sequence':
      return splitSequence(batch, n_ubatch, options.quirks === 'upstream');
    case 'whole':
      return splitWhole(batch, n_ubatch);
  }
}

/** 2.2: the next n_ubatch tokens in batch order. */
function splitSimple(batch: CompleteBatch, n_ubatch: number): Ubatch[] {
  const ubatches: Ubatch[] = [];
  for (let first = 0; first < batch.token.length; first += n_ubatch) {
    const index: number[] = [];
    for (let i = first; i < first + n_ubatch && i < batch.token.length; i++) {
      index.push(i);
    }
    ubatches.push({ equal_seqs: false, n_seqs: index.length, n_seq_tokens: 1, index });
  }
  return ubatches;
}

/** 2.1 prepares the groups, 2.3 consumes them from the end: most shared first, then shortest first. */
function splitEqual(batch: CompleteBatch, n_ubatch: number): Ubatch[] {
  const groups = groupsOf(batch);
  for (const group of groups) {
    group.tokens.sort((a, b) => batch.pos[a]! - batch.pos[b]! || a - b);
  }
  const first = new Map(groups.map((group) => [group, group.tokens[0]!]));
  groups.sort(
    (a, b) =>
      a.ids.length - b.ids.length || b.tokens.length - a.tokens.length || first.get(b)! - first.get(a)!,
  );
  const ubatches: Ubatch[] = [];
  for (let remaining = batch.token.length; remaining > 0; ) {
    while (groups.at(-1)?.tokens.length === 0) {
      groups.pop();
    }
    const most = Math.min(n_ubatch, remaining);
    const length = Math.min(groups.at(-1)!.tokens.length, most);
    const index: number[] = [];
    for (let g = groups.length - 1; g >= 0; g--) {
      const group = groups[g]!;
      index.push(...group.tokens.splice(0, length));
      if (group.ids.length > 1 || length + index.length > most) {
        break;
      }
    }
    remaining -= index.length;
    ubatches.push({ equal_seqs: true, n_seqs: index.length / length, n_seq_tokens: length, index });
  }
  return ubatches;
}

/** 2.4: sets chosen in batch order, one token of each in turn; optionally the last tokens of a set stay together. */
function splitLockstep(batch: CompleteBatch, options: SplitOptions, sequential: boolean): Ubatch[] {
  const { n_ubatch, n_keep_tail = 0, quirks = 'none' } = options;
  if (n_keep_tail > 0 && n_ubatch <= n_keep_tail) {
    throw new IsobatchError(
      'params',
      `n_ubatch is ${n_ubatch}, must be larger than n_keep_tail ${n_keep_tail}`,
      {
        n_ubatch,
        n_keep_tail,
      },
    );
  }
  if (sequential) {
    refuseCoupled(batch);
  }
  const setOf = new Array<Group>(batch.token.length);
  for (const group of groupsOf(batch)) {
    for (const i of group.tokens) {
      setOf[i] = group;
    }
  }
  const most_sets = quirks === 'upstream' ? n_ubatch + 1 : n_ubatch;
  const used = new Array<boolean>(batch.token.length).fill(false);
  const ubatches: Ubatch[] = [];
  for (;;) {
    const chosen = chooseSets(setOf, used, most_sets, sequential);
    if (chosen.length === 0) {
      return ubatches;
    }
    let n_seqs = chosen.length;
    let taken = lockstep(chosen, n_ubatch);
    if (n_keep_tail > 0) {
      const kept = chosen.findIndex((set) => !keepsTail(set.tokens.length - taken, n_keep_tail));
      if (kept > 0) {
        n_seqs = kept;
      } else if (kept === 0) {
        const length = chosen[0]!.tokens.length;
        n_seqs = 1;
        taken = length <= n_ubatch ? length : length - n_keep_tail;
      }
    }
    const index: number[] = [];
    for (let c = 0; c < n_seqs; c++) {
      for (const i of chosen[c]!.tokens.splice(0, taken)) {
        index.push(i);
        used[i] = true;
      }
    }
    ubatches.push({ equal_seqs: true, n_seqs, n_seq_tokens: taken, index });
  }
}

/** 2.4 step 1: a token of several sequences couples them. */
function refuseCoupled(batch: CompleteBatch): void {
  const i = batch.seq_id.findIndex((ids) => ids.length > 1);
  if (i >= 0) {
    throw new IsobatchError(
      'batch.coupled',
      `token ${i} belongs to sequences ${batch.seq_id[i]!.join(', ')}; equal-sequential cannot split coupled sequences`,
      { index: i, seq: batch.seq_id[i] },
    );
  }
}

/** 2.4 step 2: unused tokens in batch order; a set must be disjoint from those chosen before. */
function chooseSets(
  setOf: readonly Group[],
  used: readonly boolean[],
  most_sets: number,
  sequential: boolean,
): Group[] {
  const chosen: Group[] = [];
  const busy = new Set<SeqId>();
  for (let i = 0; i < setOf.length && chosen.length < most_sets; i++) {
    const set = setOf[i]!;
    if (used[i] || anyOf(set.ids, busy)) {
      continue;
    }
    if (sequential && chosen.length > 0 && set.ids[0] !== chosen.at(-1)!.ids[0]! + 1) {
      continue;
    }
    chosen.push(set);
    for (const seq of set.ids) {
      busy.add(seq);
    }
  }
  return chosen;
}

/** 2.4 step 3: how many tokens of each set are taken, one of each at a time; at least one. */
function lockstep(chosen: readonly Group[], n_ubatch: number): number {
  const shortest = chosen.reduce((least, set) => Math.min(least, set.tokens.length), Infinity);
  let taken = 1;
  while (taken < shortest && (taken + 1) * chosen.length <= n_ubatch) {
    taken += 1;
  }
  return taken;
}

/** 2.4 step 4: nothing remains of the set, or at least its tail. */
function keepsTail(remaining: number, n_keep_tail: number): boolean {
  return remaining === 0 || remaining >= n_keep_tail;
}

/** 2.5: tokens of one sequence set, from the first unused token on. */
function splitSequence(batch: CompleteBatch, n_ubatch: number, subsets: boolean): Ubatch[] {
  const used = new Array<boolean>(batch.token.length).fill(false);
  const ubatches: Ubatch[] = [];
  for (let first = 0; first < used.length; first++) {
    if (used[first]) {
      continue;
    }
    let set = batch.seq_id[first]!;
    const index: number[] = [];
    for (let i = first; i < used.length && index.length < n_ubatch; i++) {
      const ids = batch.seq_id[i]!;
      const fits = ids.every((seq) => set.includes(seq)) && (subsets || ids.length === set.length);
      if (!used[i] && fits) {
        set = ids;
        used[i] = true;
        index.push(i);
      }
    }
    ubatches.push({ equal_seqs: true, n_seqs: 1, n_seq_tokens: index.length, index });
  }
  return ubatches;
}

/** The rule of the header. */
function splitWhole(batch: CompleteBatch, n_ubatch: number): Ubatch[] {
  let units = groupsOf(batch);
  for (const { ids, tokens } of units) {
    if (tokens.length > n_ubatch) {
      throw new IsobatchError(
        'batch.whole',
        `sequence set {${ids.join(', ')}} has ${tokens.length} tokens in the batch, n_ubatch is ${n_ubatch}`,
        { seq: ids, length: tokens.length, n_ubatch },
      );
    }
  }
  const ubatches: Ubatch[] = [];
  while (units.length > 0) {
    const n_seq_tokens = units[0]!.tokens.length;
    const earlier = new Set<SeqId>();
    const passed: Group[] = [];
    const index: number[] = [];
    for (const unit of units) {
      const free = !anyOf(unit.ids, earlier);
      if (free && unit.tokens.length === n_seq_tokens && index.length + n_seq_tokens <= n_ubatch) {
        index.push(...unit.tokens);
      } else {
        passed.push(unit);
      }
      for (const seq of unit.ids) {
        earlier.add(seq);
      }
    }
    ubatches.push({ equal_seqs: true, n_seqs: index.length / n_seq_tokens, n_seq_tokens, index });
    units = passed;
  }
  return ubatches;
}

/** The tokens of each list of ids, in the order of their first tokens in the batch. */
function groupsOf(batch: CompleteBatch): Group[] {
  const groups = new Map<string | SeqId, Group>();
  for (let i = 0; i < batch.token.length; i++) {
    const ids = batch.seq_id[i]!;
    const name = ids.length === 1 ? ids[0]! : ids.join();
    const group = groups.get(name);
    if (group) {
      group.tokens.push(i);
    } else {
      groups.set(name, { ids, tokens: [i] });
    }
  }
  return [...groups.values()];
}

function anyOf(ids: readonly SeqId[], set: ReadonlySet<SeqId>): boolean {
  for (const seq of ids) {
    if (set.has(seq)) {
      return true;
    }
  }
  return false;
}

/**
 * `split`: the ubatches of a batch, against the oracle and against INV-SPLIT-1..7, 9 and 11 (spec: batching.md 2.7).
 */
import type { CompleteBatch, SplitOptions, Ubatch } from '../../contract/batch.ts';
import type { WhiteBox } from '../../contract/white.ts';
import { note, sizeClass } from '../coverage.ts';
import { askSplit } from './asked.ts';
import { drawBatch, drawOptions, type SplitInput, smallerInputs } from './batches.ts';
import { answerOf, type Broken, broken, type Checked, sameNumbers, whiteProperty } from './frame.ts';

export const split = whiteProperty<SplitInput>({
  name: 'split',
  statement: 'ubatches are those of the rule, hold every token once, and keep the order of each sequence',
  classes: {
    policies: ['simple', 'equal', 'equal-batch', 'equal-sequential', 'sequence', 'whole'],
    tokens: ['1', '2', '3-4', '5-8', '9-16', '17-32', '33-64', '65-128', '129-256'],
    ubatches: ['1', '2', '3-4', '5-8', '9-16', '17-32', '33-64'],
    n_ubatch: ['1', '2', '3-4', '5-8', '9-16', '17-32', '33-64', '65-128'],
    'shared tokens': ['no', 'yes'],
    n_keep_tail: ['0', '1', '2', '3', '4', '5'],
  },
  draw(r, offered) {
    const batch = drawBatch(r);
    return { batch, options: drawOptions(r, batch, offered) };
  },
  check: checkSplit,
  async ask(rules, oracle, input) {
    const asked = await askSplit(rules, input);
    return 'skip' in asked ? asked : { check: () => checkSplit(asked.box, oracle, asked.input) };
  },
  cover(coverage, { batch, options }) {
    const n = batch.token.length;
    note(coverage, 'policies', options.policy);
    note(coverage, 'tokens', sizeClass(n));
    note(coverage, 'ubatches', sizeClass(Math.ceil(n / options.n_ubatch)));
    note(coverage, 'n_ubatch', sizeClass(options.n_ubatch));
    note(coverage, 'n_keep_tail', String(options.n_keep_tail ?? 0));
    note(coverage, 'shared tokens', batch.seq_id.some((ids) => ids.length > 1) ? 'yes' : 'no');
  },
  shrink: smallerInputs,
});

/** Also used by the small scope. */
export function checkSplit(subject: WhiteBox, oracle: WhiteBox, { batch, options }: SplitInput): Checked {
  const got = answerOf(() => subject.split(batch, options));
  const want = answerOf(() => oracle.split(batch, options));
  const tokens = batch.token.length;
  if ('refused' in got || 'refused' in want) {
    const a = 'refused' in got ? got.refused : 'accepted';
    const b = 'refused' in want ? want.refused : 'accepted';
    const wrong = a === b ? refusalHolds(batch, options, a) : broken('oracle', 'the refusal', a, b);
    return { compared: 1, tokens, broken: wrong };
  }
  let compared = 0;
  for (const { index } of got.value) compared += index.length + 3;
  const wrong = invariants(batch, options, got.value) ?? sameUbatches(got.value, want.value);
  return { compared, tokens, broken: wrong };
}

/** A refusal that both agree on has its reason in the batch. */
function refusalHolds(batch: CompleteBatch, options: SplitOptions, kind: string): Broken | null {
  const shared = batch.seq_id.some((ids) => ids.length > 1);
  const why =
    (kind === 'batch.coupled' && options.policy === 'equal-sequential' && shared) ||
    (kind === 'batch.whole' && options.policy === 'whole');
  return why ? null : broken('refusal', `policy ${options.policy}`, kind, 'accepted');
}

export function sameUbatches(got: readonly Ubatch[], want: readonly Ubatch[]): Broken | null {
  if (got.length !== want.length) return broken('oracle', 'number of ubatches', got.length, want.length);
  for (let u = 0; u < got.length; u++) {
    const a = got[u]!;
    const b = want[u]!;
    if (!sameNumbers(a.index, b.index)) return broken('oracle', `tokens of ubatch ${u}`, a.index, b.index);
    if (a.equal_seqs !== b.equal_seqs || a.n_seqs !== b.n_seqs || a.n_seq_tokens !== b.n_seq_tokens) {
      return broken('oracle', `shape of ubatch ${u}`, a, b);
    }
  }
  return null;
}

/** Sets as two words of bits, by batch index; kept between calls, because a case costs microseconds. */
let low = new Int32Array(512);
let high = new Int32Array(512);
let seen = new Uint8Array(512);
const lastPos = new Int32Array(64);

function prepare(batch: CompleteBatch): void {
  const n = batch.token.length;
  if (low.length < n) {
    low = new Int32Array(2 * n);
    high = new Int32Array(2 * n);
    seen = new Uint8Array(2 * n);
  }
  for (let i = 0; i < n; i++) {
    let lo = 0;
    let hi = 0;
    for (const id of batch.seq_id[i]!) {
      if (id < 32) lo |= 1 << id;
      else hi |= 1 << (id - 32);
    }
    low[i] = lo;
    high[i] = hi;
    seen[i] = 0;
  }
  lastPos.fill(-1);
}

export function invariants(
  batch: CompleteBatch,
  options: SplitOptions,
  ubatches: readonly Ubatch[],
): Broken | null {
  const { policy, n_ubatch } = options;
  const upstream = options.quirks === 'upstream';
  const n = batch.token.length;
  prepare(batch);
  let count = 0;
  for (let u = 0; u < ubatches.length; u++) {
    const ubatch = ubatches[u]!;
    const { index, n_seqs, n_seq_tokens } = ubatch;
    // The releases may choose a set too many, of which a token each is taken (2.4 step 3).
    const most = upstream && policy.startsWith('equal-') && n_seq_tokens === 1 ? n_ubatch + 1 : n_ubatch;
    if (index.length === 0 || n_seqs * n_seq_tokens !== index.length || index.length > most) {
      return broken(
        'INV-SPLIT-2',
        `shape of ubatch ${u} (n_ubatch ${n_ubatch})`,
        ubatch,
        'n_seqs x n_seq_tokens',
      );
    }
    for (let j = 0; j < index.length; j++) {
      const i = index[j]!;
      if (!(i >= 0 && i < n) || seen[i] !== 0) {
        return broken('INV-SPLIT-1', `token ${j} of ubatch ${u}`, i, 'each batch index once');
      }
      seen[i] = 1;
      count++;
      const wrong = inOrder(batch, i, u);
      if (wrong !== null) return wrong;
    }
    const wrong =
      policy === 'simple'
        ? isIdentity(ubatch, u, n_ubatch)
        : policy === 'sequence' && upstream
          ? subsetsOf(ubatch, u)
          : setsOf(ubatch, u, policy);
    if (wrong !== null) return wrong;
  }
  if (count !== n) return broken('INV-SPLIT-1', 'tokens in all ubatches', count, n);
  if (policy === 'simple' && ubatches.length !== Math.ceil(n / n_ubatch)) {
    return broken('INV-SPLIT-7', 'number of ubatches', ubatches.length, Math.ceil(n / n_ubatch));
  }
  if (policy === 'whole') return tailsTogether(ubatches, n, 'INV-SPLIT-WHOLE');
  return (options.n_keep_tail ?? 0) > 0
    ? tailsTogether(ubatches, options.n_keep_tail!, 'INV-SPLIT-11')
    : null;
}

/** INV-SPLIT-3 and 6: in the order of execution the positions of every sequence ascend. */
function inOrder(batch: CompleteBatch, i: number, u: number): Broken | null {
  const pos = batch.pos[i]!;
  for (const id of batch.seq_id[i]!) {
    if (lastPos[id]! >= pos) {
      return broken('INV-SPLIT-6', `sequence ${id} in ubatch ${u}, token ${i}`, pos, `above ${lastPos[id]}`);
    }
    lastPos[id] = pos;
  }
  return null;
}

/** INV-SPLIT-7. */
function isIdentity({ index, equal_seqs }: Ubatch, u: number, n_ubatch: number): Broken | null {
  for (let j = 0; j < index.length; j++) {
    if (index[j] !== u * n_ubatch + j || equal_seqs) {
      return broken('INV-SPLIT-7', `ubatch ${u} of a simple split`, index, 'the order of the batch');
    }
  }
  return null;
}

/** INV-SPLIT-4, 5 and 9: one exact set a row of the ubatch, rows disjoint, and consecutive ids where that is the rule. */
function setsOf({ index, n_seqs, n_seq_tokens }: Ubatch, u: number, policy: string): Broken | null {
  let lo = 0;
  let hi = 0;
  let before = -1;
  for (let s = 0; s < n_seqs; s++) {
    const first = index[s * n_seq_tokens]!;
    for (let j = 1; j < n_seq_tokens; j++) {
      const i = index[s * n_seq_tokens + j]!;
      if (low[i] !== low[first] || high[i] !== high[first]) {
        return broken('INV-SPLIT-4', `set ${s} of ubatch ${u}`, i, `a token of the set of token ${first}`);
      }
    }
    if ((lo & low[first]!) !== 0 || (hi & high[first]!) !== 0) {
      return broken(
        'INV-SPLIT-5',
        `set ${s} of ubatch ${u}`,
        first,
        'a set that is disjoint from those before',
      );
    }
    lo |= low[first]!;
    hi |= high[first]!;
    const id = lowest(low[first]!, high[first]!);
    if (policy === 'equal-sequential' && s > 0 && id !== before + 1) {
      return broken('INV-SPLIT-9', `set ${s} of ubatch ${u}`, id, before + 1);
    }
    before = id;
    if (policy === 'sequence' && s > 0) return broken('INV-SPLIT-4', `sets of ubatch ${u}`, n_seqs, 1);
  }
  return null;
}

/** INV-SPLIT-4 as the releases do it (2.5): sets of one ubatch may shrink, and nothing else. */
function subsetsOf({ index, n_seqs }: Ubatch, u: number): Broken | null {
  if (n_seqs !== 1) return broken('INV-SPLIT-4', `sets of ubatch ${u}`, n_seqs, 1);
  for (let j = 1; j < index.length; j++) {
    const [before, i] = [index[j - 1]!, index[j]!];
    if ((low[i]! & ~low[before]!) !== 0 || (high[i]! & ~high[before]!) !== 0) {
      return broken('INV-SPLIT-4', `ubatch ${u}`, i, `a token whose set lies in that of token ${before}`);
    }
  }
  return null;
}

function lowest(lo: number, hi: number): number {
  return lo !== 0 ? 31 - Math.clz32(lo & -lo) : 63 - Math.clz32(hi & -hi);
}

/** INV-SPLIT-11: the last `tail` tokens of each exact set (all of them, if it has fewer) are in one ubatch. */
function tailsTogether(ubatches: readonly Ubatch[], tail: number, rule: string): Broken | null {
  const sets = new Map<string, { total: number; last: number; inLast: number }>();
  ubatches.forEach(({ index }, u) => {
    for (const i of index) {
      const name = `${low[i]},${high[i]}`;
      let set = sets.get(name);
      if (set === undefined) {
        set = { total: 0, last: u, inLast: 0 };
        sets.set(name, set);
      }
      if (set.last !== u) {
        set.last = u;
        set.inLast = 0;
      }
      set.total++;
      set.inLast++;
    }
  });
  for (const { total, last, inLast } of sets.values()) {
    const want = Math.min(tail, total);
    if (inLast < want)
      return broken(rule, `the last tokens of a set, ubatch ${last}`, inLast, `at least ${want}`);
  }
  return null;
}

/**
 * Random complete batches for the rules of splitting and of outputs: about a hundred tokens, several sequences with
 * ragged lengths, shared beginnings before private ends, in several orders.
 */
import { type CompleteBatch, SPLIT_POLICIES, type SplitOptions } from '../../contract/batch.ts';
import type { Random } from '../random.ts';
import type { Offered } from './frame.ts';

export interface SplitInput {
  readonly batch: CompleteBatch;
  readonly options: SplitOptions;
}

interface Run {
  readonly ids: readonly number[];
  left: number;
  readonly after: Run[];
}

/** Runs of one family of sequences that share a beginning; the first can start at once. */
function family(r: Random, ids: number[], most: number): Run {
  if (ids.length === 1) return { ids, left: r.between(1, most), after: [] };
  const after: Run[] = [];
  const cut = r.below(ids.length);
  if (cut > 1) after.push(family(r, ids.slice(0, cut), most));
  for (let i = cut > 1 ? cut : 0; i < ids.length; i++) {
    if (r.chance(0.75)) after.push({ ids: [ids[i]!], left: r.between(1, most), after: [] });
  }
  return { ids, left: r.ragged(Math.min(24, most)), after };
}

/** A legal batch of 1 .. about 200 tokens. */
export function drawBatch(r: Random): CompleteBatch {
  const sequences = r.between(1, 10);
  // Ids with gaps; one case in eight beyond 32, where a bit mask needs its second word.
  const span = r.below(8) === 0 ? 64 : sequences + r.below(5);
  const free = Array.from({ length: Math.max(span, sequences) }, (_, i) => i);
  r.shuffle(free);
  const ready: Run[] = [];
  const sharing = r.chance(0.5);
  const most = Math.max(1, Math.ceil((2 * r.between(1, 196)) / sequences));
  for (let left = sequences; left > 0; ) {
    const n = sharing ? Math.min(left, r.pick([1, 1, 2, 2, 3, 4])) : 1;
    ready.push(family(r, free.splice(0, n).sort(ascending), most));
    left -= n;
  }
  return mix(r, ready);
}

function ascending(a: number, b: number): number {
  return a - b;
}

/** Tokens of the runs, concatenated, in turn or merged; each run's followers join when it is done. */
function mix(r: Random, ready: Run[]): CompleteBatch {
  const order = r.below(3);
  const token: number[] = [];
  const pos: number[] = [];
  const seq_id: (readonly number[])[] = [];
  const logits: boolean[] = [];
  const next = new Int32Array(64);
  if (r.chance(0.5)) next.fill(r.below(40));
  const outputs = r.below(4);
  for (let at = 0; ready.length > 0 && token.length < 400; ) {
    if (order === 2) at = r.below(ready.length);
    else if (at >= ready.length) at = 0;
    const run = ready[at]!;
    const here = next[run.ids[0]!]!;
    for (const id of run.ids) next[id] = here + 1;
    token.push(token.length & 63);
    pos.push(here);
    seq_id.push(run.ids);
    logits.push(outputs === 0 || (outputs < 3 ? r.u32() < 2 ** 31 : run.left === 1));
    run.left--;
    if (run.left === 0) {
      ready.splice(at, 1);
      for (const follower of run.after) ready.push(follower);
    } else if (order === 1) at++;
  }
  return { token, pos, seq_id, logits };
}

export function drawOptions(r: Random, batch: CompleteBatch, offered?: Offered): SplitOptions {
  const n = batch.token.length;
  const policy = r.pick(offered?.policies ?? SPLIT_POLICIES);
  const n_ubatch = Math.max(
    1,
    r.pick([1, 2, 3, r.between(1, 8), r.between(1, 32), r.between(1, n), n, n + 3, 512]),
  );
  const tails = (policy === 'equal-batch' || policy === 'equal-sequential') && offered?.keep_tail !== false;
  if (!tails || n_ubatch === 1 || r.chance(0.6)) {
    return { policy, n_ubatch };
  }
  return { policy, n_ubatch, n_keep_tail: r.between(1, Math.min(5, n_ubatch - 1)) };
}

/** Smaller inputs that are still legal. */
export function* smallerInputs({ batch, options }: SplitInput): Generator<SplitInput> {
  const n = batch.token.length;
  for (let part = n >> 1; part >= 1; part >>= 1) {
    for (let at = n - part; at >= 0; at -= part) {
      const rest = keep(batch, (i) => i < at || i >= at + part);
      if (rest !== null) yield { batch: rest, options };
    }
  }
  for (const seq of new Set(batch.seq_id.flat())) {
    const rest = withoutSequence(batch, seq);
    if (rest !== null) yield { batch: rest, options };
  }
  const { n_ubatch, n_keep_tail = 0 } = options;
  for (let u = n_keep_tail + 1; u < Math.min(n_ubatch, 6); u++)
    yield { batch, options: { ...options, n_ubatch: u } };
  if (n_keep_tail > 0) yield { batch, options: { policy: options.policy, n_ubatch } };
  for (let i = 0; i < n; i++) {
    if (!batch.logits[i]) continue;
    yield { batch: { ...batch, logits: batch.logits.map((flag, k) => flag && k !== i) }, options };
  }
}

function keep(batch: CompleteBatch, wanted: (i: number) => boolean): CompleteBatch | null {
  const at = batch.token.map((_, i) => i).filter(wanted);
  if (at.length === 0) return null;
  return renumbered({
    token: at.map((i) => batch.token[i]!),
    pos: at.map((i) => batch.pos[i]!),
    seq_id: at.map((i) => batch.seq_id[i]!),
    logits: at.map((i) => batch.logits[i]!),
  });
}

function withoutSequence(batch: CompleteBatch, seq: number): CompleteBatch | null {
  const seq_id = batch.seq_id.map((ids) => ids.filter((id) => id !== seq));
  return keep({ ...batch, seq_id }, (i) => seq_id[i]!.length > 0);
}

/** Positions go on one by one from a sequence's first token in the batch. */
function renumbered(batch: CompleteBatch): CompleteBatch {
  const next = new Map<number, number>();
  const pos = batch.pos.map((p, i) => {
    const here = next.get(batch.seq_id[i]![0]!) ?? p;
    for (const id of batch.seq_id[i]!) next.set(id, here + 1);
    return here;
  });
  return { ...batch, pos };
}

/** Whole histories: a few calls of ragged, interleaved batches, with sequences that leave, return and are copied. */
import type { Facts } from '../facts.ts';
import type { Random } from '../random.ts';
import type { Script } from '../types.ts';
import { Draft } from './draft.ts';
import { drawParams } from './params.ts';

export interface HistoryOptions {
  /** Mean number of tokens is near this. */
  readonly tokens?: number;
  readonly calls?: number;
  /** Chance, after each call, that a sequence is removed and its id used again. */
  readonly refill?: number;
  /** Chance, after each call, that a sequence is copied. */
  readonly copy?: number;
  readonly sequences?: number;
}

/** A draft over some sequence ids with gaps between them. */
export function newDraft(r: Random, facts: Facts, wanted = r.between(1, 8), spare = 0): Draft {
  const sequences = Math.min(wanted, facts.sequences);
  const n_seq_max = sequences + spare + (r.chance(0.5) ? 0 : r.below(5));
  const names = r.shuffle(Array.from({ length: n_seq_max }, (_, i) => i));
  return new Draft(r, facts, names.slice(0, sequences), n_seq_max);
}

/** Fills a draft with calls. */
export function fill(d: Draft, options: HistoryOptions = {}): void {
  const { r } = d;
  const { tokens = 88, refill = 0.25, copy = 0.2 } = options;
  const room = d.facts.tree.length * d.ids.length;
  // One case in twelve is tiny: that is where a fault needs the fewest words.
  const wanted = r.chance(1 / 12)
    ? r.between(1, 6)
    : r.between(Math.ceil(tokens / 2), Math.ceil(tokens * 1.5));
  let left = Math.min(wanted, Math.ceil(room * 0.9));
  const calls = options.calls ?? r.between(1, 5);
  for (let c = 0; left > 0 && c < 4 * calls; c++) {
    const last = c >= calls - 1;
    const n = d.decode(last ? left : Math.min(left, r.between(1, Math.ceil((1.6 * left) / (calls - c)))));
    left -= n;
    if (left <= 0) break;
    if (r.chance(copy)) d.copy();
    if (d.n_rs_seq > 0 && r.chance(0.6)) d.rollBack();
    // Where nothing has room any more somebody must leave.
    if (n === 0 || r.chance(refill)) leave(d);
  }
}

/** One sequence is removed whole; its id is free for another. */
export function leave(d: Draft): void {
  const live = d.live();
  if (live.length === 0) return;
  d.remove(d.r.pick(live), d.r.chance(0.5) ? 0 : -1, -1);
}

/** The draft as a script, in a context that it just fits. */
export function scriptOf(d: Draft): Script {
  const { n_seq_max } = d.lists;
  return {
    params: drawParams(d.r, d.facts, d.calls, d.peak, { n_seq_max, n_rs_seq: d.n_rs_seq }),
    calls: d.calls,
  };
}

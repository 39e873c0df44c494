/** Sequence operations between decodes: removals of every extent, copies, keep, clear, and calls that are refused. */
import type { Call, MoveCall } from '../types.ts';
import type { Draft } from './draft.ts';

/** Does one random operation that fits the state of memory; answers the name of its class, or null. */
export function operate(d: Draft): string | null {
  const { r } = d;
  const live = d.live();
  if (live.length === 0) return null;
  const seq = r.pick(live);
  const min = d.lists.owned(seq)[0]!.pos;
  const max = d.lists.posMax(seq);
  switch (r.weighted([16, 20, 14, 6, 5, 3, 3, 8, 8, 6, d.facts.moves ? 12 : 0])) {
    case 0:
      d.remove(seq, r.chance(0.5) ? 0 : -1, r.chance(0.5) ? -1 : max + 1 + r.below(3));
      return 'whole';
    case 1:
      if (d.n_rs_seq > 0 && r.chance(0.7) && d.rollBack()) return 'suffix';
      return removePart(d, seq, r.between(min, max), r.chance(0.5) ? -1 : max + 1, 'suffix');
    case 2:
      return d.copy() ? 'copy' : null;
    case 3:
      return removePart(d, seq, 0, r.between(min + 1, max + 1), 'prefix');
    case 4: {
      const p0 = r.between(min, max);
      return removePart(d, seq, p0, r.between(p0, max), 'middle');
    }
    case 5:
      d.keep(seq);
      return 'keep';
    case 6:
      if (r.chance(0.5)) d.clear();
      else d.remove(-1, 0, -1);
      return 'clear';
    case 7:
      // Beyond the end, or nothing: legal, and without effect.
      if (r.chance(0.5)) d.remove(seq, max + 1 + r.below(3), -1);
      else if (!(d.facts.legal.no_empty_ranges && d.lists.refusesParts)) d.remove(seq, max, max);
      return 'nothing';
    case 8:
      return refuse(d);
    case 10:
      return move(d, seq);
    default: {
      if (!d.facts.parts) return null;
      const p0 = r.between(min, max);
      return copyPart(d, r.chance(0.6) ? 0 : p0, r.chance(0.6) ? p0 + 1 : -1);
    }
  }
}

/**
 * Moves positions as engines use it: a hole is closed (a context that is shifted), a suffix or a whole sequence moves up or
 * back, positions are divided. States move whole. One that would bring what a window has forgotten before the next token
 * is a refused one.
 */
function move(d: Draft, seq: number): string | null {
  const { r, lists } = d;
  const own = lists.owned(seq);
  const first = own[0]!.pos;
  const max = lists.posMax(seq);
  // What a window that nobody watches still holds cannot be told: there everything of a sequence moves.
  const { unwatched } = d.facts;
  const from = lists.refusesParts || unwatched ? 0 : r.pick([0, first, r.between(first, max)]);
  const at = own.findIndex(({ pos }) => pos >= from);
  const hole = (own[at]?.pos ?? 0) - (at > 0 ? own[at - 1]!.pos + 1 : 0);
  const toEnd = r.chance(0.8) || unwatched;
  const range = { seq, p0: from === 0 && r.chance(0.3) ? -1 : from, p1: toEnd ? -1 : max + 1 };
  const calls: MoveCall[] = [
    { op: 'seqAdd', ...range, by: -hole },
    { op: 'seqAdd', ...range, by: r.between(1, 9) },
    { op: 'seqAdd', ...range, by: -r.between(1, 3) },
    { op: 'seqDiv', ...range, by: r.between(1, 3) },
  ];
  const call = r.pick(unwatched ? calls.slice(0, 3) : calls);
  if (d.move(call)) return 'move';
  if (lists.moveRefusal(call) !== 'ops.partial' || !d.facts.refuses('ops.partial')) return null;
  d.calls.push({ ...call, refused: 'ops.partial' });
  return 'refused';
}

/** Where a part of a state cannot be removed the call is a refused one. */
function removePart(d: Draft, seq: number, p0: number, p1: number, name: string): string | null {
  if (!d.lists.cuts(seq, p0, p1)) {
    // What a window has forgotten does not come back, and the caller would have to ask what it still holds.
    if (d.facts.unwatched && !(p0 <= d.lists.posMin(seq) && (p1 < 0 || p1 > d.lists.posMax(seq))))
      return null;
    const nothing = p1 >= 0 && Math.max(p0, 0) >= p1;
    if (nothing && d.facts.legal.no_empty_ranges && d.lists.refusesParts) return null;
    // Without `remove_anywhere` only suffixes and whole sequences may go.
    if (!d.facts.parts && !d.lists.refusesParts && name !== 'suffix') return null;
    d.remove(seq, p0, p1);
    return d.lists.length(seq) === 0 ? 'whole' : name;
  }
  if (!d.facts.refuses('ops.partial')) return null;
  d.calls.push({ op: 'seqRm', seq, p0, p1, refused: 'ops.partial' });
  return 'refused';
}

/** Where the copy would go on with a token that sees what a window has forgotten it is a refused one. */
function copyPart(d: Draft, p0: number, p1: number): string | null {
  const pair = d.pair();
  if (pair === null) return null;
  const [from, to] = pair;
  if (!d.lists.cutsCopy(from, p0, p1)) {
    d.copyTo(from, to, p0, p1);
    return 'ranged copy';
  }
  if (!d.facts.refuses('ops.partial')) return null;
  d.calls.push({ op: 'seqCp', from, to, p0, p1, refused: 'ops.partial' });
  return 'refused';
}

function refuse(d: Draft): string | null {
  const call = refusedOperation(d);
  if (call !== null) d.calls.push(call);
  return call === null ? null : 'refused';
}

/** An operation that is refused in this state, whatever it is; null if the subject is held to none. */
export function refusedOperation(d: Draft): Call | null {
  const { r, lists } = d;
  const beyond = lists.n_seq_max + r.below(3);
  const live = d.live();
  const any = r.below(lists.n_seq_max);
  const ways: (() => Call | null)[] = [
    () => ({ op: 'seqRm', seq: r.chance(0.5) ? beyond : -2, p0: 0, p1: -1, refused: 'ops.seq_id' }),
    () => ({ op: 'seqKeep', seq: r.chance(0.5) ? beyond : -1, refused: 'ops.seq_id' }),
    () => ({ op: 'seqCp', from: beyond, to: any, p0: 0, p1: -1, refused: 'ops.seq_id' }),
    () => ({ op: 'seqCp', from: any, to: beyond, p0: 0, p1: -1, refused: 'ops.seq_id' }),
    () => {
      if (live.length < 2) return null;
      const [from, to] = r.shuffle([...live]);
      return { op: 'seqCp', from: from!, to: to!, p0: 0, p1: -1, refused: 'ops.copy' };
    },
    () => {
      if (!d.facts.moves || live.length === 0) return null;
      const seq = r.pick(live);
      const call = { op: 'seqAdd', seq, p0: 0, p1: -1, by: -1 - lists.posMax(seq) } as const;
      return { ...call, refused: 'ops.range' };
    },
    () => {
      if (live.length === 0) return null;
      const seq = r.pick(live);
      const max = lists.posMax(seq);
      const [p0, p1] = r.chance(0.5) ? [r.between(1, Math.max(1, max)), -1] : [0, max];
      return lists.cuts(seq, p0, p1) ? { op: 'seqRm', seq, p0, p1, refused: 'ops.partial' } : null;
    },
  ];
  for (let tries = 0; tries < 64; tries++) {
    const call = r.pick(ways)();
    if (call !== null && d.facts.refuses((call as { refused: string }).refused)) return call;
  }
  return null;
}

/**
 * A history in the making: lists that say what memory holds, and the calls so far. Everything that it adds is legal by
 * construction: shared tokens go only to sequences that own the same cells, larger sets come before smaller ones, and
 * positions continue (DESIGN "Legal input").
 */
import type { Batch } from '../../contract/batch.ts';
import type { Facts } from '../facts.ts';
import { Lists } from '../lists.ts';
import type { Random } from '../random.ts';
import { relative } from '../token-tree.ts';
import type { Call, MoveCall } from '../types.ts';
import { drawFlags } from './flags.ts';

/** A run of tokens for one set of sequences, and the runs that may follow once it is done. */
interface Run {
  ids: number[];
  left: number;
  after: Run[];
}

/** How the runs of a batch are mixed. */
export type Order = 'concatenated' | 'round-robin' | 'merged';
const ORDERS: readonly Order[] = ['concatenated', 'round-robin', 'merged'];

export class Draft {
  readonly r: Random;
  readonly facts: Facts;
  /** Sequences that the next calls are about; a generator may narrow it for a while. */
  ids: readonly number[];
  readonly lists: Lists;
  /** States that are kept beside the last one of each sequence. */
  readonly n_rs_seq: number;
  readonly calls: Call[] = [];
  /** Most cells that were in use at once. */
  peak = 0;
  /** The path of the token tree that each sequence follows. */
  protected readonly path: number[];

  /** `ids` are the sequences of the history, of 0 .. n_seq_max-1. */
  constructor(
    r: Random,
    facts: Facts,
    ids: readonly number[],
    n_seq_max: number,
    n_rs_seq = drawKept(r, facts),
  ) {
    this.r = r;
    this.facts = facts;
    this.ids = ids;
    this.n_rs_seq = n_rs_seq;
    this.lists = new Lists(n_seq_max, facts, n_rs_seq);
    this.path = new Array<number>(n_seq_max).fill(0);
  }

  /** Tokens that a sequence can still take. */
  room(id: number): number {
    return this.facts.tree.length - 1 - this.lists.posMax(id);
  }

  /** Decodes at most `budget` tokens of some of `among`; answers how many. */
  decode(budget: number, among: readonly number[] = this.ids): number {
    const batch = this.batch(budget, among);
    if (batch === null) return 0;
    this.calls.push({ op: 'decode', batch });
    return batch.token.length;
  }

  /** A legal batch; its tokens are in the lists afterwards. Null if no sequence has room. */
  batch(budget: number, among: readonly number[] = this.ids): Batch | null {
    const ready = this.runs(budget, among);
    if (ready.length === 0) return null;
    const { r } = this;
    const order = r.pick(ORDERS);
    const token: number[] = [];
    const pos: number[] = [];
    const seq_id: (readonly number[])[] = [];
    for (let at = 0; ready.length > 0; ) {
      if (order === 'merged') at = r.below(ready.length);
      else if (at >= ready.length) at = 0;
      const run = ready[at]!;
      const entry = this.lists.append(this.nextToken(run.ids), run.ids);
      token.push(entry.token);
      pos.push(entry.pos);
      seq_id.push(run.ids);
      run.left--;
      if (run.left === 0) {
        ready.splice(at, 1);
        // What follows joins the others at once, so that shared and private tokens of neighbours mix.
        for (const next of run.after) this.start(next, ready);
      } else if (order === 'round-robin') at++;
    }
    this.peak = Math.max(this.peak, this.lists.used);
    this.lists.forget();
    const batch: { -readonly [K in keyof Batch]: Batch[K] } = { token };
    if (!r.chance(0.12)) batch.pos = pos;
    if (seq_id.some((ids) => ids.length > 1 || ids[0] !== 0) || r.chance(0.5)) batch.seq_id = seq_id;
    const logits = drawFlags(r, seq_id);
    if (logits !== null) batch.logits = logits;
    return batch;
  }

  protected start(run: Run, ready: Run[]): void {
    const { r } = this;
    // Members go different ways where the tree forks, so that a key of a neighbour is a different key.
    const first = run.ids[0]!;
    const path =
      this.lists.length(first) === 0 || r.chance(0.7)
        ? relative(r, this.facts.tree, this.path[first]!, this.lists.posMax(first) + 1)
        : this.path[first]!;
    for (const id of run.ids) this.path[id] = path;
    ready.push(run);
  }

  protected nextToken(ids: readonly number[]): number {
    const id = ids[0]!;
    return this.facts.tree.paths[this.path[id]!]![this.lists.posMax(id) + 1]!;
  }

  /** Runs for some of the sequences, within the budget; those that can start are answered. */
  private runs(budget: number, among: readonly number[]): Run[] {
    const { r } = this;
    const ready: Run[] = [];
    let left = budget;
    const take = (id: number): number => {
      const n = Math.min(r.ragged(this.facts.tree.length), this.room(id), left);
      left -= n;
      return n;
    };
    for (const group of r.shuffle(this.groups(among))) {
      if (left <= 0) break;
      if (group.length > 1 && this.facts.shared && r.chance(0.6)) {
        const members = r.shuffle([...group]).slice(0, r.between(2, group.length));
        const n = take(members[0]!);
        if (n > 0) this.start({ ids: members, left: n, after: this.followers(members, n, take) }, ready);
        continue;
      }
      for (const id of group) {
        if (left <= 0 || (group.length > 1 && r.chance(0.3))) continue;
        const n = take(id);
        if (n > 0) this.start({ ids: [id], left: n, after: [] }, ready);
      }
    }
    return ready;
  }

  /** Private runs (or runs of a part) that follow a shared one. */
  private followers(members: readonly number[], shared: number, take: (id: number) => number): Run[] {
    const { r } = this;
    const after: Run[] = [];
    const rest = [...members];
    const clip = (n: number): number => Math.min(n, this.room(members[0]!) - shared);
    if (rest.length > 2 && r.chance(0.3)) {
      const part = rest.splice(0, 2);
      const n = clip(take(part[0]!));
      if (n > 0) after.push({ ids: part, left: n, after: [] });
    }
    for (const id of rest) {
      if (r.chance(0.35)) continue;
      const n = clip(take(id));
      if (n > 0) after.push({ ids: [id], left: n, after: [] });
    }
    return after;
  }

  /** Sequences that own the same cells, together; empty ones sometimes together, sometimes each alone. */
  private groups(among: readonly number[]): number[][] {
    const together = this.r.chance(0.5);
    const groups: number[][] = [];
    for (const id of among) {
      const empty = this.lists.length(id) === 0;
      const home = empty && !together ? undefined : groups.find((g) => this.lists.same(g[0]!, id));
      if (home === undefined) groups.push([id]);
      else home.push(id);
    }
    return groups;
  }

  /** Sequences of the history that hold something, or that hold nothing. */
  live(): number[] {
    return this.ids.filter((id) => this.lists.length(id) > 0);
  }
  idle(): number[] {
    return this.ids.filter((id) => this.lists.length(id) === 0);
  }

  remove(seq: number, p0: number, p1: number): void {
    this.lists.rm(seq, p0, p1);
    this.calls.push({ op: 'seqRm', seq, p0, p1 });
  }

  /** Takes back some of the last tokens of a sequence whose states are kept; false if there is none. */
  rollBack(): boolean {
    const able = this.ids.filter((id) => this.lists.rollback(id) > 0);
    if (able.length === 0) return false;
    const seq = this.r.pick(able);
    const own = this.lists.owned(seq);
    const p0 = own[own.length - this.r.between(1, this.lists.rollback(seq))]!.pos;
    // Where positions were divided, tokens at one position go together or not at all.
    if (this.lists.cuts(seq, p0, -1)) return false;
    this.remove(seq, p0, this.r.chance(0.5) ? -1 : this.lists.posMax(seq) + 1);
    return true;
  }

  /** Copies a live sequence into an idle one; false if there is no such pair. */
  copy(): boolean {
    const pair = this.pair();
    if (pair !== null) this.copyTo(...pair, 0, -1);
    return pair !== null;
  }

  /** A live sequence and an idle one; null if one is missing. */
  pair(): [from: number, to: number] | null {
    const [live, idle] = [this.live(), this.idle()];
    return live.length === 0 || idle.length === 0 ? null : [this.r.pick(live), this.r.pick(idle)];
  }

  copyTo(from: number, to: number, p0: number, p1: number): void {
    this.lists.cp(from, to, p0, p1);
    this.path[to] = this.path[from]!;
    this.calls.push({ op: 'seqCp', from, to, p0, p1 });
  }

  /** Moves positions, if that is legal; false if not. */
  move(call: MoveCall): boolean {
    if (this.lists.moveRefusal(call) !== null) return false;
    // Where all owners of an entry move with it, nobody may share it.
    if (this.facts.legal.moves_all_owners && this.lists.sharedMoves(call) > 0) return false;
    this.lists.move(call);
    this.peak = Math.max(this.peak, this.lists.used);
    this.calls.push(call);
    return true;
  }

  keep(seq: number): void {
    this.lists.keep(seq);
    this.calls.push({ op: 'seqKeep', seq });
  }

  clear(): void {
    this.lists.clear();
    this.calls.push({ op: 'clear' });
  }
}

/** Half of the histories of models whose states are kept ask for it. Draws nothing where there is no choice. */
function drawKept(r: Random, { choices: { n_rs_seq } }: Facts): number {
  return n_rs_seq === undefined || r.chance(0.5) ? 0 : r.pick(n_rs_seq);
}

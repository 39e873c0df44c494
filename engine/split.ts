/**
 * Cuts a batch into ubatches, fast (spec: batching.md 2; DESIGN.md for `whole`). Lay it beside `oracle/split.ts`.
 *
 * Every policy is a walk over the sets of the batch: a set is consumed from its front, in batch order, and a cursor per
 * set says how far. All buffers persist, so that a warm splitter allocates nothing. This is `quirks: 'none'`: a ubatch
 * never has more than n_ubatch tokens, and ties go to the lower batch index.
 */
import type { SplitPolicy, Ubatch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { FlatBatch } from './flat-batch.ts';

export class Splitter {
  n_ubatches = 0;
  /** Batch indices of ubatch u in its order: index[begin[u] .. begin[u+1]). */
  index = new Int32Array(0);
  begin = new Int32Array(1);
  nSeqs = new Int32Array(0);
  nSeqTokens = new Int32Array(0);
  equalSeqs = false;

  #batch!: FlatBatch;
  #done = 0;
  /** By set: tokens consumed so far. */
  #cursor = new Int32Array(0);
  /** Sets in the policy's order of consumption. */
  #order = new Int32Array(0);
  /** Sets of the ubatch in the making, and tokens taken from each. */
  #chosen = new Int32Array(0);
  /** By sequence id: its set (sequential split, where all sets are single). */
  readonly #setOfSeq = new Int32Array(64);

  /** Throws `batch.whole` or `batch.coupled` where the policy cannot cut this batch. */
  split(batch: FlatBatch, policy: SplitPolicy, n_ubatch: number, n_keep_tail: number): void {
    this.#reset(batch);
    switch (policy) {
      case 'simple':
        this.#simple(n_ubatch);
        break;
      case 'equal':
        this.#equal(n_ubatch);
        break;
      case 'equal-batch':
        this.#equalBatch(n_ubatch, n_keep_tail);
        break;
      case 'equal-sequential':
        this.#equalSequential(n_ubatch, n_keep_tail);
        break;
      case 'sequence':
        this.#sequence(n_ubatch);
        break;
      case 'whole':
        this.#whole(n_ubatch);
        break;
    }
  }

  /** Takes over a split that was made elsewhere (white-box use). */
  load(ubatches: readonly Ubatch[]): void {
    this.#reserve(ubatches.reduce((n, ubatch) => n + ubatch.index.length, 0));
    this.n_ubatches = 0;
    this.#done = 0;
    for (const ubatch of ubatches) {
      for (let j = 0; j < ubatch.index.length; j++) this.index[this.#done++] = ubatch.index[j]!;
      this.#close(ubatch.n_seqs, ubatch.n_seq_tokens);
    }
  }

  #reserve(n: number): void {
    if (this.index.length >= n) return;
    const size = Math.max(n, 2 * this.index.length, 64);
    this.index = new Int32Array(size);
    this.begin = new Int32Array(size + 1);
    this.nSeqs = new Int32Array(size);
    this.nSeqTokens = new Int32Array(size);
    this.#cursor = new Int32Array(size);
    this.#order = new Int32Array(size);
    this.#chosen = new Int32Array(size);
  }

  #reset(batch: FlatBatch): void {
    this.#reserve(batch.n_tokens);
    this.#batch = batch;
    this.#cursor.fill(0, 0, batch.n_sets);
    this.#done = 0;
    this.n_ubatches = 0;
    this.begin[0] = 0;
    this.equalSeqs = true;
  }

  #simple(n_ubatch: number): void {
    const n = this.#batch.n_tokens;
    this.equalSeqs = false;
    for (let i = 0; i < n; i++) this.index[i] = i;
    for (let at = 0; at < n; at += n_ubatch) {
      this.#done = Math.min(at + n_ubatch, n);
      this.#close(this.#done - at, 1);
    }
  }

  /** PR 8526: most shared first and alone, then the shortest rest first, all of one length. */
  #equal(n_ubatch: number): void {
    const { n_sets, setSize, n_tokens } = this.#batch;
    const order = this.#order;
    for (let s = 0; s < n_sets; s++) {
      let at = s;
      for (; at > 0 && this.#before(s, order[at - 1]!); at--) order[at] = order[at - 1]!;
      order[at] = s;
    }
    let first = 0;
    while (this.#done < n_tokens) {
      while (this.#rest(order[first]!) === 0) first++;
      const room = Math.min(n_ubatch, n_tokens - this.#done);
      const length = Math.min(this.#rest(order[first]!), room);
      let n = 0;
      for (let i = first; i < n_sets; i++) {
        this.#take(order[i]!, length);
        n++;
        if (setSize[order[i]!]! > 1 || length * (n + 1) > room) break;
      }
      this.#close(n, length);
    }
  }

  /** Order of consumption of `equal`: larger sets, then shorter ones, then by first token. */
  #before(a: number, b: number): boolean {
    const batch = this.#batch;
    if (batch.setSize[a] !== batch.setSize[b]) return batch.setSize[a]! > batch.setSize[b]!;
    const lengthA = batch.lengthOf(a);
    const lengthB = batch.lengthOf(b);
    if (lengthA !== lengthB) return lengthA < lengthB;
    return batch.setTokens[batch.setBegin[a]!]! < batch.setTokens[batch.setBegin[b]!]!;
  }

  /** The newer equal split: disjoint sets in order of their next tokens, in lockstep. */
  #equalBatch(n_ubatch: number, n_keep_tail: number): void {
    const { n_sets, n_tokens, setLo, setHi } = this.#batch;
    const order = this.#order;
    let live = 0;
    for (let s = 0; s < n_sets; s++) order[live++] = s;
    while (this.#done < n_tokens) {
      live = this.#sortLive(live);
      let lo = 0;
      let hi = 0;
      let n = 0;
      for (let i = 0; i < live && n < n_ubatch; i++) {
        const s = order[i]!;
        if ((lo & setLo[s]!) !== 0 || (hi & setHi[s]!) !== 0) continue;
        lo |= setLo[s]!;
        hi |= setHi[s]!;
        this.#chosen[n++] = s;
      }
      this.#lockstep(n, n_ubatch, n_keep_tail);
    }
  }

  /** Drops finished sets from the first `live` of #order and sorts the others by their next token. */
  #sortLive(live: number): number {
    const order = this.#order;
    let kept = 0;
    for (let i = 0; i < live; i++) {
      const s = order[i]!;
      if (this.#rest(s) === 0) continue;
      const next = this.#next(s);
      let at = kept++;
      for (; at > 0 && this.#next(order[at - 1]!) > next; at--) order[at] = order[at - 1]!;
      order[at] = s;
    }
    return kept;
  }

  /** As #equalBatch, with first ids that are consecutive numbers; each next set is looked for behind the last one. */
  #equalSequential(n_ubatch: number, n_keep_tail: number): void {
    const batch = this.#batch;
    if (batch.coupled) {
      throw new IsobatchError(
        'batch.coupled',
        'the split policy equal-sequential cannot cut a batch with shared tokens',
      );
    }
    this.#setOfSeq.fill(-1);
    for (let s = 0; s < batch.n_sets; s++) this.#setOfSeq[batch.setFirst[s]!] = s;
    let front = 0;
    while (this.#done < batch.n_tokens) {
      while (this.#isDone(front)) front++;
      let s = batch.set[front]!;
      let scanned = front;
      let n = 0;
      while (n < n_ubatch) {
        this.#chosen[n++] = s;
        const seq = batch.setFirst[s]! + 1;
        s = seq < 64 ? this.#setOfSeq[seq]! : -1;
        if (s < 0) break;
        scanned = this.#unusedBehind(s, scanned);
        if (scanned < 0) break;
      }
      this.#lockstep(n, n_ubatch, n_keep_tail);
    }
  }

  /** First unused token of set s behind batch index `behind`, or -1. */
  #unusedBehind(s: number, behind: number): number {
    const { setBegin, setTokens } = this.#batch;
    const end = setBegin[s + 1]!;
    let low = setBegin[s]! + this.#cursor[s]!;
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (setTokens[middle]! > behind) high = middle;
      else low = middle + 1;
    }
    return low < end ? setTokens[low]! : -1;
  }

  /** Takes as many tokens of each of the n chosen sets as fit, after the tail rule. */
  #lockstep(n: number, n_ubatch: number, n_keep_tail: number): void {
    const chosen = this.#chosen;
    let length = Math.floor(n_ubatch / n);
    for (let i = 0; i < n; i++) length = Math.min(length, this.#rest(chosen[i]!));
    let kept = n;
    if (n_keep_tail > 0) {
      kept = 0;
      while (kept < n && tailStays(this.#rest(chosen[kept]!) - length, n_keep_tail)) kept++;
      if (kept === 0) {
        kept = 1;
        const rest = this.#rest(chosen[0]!);
        length = rest <= n_ubatch ? rest : rest - n_keep_tail;
      }
    }
    for (let i = 0; i < kept; i++) this.#take(chosen[i]!, length);
    this.#close(kept, length);
  }

  /** One exact set a ubatch, that of the first unused token. */
  #sequence(n_ubatch: number): void {
    const batch = this.#batch;
    let front = 0;
    while (this.#done < batch.n_tokens) {
      while (this.#isDone(front)) front++;
      const s = batch.set[front]!;
      const length = Math.min(this.#rest(s), n_ubatch);
      this.#take(s, length);
      this.#close(1, length);
    }
  }

  /** Uncut sets of one length; a set does not overtake an earlier one that it overlaps. */
  #whole(n_ubatch: number): void {
    const { n_sets, n_tokens, setLo, setHi } = this.#batch;
    for (let s = 0; s < n_sets; s++) this.#checkFits(s, n_ubatch);
    let front = 0;
    while (this.#done < n_tokens) {
      while (this.#rest(front) === 0) front++;
      const length = this.#rest(front);
      let lo = 0;
      let hi = 0;
      let n = 0;
      for (let s = front; s < n_sets && (n + 1) * length <= n_ubatch; s++) {
        const rest = this.#rest(s);
        if (rest === 0) continue;
        if (rest === length && (lo & setLo[s]!) === 0 && (hi & setHi[s]!) === 0) {
          this.#take(s, length);
          n++;
        }
        lo |= setLo[s]!;
        hi |= setHi[s]!;
      }
      this.#close(n, length);
    }
  }

  #checkFits(s: number, n_ubatch: number): void {
    const length = this.#batch.lengthOf(s);
    if (length <= n_ubatch) return;
    const first = this.#batch.setFirst[s]!;
    throw new IsobatchError(
      'batch.whole',
      `sequence ${first} has ${length} tokens in the batch, more than n_ubatch = ${n_ubatch}, and policy whole does not cut it`,
      { seq: first, length, n_ubatch },
    );
  }

  #rest(s: number): number {
    const begin = this.#batch.setBegin;
    return begin[s + 1]! - begin[s]! - this.#cursor[s]!;
  }

  /** Batch index of the next token of a set that is not finished. */
  #next(s: number): number {
    return this.#batch.setTokens[this.#batch.setBegin[s]! + this.#cursor[s]!]!;
  }

  #isDone(i: number): boolean {
    const s = this.#batch.set[i]!;
    return this.#rest(s) === 0 || this.#next(s) > i;
  }

  #take(s: number, length: number): void {
    const { setBegin, setTokens } = this.#batch;
    const from = setBegin[s]! + this.#cursor[s]!;
    for (let j = 0; j < length; j++) this.index[this.#done++] = setTokens[from + j]!;
    this.#cursor[s] = this.#cursor[s]! + length;
  }

  #close(n_seqs: number, n_seq_tokens: number): void {
    const u = this.n_ubatches++;
    this.nSeqs[u] = n_seqs;
    this.nSeqTokens[u] = n_seq_tokens;
    this.begin[u + 1] = this.#done;
    if (this.begin[u + 1]! - this.begin[u]! !== n_seqs * n_seq_tokens) {
      throw new IsobatchError('internal', `ubatch ${u} is not ${n_seqs} sets of ${n_seq_tokens} tokens`);
    }
  }
}

/** What is left of a set may stay for later if it is nothing or a whole tail. */
function tailStays(rest: number, n_keep_tail: number): boolean {
  return rest === 0 || rest >= n_keep_tail;
}

/**
 * A complete batch in flat, reused buffers: the form in which splitter, allocators and plans read it. Distinct
 * sequence sets are numbered in order of appearance, and the tokens of each set are listed in batch order, which is
 * what every split walks along.
 */
import { firstOf, hiOf, loOf, sizeOf } from './sets.ts';

export class FlatBatch {
  n_tokens = 0;
  n_outputs = 0;
  n_sets = 0;
  /** Some token belongs to several sequences. */
  coupled = false;

  token = new Int32Array(0);
  pos = new Int32Array(0);
  /** Number of the token's set. */
  set = new Int32Array(0);
  /** 1 if the token is an output. */
  output = new Uint8Array(0);
  /** Row of the token in the caller's outputs; only meaningful where output is 1. */
  outputRow = new Int32Array(0);

  setLo = new Int32Array(0);
  setHi = new Int32Array(0);
  /** Number of ids, and the first-listed (smallest) id. */
  setSize = new Int32Array(0);
  setFirst = new Int32Array(0);
  /** Tokens of set s are setTokens[setBegin[s] .. setBegin[s+1]), batch indices ascending. */
  setBegin = new Int32Array(1);
  setTokens = new Int32Array(0);

  /** Open-addressing table from masks to set numbers, one more than the number, 0 = free. */
  #slots = new Int32Array(0);
  #used = new Int32Array(0);

  /** Makes room for n tokens; contents are undefined afterwards. */
  reserve(n: number): void {
    if (n <= this.token.length) return;
    const size = Math.max(n, 2 * this.token.length, 64);
    this.token = new Int32Array(size);
    this.pos = new Int32Array(size);
    this.set = new Int32Array(size);
    this.output = new Uint8Array(size);
    this.outputRow = new Int32Array(size);
    this.setLo = new Int32Array(size);
    this.setHi = new Int32Array(size);
    this.setSize = new Int32Array(size);
    this.setFirst = new Int32Array(size);
    this.setBegin = new Int32Array(size + 1);
    this.setTokens = new Int32Array(size);
    let table = 64;
    while (table < 2 * size) table *= 2;
    this.#slots = new Int32Array(table);
    this.#used = new Int32Array(size);
  }

  /** Starts a batch of n tokens: no sets yet. */
  begin(n: number): void {
    for (let s = 0; s < this.n_sets; s++) this.#slots[this.#used[s]!] = 0;
    this.n_sets = 0;
    this.reserve(n);
    this.n_tokens = n;
    this.n_outputs = 0;
    this.coupled = false;
  }

  /** Number of the set with these masks, a new one if it did not occur yet. */
  intern(lo: number, hi: number): number {
    const mask = this.#slots.length - 1;
    let at = ((Math.imul(lo, 0x9e3779b1) ^ Math.imul(hi, 0x85ebca6b)) >>> 7) & mask;
    for (;;) {
      const found = this.#slots[at]! - 1;
      if (found < 0) break;
      if (this.setLo[found] === lo && this.setHi[found] === hi) return found;
      at = (at + 1) & mask;
    }
    const s = this.n_sets++;
    this.#slots[at] = s + 1;
    this.#used[s] = at;
    this.setLo[s] = lo;
    this.setHi[s] = hi;
    this.setSize[s] = sizeOf(lo, hi);
    this.setFirst[s] = firstOf(lo, hi);
    if (this.setSize[s]! > 1) this.coupled = true;
    return s;
  }

  /** Interns a list of ids. */
  internIds(ids: readonly number[]): number {
    let lo = 0;
    let hi = 0;
    for (let j = 0; j < ids.length; j++) {
      lo |= loOf(ids[j]!);
      hi |= hiOf(ids[j]!);
    }
    return this.intern(lo, hi);
  }

  /** Call when token, pos, set and output are filled: lists tokens by set and numbers the outputs in batch order. */
  finish(): void {
    const { n_tokens, n_sets, set, setBegin, setTokens, output, outputRow } = this;
    setBegin.fill(0, 0, n_sets + 1);
    let rows = 0;
    for (let i = 0; i < n_tokens; i++) {
      setBegin[set[i]! + 1]!++;
      if (output[i] !== 0) outputRow[i] = rows++;
    }
    this.n_outputs = rows;
    for (let s = 0; s < n_sets; s++) setBegin[s + 1]! += setBegin[s]!;
    for (let i = 0; i < n_tokens; i++) setTokens[setBegin[set[i]!]!++] = i;
    for (let s = n_sets; s > 0; s--) setBegin[s] = setBegin[s - 1]!;
    setBegin[0] = 0;
  }

  lengthOf(s: number): number {
    return this.setBegin[s + 1]! - this.setBegin[s]!;
  }
}

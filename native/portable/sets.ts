/**
 * Equal sets of tokens, row s * tokens + t being token t of set s. Each of the last `kept` tokens of a set leaves a state
 * of its own: a set has kept + 1 parts, the last of one token each, and each part has an old state and a new one.
 */
export class Sets {
  /** Parts of all sets, in order. */
  readonly parts: number;
  readonly #tokens: number;
  readonly #kept: number;

  constructor(seqs: number, tokens: number, kept: number) {
    this.parts = seqs * (kept + 1);
    this.#tokens = tokens;
    this.#kept = kept;
  }

  /** Row of the first token of a part. */
  row(part: number): number {
    const j = part % (this.#kept + 1);
    const first = Math.floor(part / (this.#kept + 1)) * this.#tokens;
    return j === 0 ? first : first + this.#tokens - this.#kept + j - 1;
  }

  /** Tokens of a part. */
  length(part: number): number {
    return part % (this.#kept + 1) === 0 ? this.#tokens - this.#kept : 1;
  }
}

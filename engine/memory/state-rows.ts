/**
 * In which row of the cache the state of each slot lies. Where a batch can fail, a slot has two rows, `slot` and
 * `slot + n_slots`, and the first time that a batch writes its state, it writes the row that is not in use. So the old
 * states are still there until the batch is done, and neither a batch that fails nor one that does not copies any.
 */
export class StateRows {
  /** Row of each slot. */
  readonly #row: Int32Array;
  readonly #spare: boolean;
  /** Slots that this batch has written, and a flag for each. */
  readonly #list: Int32Array;
  #n_written = 0;
  readonly #written: Uint8Array;

  /** `spare`: there are two rows a slot. */
  constructor(n_slots: number, spare: boolean) {
    this.#row = Int32Array.from({ length: n_slots }, (_, slot) => slot);
    this.#spare = spare;
    this.#list = new Int32Array(n_slots);
    this.#written = new Uint8Array(n_slots);
  }

  /** A batch begins: what was written before stays. */
  begin(): void {
    for (let j = 0; j < this.#n_written; j++) this.#written[this.#list[j]!] = 0;
    this.#n_written = 0;
  }

  /** Where the state of a slot lies now. */
  of(slot: number): number {
    return this.#row[slot]!;
  }

  /** Whether a new state of this slot would go to the very row in which the old one lies. */
  overwrites(slot: number): boolean {
    return !this.#spare || this.#written[slot] === 1;
  }

  /** The row that the new state of a slot goes to; it lies there from now on. */
  write(slot: number): number {
    if (!this.overwrites(slot)) {
      this.#flip(slot);
      this.#written[slot] = 1;
      this.#list[this.#n_written++] = slot;
    }
    return this.#row[slot]!;
  }

  /** The states are those that the batch began with. Only with spare rows. */
  rollback(): void {
    for (let j = 0; j < this.#n_written; j++) this.#flip(this.#list[j]!);
    this.begin();
  }

  #flip(slot: number): void {
    this.#row[slot] = this.#row[slot] === slot ? slot + this.#row.length : slot;
  }
}

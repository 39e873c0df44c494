/**
 * A `llama_batch` in native memory, filled from a batch record. Fields that the record leaves out are null, so that the
 * library completes them itself, where the release does that as today's do.
 */
import koffi from 'koffi';
import type { Batch } from '../../../contract/batch.ts';
import { BATCH_BYTES } from './layout.ts';

export class NativeBatch {
  readonly struct = new BigUint64Array(BATCH_BYTES / 8);
  /** Tokens, and sequence ids of all tokens together, that there is room for. */
  #capacity = 0;
  #idCapacity = 0;
  #memory: unknown[] = [];
  #token!: Int32Array;
  #pos!: Int32Array;
  #n_seq_id!: Int32Array;
  #seq_id!: BigUint64Array;
  #ids!: Int32Array;
  #idsAt = 0n;
  #logits!: Uint8Array;
  #addresses!: Record<'token' | 'pos' | 'n_seq_id' | 'seq_id' | 'logits', bigint>;

  /** Fills the struct. `pos` is what the batch says, or what the caller completed; null leaves it to the library. */
  fill(batch: Batch, pos: readonly number[] | null): void {
    const n = batch.token.length;
    const n_ids = batch.seq_id?.reduce((sum, ids) => sum + ids.length, 0) ?? 0;
    if (this.#memory.length === 0 || n > this.#capacity || n_ids > this.#idCapacity)
      this.#grow(Math.max(64, 2 * n, this.#capacity), Math.max(64, 2 * n_ids, this.#idCapacity));
    this.#token.set(batch.token);
    if (pos !== null) this.#pos.set(pos);
    if (batch.seq_id !== undefined) {
      let at = 0;
      for (let i = 0; i < n; i++) {
        const ids = batch.seq_id[i]!;
        this.#n_seq_id[i] = ids.length;
        this.#ids.set(ids, at);
        this.#seq_id[i] = this.#idsAt + BigInt(4 * at);
        at += ids.length;
      }
      this.#seq_id[n] = 0n; // llama_batch_init ends the list like this
    }
    if (batch.logits !== undefined) for (let i = 0; i < n; i++) this.#logits[i] = batch.logits[i] ? 1 : 0;
    const { token, pos: posAt, n_seq_id, seq_id, logits } = this.#addresses;
    const s = this.struct;
    s.fill(0n);
    s[0] = BigInt(n);
    s[1] = token;
    s[3] = pos === null ? 0n : posAt;
    s[4] = batch.seq_id === undefined ? 0n : n_seq_id;
    s[5] = batch.seq_id === undefined ? 0n : seq_id;
    s[6] = batch.logits === undefined ? 0n : logits;
    // all_pos_0 = 0, all_pos_1 = 1, all_seq_id = 0: what the oldest release completes missing fields with.
    s[7] = 1n << 32n;
  }

  #take(bytes: number): [bigint, ArrayBuffer] {
    const memory = koffi.alloc('uint8_t', bytes);
    this.#memory.push(memory);
    return [koffi.address(memory), koffi.view(memory, bytes)];
  }

  #grow(capacity: number, idCapacity: number): void {
    this.free();
    this.#capacity = capacity;
    this.#idCapacity = idCapacity;
    const [token, tokenView] = this.#take(4 * capacity);
    const [pos, posView] = this.#take(4 * capacity);
    const [n_seq_id, n_seq_idView] = this.#take(4 * capacity);
    const [seq_id, seq_idView] = this.#take(8 * (capacity + 1));
    const [ids, idsView] = this.#take(4 * idCapacity);
    const [logits, logitsView] = this.#take(capacity);
    this.#token = new Int32Array(tokenView);
    this.#pos = new Int32Array(posView);
    this.#n_seq_id = new Int32Array(n_seq_idView);
    this.#seq_id = new BigUint64Array(seq_idView);
    this.#ids = new Int32Array(idsView);
    this.#idsAt = ids;
    this.#logits = new Uint8Array(logitsView);
    this.#addresses = { token, pos, n_seq_id, seq_id, logits };
  }

  free(): void {
    for (const memory of this.#memory) koffi.free(memory);
    this.#memory = [];
    this.#capacity = 0;
    this.#idCapacity = 0;
  }
}

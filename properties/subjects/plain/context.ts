/** A context of the plain subject: validates a call, does it token by token, and undoes it if it cannot be done. */
import type { Batch, CompleteBatch, Pos, SeqId } from '../../../contract/batch.ts';
import { SPLIT_POLICIES } from '../../../contract/batch.ts';
import { IsobatchError } from '../../../contract/errors.ts';
import {
  type ContextParams,
  type DecodeResult,
  type ModelInfo,
  rowWidth,
  type SubjectContext,
} from '../../../contract/subject.ts';
import { accept } from './batch.ts';
import type { DroppedKey } from './deviation.ts';
import type { Forward } from './forward.ts';
import { Memory } from './memory.ts';

/** Throws `params`. */
export function checkParams(params: ContextParams): void {
  const fail = (what: string): never => {
    throw new IsobatchError('params', what, { params });
  };
  for (const name of ['n_ctx', 'n_batch', 'n_ubatch', 'n_seq_max'] as const) {
    const value = params[name];
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 31 - 1)
      fail(`${name} is ${value}; it must be a whole number from 1 to 2^31 - 1`);
  }
  const { split, n_keep_tail = 0, type_kv = 'F32' } = params;
  if (!SPLIT_POLICIES.includes(split)) fail(`the split policy ${split} is not known`);
  if (!Number.isInteger(n_keep_tail) || n_keep_tail < 0)
    fail(`n_keep_tail is ${n_keep_tail}; it must be a whole number from 0 on`);
  if (type_kv !== 'F32' && type_kv !== 'F16') fail(`type_kv is ${type_kv}; it must be F32 or F16`);
}

export class PlainContext implements SubjectContext {
  readonly #forward: Forward;
  readonly #params: ContextParams;
  readonly #n_vocab: number;
  readonly #width: number;
  readonly #memory: Memory;
  readonly #dropped: DroppedKey | null;

  constructor(forward: Forward, params: ContextParams, model: ModelInfo, dropped: DroppedKey | null) {
    this.#forward = forward;
    this.#params = { ...params };
    this.#n_vocab = model.n_vocab;
    this.#width = rowWidth(model, params);
    this.#memory = new Memory(params.n_seq_max, forward.memory);
    this.#dropped = dropped;
  }

  decode(batch: Batch): DecodeResult {
    const complete = accept(batch, this.#memory, this.#params, this.#n_vocab);
    this.#checkRoom(complete.token.length);
    const before = this.#memory.snapshot();
    try {
      return this.#evaluate(complete);
    } catch (error) {
      this.#memory.restore(before);
      throw error;
    }
  }

  #checkRoom(n_tokens: number): void {
    if (this.#forward.memory !== 'attention') return;
    const [used, { n_ctx }] = [this.#memory.used(), this.#params];
    if (used + n_tokens > n_ctx)
      throw new IsobatchError('memory.full', `${n_tokens} tokens; ${used} of ${n_ctx} cells are in use`, {
        n_tokens,
        used,
        n_ctx,
      });
  }

  /** In the order of the batch; so are the rows. */
  #evaluate({ token, pos, seq_id, logits }: CompleteBatch): DecodeResult {
    const { type_kv = 'F32', embeddings = false } = this.#params;
    const n_outputs = logits.filter(Boolean).length;
    const rows = new Float32Array(n_outputs * this.#width);
    let row = 0;
    for (let i = 0; i < token.length; i++) {
      const ids = seq_id[i]!;
      const before = this.#memory.list(ids[0]!);
      const at = row * this.#width;
      const out = logits[i] ? rows.subarray(at, at + this.#width) : null;
      const missing = this.#dropped?.next(before.length, out !== null) ?? null;
      const step = { token: token[i]!, pos: pos[i]!, before, type_kv, missing, embeddings };
      const entry = this.#forward.step(step, out);
      this.#memory.append(entry, ids);
      if (out !== null) row++;
    }
    return { n_outputs, logits: rows };
  }

  seqRm(seq: SeqId, p0: Pos, p1: Pos): void {
    this.#memory.rm(seq, p0, p1);
  }

  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): void {
    this.#memory.cp(from, to, p0, p1);
  }

  seqKeep(seq: SeqId): void {
    this.#memory.keep(seq);
  }

  clear(): void {
    this.#memory.clear();
  }

  seqPosMin(seq: SeqId): Pos {
    return this.#memory.posMin(seq);
  }

  seqPosMax(seq: SeqId): Pos {
    return this.#memory.posMax(seq);
  }

  close(): void {
    this.#memory.clear();
  }
}

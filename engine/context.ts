/**
 * One context of the engine: the way of a batch through the house. Validate, split, and for each ubatch place it in
 * memory, fill the index space and run the plan in one native call; outputs land in the caller's order at once. After
 * warm-up a decode allocates no buffer. A call that fails leaves everything as it was.
 */
import type { Batch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams, DecodeResult, SubjectContext } from '../contract/subject.ts';
import { DIM, type Kernels, N_DIMS, pad16, type Memory as Spaces, STATUS, TYPE } from '../native/plan.ts';
import { BatchReader } from './batch.ts';
import { FlatBatch } from './flat-batch.ts';
import {
  type AttentionIndex,
  type BuiltPlan,
  type IndexLayout,
  indexLayout,
  type Network,
} from './layout.ts';
import type { Memory, Move, MovedRows, UbatchTarget } from './memory/memory.ts';
import { openMemory } from './memory/open.ts';
import { ubatchOutputs } from './outputs.ts';
import { Splitter } from './split.ts';

export interface ContextModel {
  readonly network: Network;
  readonly n_vocab: number;
  /** Numbers of an answer's row. */
  readonly width: number;
}

export class EngineContext implements SubjectContext {
  readonly memory: Memory;
  readonly splitter = new Splitter();
  readonly batch = new FlatBatch();

  readonly #model: ContextModel;
  readonly #params: ContextParams;
  readonly #kernels: Kernels;
  readonly #reader = new BatchReader();
  readonly #built: BuiltPlan;
  readonly #layout: IndexLayout;
  /** Most tokens of a ubatch. */
  readonly #tokens: number;
  readonly #dims = new Int32Array(N_DIMS);
  readonly #spaces: Spaces & UbatchTarget;
  readonly #limits: { n_vocab: number; n_batch: number; n_seq_max: number };
  /** Results by number of rows, so that a repeated shape allocates nothing. */
  #results: DecodeResult[] = [];
  #open = true;

  /** `params` are legal (`checkParams`). */
  constructor(model: ContextModel, params: ContextParams, kernels: Kernels) {
    const { network } = model;
    this.#model = model;
    this.#params = params;
    this.#kernels = kernels;
    this.#limits = { n_vocab: model.n_vocab, n_batch: params.n_batch, n_seq_max: params.n_seq_max };
    const tokens = Math.min(params.n_ubatch, params.n_batch);
    const { n_ctx, n_batch, n_seq_max, n_rs_seq = 0 } = params;
    const sizes = { tokens, n_ctx, n_batch, n_seq_max, n_rs_seq };
    this.#tokens = tokens;
    this.#layout = indexLayout(network.caches, sizes);
    this.memory = openMemory(this.#layout.caches, n_batch);
    const typeKv = params.type_kv === 'F16' ? TYPE.F16 : TYPE.F32;
    this.#built = network.build({ ...sizes, typeKv, index: this.#layout });
    this.#spaces = {
      weights: network.weights,
      act: new Float32Array(this.#built.actWords),
      cache: new Uint8Array(this.#built.cacheBytes),
      index: new Int32Array(this.#layout.end + 256),
      indexEnd: this.#layout.end,
      out: new Float32Array(model.width),
      dims: this.#dims,
    };
  }

  decode(batch: Batch): DecodeResult {
    this.#checkOpen();
    this.#reader.read(batch, this.memory, this.#limits, this.batch);
    this.splitter.split(this.batch, this.#params.split, this.#params.n_ubatch, this.#params.n_keep_tail ?? 0);
    this.memory.begin(this.batch);
    const result = this.#resultOf(this.batch.n_outputs);
    for (let u = 0; u < this.splitter.n_ubatches; u++) {
      this.#fill(u);
      const status = this.#kernels.run(this.#built.plan, this.#built.n_ops, this.#dims, this.#spaces);
      if (status !== 0) this.#fail(status, u);
    }
    this.memory.commit(this.batch);
    return result;
  }

  /** A model without memory has nothing but an encoder. Throws `params` for any other. */
  encode(batch: Batch): DecodeResult {
    if (this.#model.network.caches.some(({ kind }) => kind !== 'ubatch'))
      throw new IsobatchError('params', 'this model has no encoder');
    return this.decode(batch);
  }

  /** Everything that ubatch u changes: dims, ids, rotary rows, output rows, and what memory says. */
  #fill(u: number): void {
    const { batch, splitter } = this;
    const begin = splitter.begin[u]!;
    const n = splitter.begin[u + 1]! - begin;
    this.#dims[DIM.tokens] = n;
    this.#dims[DIM.seqs] = splitter.nSeqs[u]!;
    this.#dims[DIM.seq_tokens] = splitter.nSeqTokens[u]!;
    this.#spaces.indexEnd = this.#layout.end;
    this.memory.place(batch, splitter, u, this.#spaces);
    const { index, act } = this.#spaces;
    for (let j = 0; j < n; j++) index[this.#layout.tokenIds + j] = batch.token[splitter.index[begin + j]!]!;
    const { tables } = this.#model.network;
    for (let t = 0; t < tables.length; t++) {
      const rows = this.#built.tableRows[t]!;
      const stride = pad16(tables[t]!.width);
      for (let j = 0; j < n; j++) {
        tables[t]!.copyRow(batch.pos[splitter.index[begin + j]!]!, act, rows + j * stride);
      }
    }
    const { outIds, outRows } = this.#layout;
    this.#dims[DIM.outputs] = ubatchOutputs(batch, splitter, u, index, outIds, index, outRows);
  }

  /** Room for n output rows, and the view of it that is handed out. */
  #resultOf(n: number): DecodeResult {
    const { width } = this.#model;
    if (this.#spaces.out.length < n * width) {
      this.#spaces.out = new Float32Array(Math.max(n * width, 2 * this.#spaces.out.length));
      this.#results = [];
    }
    const known = this.#results[n];
    if (known !== undefined) return known;
    const result = { n_outputs: n, logits: this.#spaces.out.subarray(0, n * width) };
    this.#results[n] = result;
    return result;
  }

  /** Undoes the batch and says why. */
  #fail(status: number, u: number): never {
    this.memory.rollback();
    const code = status & 0xff;
    if (code === STATUS.kvOverflow) {
      throw new IsobatchError(
        'memory.overflow',
        `a key or value of ubatch ${u} does not fit ${this.#params.type_kv ?? 'F32'}`,
        { ubatch: u },
      );
    }
    throw new IsobatchError('internal', `kernel call ${status >> 8} failed with code ${code}`, { status });
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.#checkOpen();
    if (seq !== -1) this.#checkSeq(seq);
    checkRange(p0, p1);
    this.memory.checkRm(seq, p0, p1);
    this.memory.seqRm(seq, p0, p1);
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.#checkOpen();
    this.#checkSeq(from);
    this.#checkSeq(to);
    checkRange(p0, p1);
    if (from === to) return;
    const held = this.memory.posMax(to);
    if (held >= 0) {
      throw new IsobatchError(
        'ops.copy',
        `sequence ${to} is not empty (it ends at position ${held}), so nothing can be copied into it`,
        { from, to },
      );
    }
    this.memory.checkCp(from, to, p0, p1);
    this.memory.seqCp(from, to, p0, p1);
  }

  seqAdd(seq: number, p0: number, p1: number, delta: number): void {
    if (!Number.isInteger(delta)) throw new IsobatchError('ops.range', `${delta} is no step`, { delta });
    this.#move(seq, { p0, p1, to: (pos) => pos + delta });
  }

  seqDiv(seq: number, p0: number, p1: number, divisor: number): void {
    if (!Number.isInteger(divisor) || divisor < 1)
      throw new IsobatchError('ops.range', `${divisor} is no divisor: it must be at least 1`, { divisor });
    this.#move(seq, { p0, p1, to: (pos) => Math.floor(pos / divisor) });
  }

  /** Rows first, then the books, which nothing can refuse any more. */
  #move(seq: number, move: Move): void {
    this.#checkOpen();
    this.#checkSeq(seq);
    checkRange(move.p0, move.p1);
    const undo: (() => void)[] = [];
    this.memory.checkMove(seq, move);
    for (const rows of this.memory.planMove(seq, move)) {
      const status = this.#moveRows(rows, undo);
      if (status === 0) continue;
      for (const back of undo) back();
      throw new IsobatchError(
        'memory.overflow',
        `a key does not fit ${this.#params.type_kv} when it is turned`,
      );
    }
    this.memory.move(seq, move);
  }

  /** Copies and turns rows of one cache; `undo` gets what puts the turned ones back. Answers a status of the kernels. */
  #moveRows({ cache, from, to, delta }: MovedRows, undo: (() => void)[]): number {
    const { kept, shift } = this.#built.caches[cache]!;
    const bytes = this.#spaces.cache;
    for (const { at, bytes: n, turned } of kept)
      for (const [j, row] of to.entries()) {
        const [source, target] = [at + from[j]! * n, at + row * n];
        if (source !== target) bytes.copyWithin(target, source, source + n);
        else if (turned) {
          const before = bytes.slice(target, target + n);
          undo.push(() => bytes.set(before, target));
        }
      }
    if (shift === undefined) return 0;
    const index = this.#layout.caches[cache] as AttentionIndex;
    const tokens = this.#tokens;
    for (let first = 0; first < to.length; first += tokens) {
      const n = Math.min(tokens, to.length - first);
      for (let j = 0; j < n; j++) {
        this.#spaces.index[index.cells + j] = to[first + j]!;
        this.#turnRows(j, delta[first + j]!);
      }
      this.#dims[DIM.tokens] = n;
      const status = this.#kernels.run(shift.plan, shift.n_ops, this.#dims, this.#spaces);
      if (status !== 0) return status;
    }
    return 0;
  }

  /** Row j of every table: a step of delta. */
  #turnRows(j: number, delta: number): void {
    for (const [t, table] of this.#model.network.tables.entries())
      table.copyTurn(delta, this.#spaces.act, this.#built.tableRows[t]! + j * pad16(table.width));
  }

  seqKeep(seq: number): void {
    this.#checkOpen();
    this.#checkSeq(seq);
    this.memory.seqKeep(seq);
  }

  clear(): void {
    this.#checkOpen();
    this.memory.clear();
  }

  seqPosMin(seq: number): number {
    this.#checkOpen();
    this.#checkSeq(seq);
    return this.memory.posMin(seq);
  }

  seqPosMax(seq: number): number {
    this.#checkOpen();
    this.#checkSeq(seq);
    return this.memory.posMax(seq);
  }

  close(): void {
    this.#open = false;
  }

  #checkOpen(): void {
    if (!this.#open) throw new IsobatchError('internal', 'the context is closed');
  }

  #checkSeq(seq: number): void {
    if (Number.isInteger(seq) && seq >= 0 && seq < this.#params.n_seq_max) return;
    throw new IsobatchError('ops.seq_id', `sequence ${seq} is not in 0..${this.#params.n_seq_max - 1}`, {
      seq,
    });
  }
}

function checkRange(p0: number, p1: number): void {
  if (Number.isInteger(p0) && Number.isInteger(p1)) return;
  throw new IsobatchError('ops.range', `[${p0}, ${p1}) is not a range of positions`, { p0, p1 });
}

/**
 * A subject for tests of the properties: its logits are hashes of the tokens that a query sees, kept in naive lists,
 * so they are right by construction and cost nothing; and it can be told to make one mistake. Not part of the product.
 */
import type { Batch, CompleteBatch, MemoryKind } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type {
  ContextParams,
  DecodeResult,
  Subject,
  SubjectContext,
  SubjectModel,
} from '../contract/subject.ts';
import { completeBatch } from '../oracle/batch.ts';
import { oracleWhite } from '../oracle/white.ts';
import { Lists } from './lists.ts';
import { mix32 } from './random.ts';
import { refusalOf } from './trace.ts';
import type { Call, Env, MoveCall, Outcome, Property } from './types.ts';

/** Mistakes that it can make. */
export const FAKE_FAULTS = [
  /** A query sees the last token of the sequence before it in the batch. */
  'leak',
  /** Rows of outputs are in order of execution, as the split has it. */
  'unsorted-rows',
  /** The second ubatch of a batch does not see the first one's last token. */
  'ubatch-edge',
  /** What a sequence says depends on its id. */
  'id',
  /** The first token of a new batch does not see the token before it. */
  'batch-edge',
  /** A shared token lands in its first sequence with another content than in the others. */
  'shared',
  /** A copy shares its source: a later token of the copy is seen by the source as well. */
  'copy',
  /** Removing a whole sequence leaves its first token behind for whoever comes next. */
  'stale',
  /** clear() forgets one sequence. */
  'clear',
  /** Removing a suffix leaves one position too many. */
  'suffix',
  /** Moving a shared entry moves it for all that own it. */
  'move-all',
  /** The key of a moved entry is turned once too often where the batch after it has several tokens. */
  'late-turn',
  /** A refused batch has already taken its first token. */
  'not-atomic',
  /** With more than a few cells in use the content of the oldest is lost. */
  'placement',
  /** A gap in positions is accepted. */
  'accepts-gap',
  /** A batch with a shared token of three or more sequences is refused. */
  'refuses-shared',
  /** NaN in one logit of one row. */
  'nan',
  /** An embedding (logits are right) is that of the row before it. */
  'embedding',
] as const;
export type FakeFault = (typeof FAKE_FAULTS)[number];

const N_VOCAB = 16;
const N_EMBD = 6;

interface State {
  /** Hash of all that the sequence has seen. */
  hash: number;
}

class FakeContext implements SubjectContext {
  private lists: Lists;
  /** Content of an entry: what was seen when it was evaluated. */
  private readonly content = new Map<object, State>();
  private readonly left = new Map<number, number>();
  private readonly turned = new Set<object>();
  private readonly params: ContextParams;
  private readonly memory: MemoryKind;
  private readonly fault: FakeFault | null;

  constructor(params: ContextParams, memory: MemoryKind, fault: FakeFault | null) {
    this.params = params;
    this.memory = memory;
    this.fault = fault;
    this.lists = new Lists(params.n_seq_max, memory);
  }

  decode(batch: Batch): DecodeResult {
    const complete = this.accept(batch);
    const ubatches = oracleWhite.split(complete, { ...this.params, policy: this.params.split });
    const rows = new Map<number, number>();
    let done = 0;
    ubatches.forEach(({ index }, u) => {
      index.forEach((i, k) => {
        const edge =
          (this.fault === 'ubatch-edge' && u > 0 && k === 0) ||
          (this.fault === 'batch-edge' &&
            u === 0 &&
            k === 0 &&
            this.lists.posMax(complete.seq_id[i]![0]!) > 2);
        rows.set(i, this.evaluate(complete, i, edge));
        done++;
      });
    });
    if (done !== complete.token.length) throw new IsobatchError('internal', 'tokens were lost');
    return this.answer(complete, rows);
  }

  /** Validation, with the kinds of the real rules. */
  private accept(batch: Batch): CompleteBatch {
    const { fault } = this;
    const call: Call = { op: 'decode', batch };
    const kind = refusalOf(this.lists, call, { params: this.params, calls: [] }, N_VOCAB);
    const shared = batch.seq_id?.some((ids) => ids.length > 2) ?? false;
    const refused = fault === 'refuses-shared' && kind === null && shared ? 'batch.shared' : kind;
    if (refused !== null) {
      if (fault === 'not-atomic' && batch.token.length > 0) this.lists.append(batch.token[0]!, [0]);
      if (fault === 'accepts-gap' && refused === 'batch.position') {
        const { pos: _, ...rest } = batch;
        return this.accept(rest);
      }
      throw new IsobatchError(refused as 'batch.empty', `refused: ${refused}`);
    }
    const limits = { n_vocab: N_VOCAB, n_batch: this.params.n_batch, n_seq_max: this.params.n_seq_max };
    return completeBatch(batch, this.lists, limits);
  }

  /** Appends a token; answers the hash of what its query sees. */
  private evaluate(batch: CompleteBatch, i: number, edge: boolean): number {
    const { fault } = this;
    const ids = batch.seq_id[i]!;
    const seq = ids[0]!;
    let hash = 1;
    const seen = this.lists.owned(seq);
    const skip = fault === 'placement' && this.lists.used > 24 ? 1 : 0;
    for (let k = skip; k < seen.length - (edge ? 1 : 0); k++) hash = mix32(hash ^ this.contentOf(seen[k]!));
    if (fault === 'late-turn' && batch.token.length > 1 && seen.some((entry) => this.turned.has(entry)))
      hash = mix32(hash);
    const stale = seen.length === 0 ? this.left.get(seq) : undefined;
    if (stale !== undefined) hash = mix32(hash ^ stale);
    if (fault === 'id') hash = mix32(hash + (seq === 3 ? 1 : 0));
    if (fault === 'leak' && i > 0 && !batch.seq_id[i - 1]!.includes(seq))
      hash = mix32(hash ^ batch.token[i - 1]!);
    hash = mix32(hash ^ (batch.token[i]! + 1));
    const entry = this.lists.append(batch.token[i]!, ids);
    this.content.set(entry, { hash: fault === 'shared' && ids.length > 1 ? mix32(hash) : hash });
    return hash;
  }

  private contentOf(entry: object): number {
    return this.content.get(entry)?.hash ?? 7;
  }

  private answer(batch: CompleteBatch, rows: ReadonlyMap<number, number>): DecodeResult {
    const order = this.fault === 'unsorted-rows' ? [...rows.keys()] : batch.token.map((_, i) => i);
    const outputs = order.filter((i) => batch.logits[i]);
    const embeddings = this.params.embeddings === true;
    const width = embeddings ? N_EMBD : N_VOCAB;
    const logits = new Float32Array(outputs.length * width);
    outputs.forEach((i, row) => {
      const of = this.fault === 'embedding' && embeddings ? outputs[Math.max(0, row - 1)]! : i;
      // What an embedding hides is not in the logits, and the other way round.
      const start = rows.get(of)! + (embeddings ? 77 : 0);
      for (let v = 0; v < width; v++) logits[row * width + v] = mix32(start + v) / 2 ** 32;
    });
    if (this.fault === 'nan' && outputs.length > 3) logits[3 * width + 5] = Number.NaN;
    return { n_outputs: outputs.length, logits };
  }

  private check(call: Call): void {
    const kind = refusalOf(this.lists, call, { params: this.params, calls: [] }, N_VOCAB);
    if (kind !== null) throw new IsobatchError(kind as 'ops.copy', `refused: ${kind}`);
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.check({ op: 'seqRm', seq, p0, p1 });
    const { fault } = this;
    const first = seq < 0 ? undefined : this.lists.owned(seq)[0];
    const keepOne = fault === 'suffix' && seq >= 0 && p0 > 0 && p1 < 0 && p0 < this.lists.posMax(seq);
    this.lists.rm(seq, keepOne ? p0 + 1 : p0, p1);
    if (fault === 'stale' && first !== undefined && this.lists.length(seq) === 0) {
      this.left.set(seq, this.contentOf(first));
    }
  }

  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.check({ op: 'seqCp', from, to, p0, p1 });
    this.lists.cp(from, to, p0, p1);
    const last = this.lists.owned(to).at(-1);
    if (this.fault === 'copy' && last !== undefined) this.content.set(last, { hash: 99 });
  }

  seqKeep(seq: number): void {
    this.check({ op: 'seqKeep', seq });
    this.lists.keep(seq);
  }

  seqAdd(seq: number, p0: number, p1: number, by: number): void {
    this.move({ op: 'seqAdd', seq, p0, p1, by });
  }

  seqDiv(seq: number, p0: number, p1: number, by: number): void {
    this.move({ op: 'seqDiv', seq, p0, p1, by });
  }

  private move(call: MoveCall): void {
    this.check(call);
    const owners = this.fault === 'move-all' ? this.ownersOf(call.seq) : [call.seq];
    for (const seq of owners) {
      const before = this.lists.owned(seq);
      this.lists.move({ ...call, seq });
      for (const [k, entry] of this.lists.owned(seq).entries()) {
        const by = entry.pos - before[k]!.pos;
        if (entry === before[k]) continue;
        // What a query sees of a key depends on how far it was turned; a state does not.
        const turned = this.memory === 'attention' ? mix32(this.contentOf(before[k]!) ^ by) : undefined;
        this.content.set(entry, { hash: turned ?? this.contentOf(before[k]!) });
        this.turned.add(entry);
      }
    }
  }

  /** Sequences that own the same entries as this one. */
  private ownersOf(seq: number): number[] {
    const seqs = Array.from({ length: this.params.n_seq_max }, (_, other) => other);
    return seqs.filter((other) => this.lists.length(seq) > 0 && this.lists.same(seq, other));
  }

  clear(): void {
    const seqs = Array.from({ length: this.params.n_seq_max }, (_, seq) => seq);
    const lost = seqs.find((seq) => this.lists.length(seq) > 0);
    if (this.fault === 'clear' && lost !== undefined) this.left.set(lost, 5);
    this.lists.clear();
  }

  seqPosMin(seq: number): number {
    return this.lists.posMin(seq);
  }

  seqPosMax(seq: number): number {
    return this.lists.posMax(seq);
  }

  close(): void {
    this.lists = new Lists(1, this.memory);
  }
}

const ATTENTION_SPLITS = ['simple', 'equal', 'equal-batch', 'equal-sequential', 'sequence', 'whole'] as const;

export function fakeSubject(memory: 'attention' | 'recurrent', fault: FakeFault | null = null): Subject {
  return {
    info: {
      name: 'fake',
      version: '1',
      protocol: 1,
      architectures: ['llama', 'mamba'],
      splits: { attention: ATTENTION_SPLITS, recurrent: ATTENTION_SPLITS.filter((s) => s !== 'simple') },
      isas: ['portable', 'slow', 'fast'],
      types_kv: ['F32', 'F16'],
      bit_invariant: true,
      shared_tokens: true,
      remove_anywhere: true,
      shifts: true,
    },
    load: (): SubjectModel => ({
      info: {
        arch: memory === 'attention' ? 'llama' : 'mamba',
        memory,
        n_vocab: N_VOCAB,
        n_embd: N_EMBD,
        n_layer: 1,
        n_params: 1,
      },
      open: (params) => {
        if (memory === 'recurrent' && params.split === 'simple') {
          throw new IsobatchError('params', 'simple would need a slot a token');
        }
        return new FakeContext(params, memory, fault);
      },
      close: () => undefined,
    }),
    close: () => undefined,
  };
}

/** An environment on the fake subject. */
export function fakeEnv(
  memory: 'attention' | 'recurrent' = 'attention',
  fault: FakeFault | null = null,
  seed = 'test',
): Env {
  const subject = fakeSubject(memory, fault);
  const loaded = subject.load(new Uint8Array(), 'fake') as SubjectModel;
  return {
    seed,
    subject: subject.info,
    model: loaded.info,
    modelName: 'recipe:fake',
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

/** Runs cases 0 .. n-1, up to the first failure. */
export async function runCases(
  property: Property,
  env: Env,
  n: number,
): Promise<{ failed: Outcome | null; compared: number; tokens: number }> {
  let compared = 0;
  let tokens = 0;
  for (let i = 0; i < n; i++) {
    const outcome = await property.run(env, property.generate(env, i));
    compared += outcome.compared;
    tokens += outcome.tokens;
    if (outcome.status === 'failed') return { failed: outcome, compared, tokens };
  }
  return { failed: null, compared, tokens };
}

/** Shrinks greedily: the first smaller case that still fails, again and again. */
export async function shrinkGreedily(
  property: Property,
  env: Env,
  failed: Outcome,
  most = 400,
): Promise<Outcome> {
  let best = failed;
  for (let tries = 0; tries < most; ) {
    let better: Outcome | null = null;
    for (const c of property.shrink(env, best.failure!.case)) {
      tries++;
      const outcome = await property.run(env, c);
      if (outcome.status === 'failed') {
        better = outcome;
        break;
      }
      if (tries >= most) break;
    }
    if (better === null) return best;
    best = better;
  }
  return best;
}

/**
 * The contract of a subject: an engine under test. Our engine fulfils it in the same process; any other program
 * fulfils it through the subject protocol (`properties/protocol.ts`). Calls may answer at once or by a promise;
 * callers always await.
 */
import type { Batch, CompleteBatch, MemoryKind, Pos, SeqId, SplitOptions, SplitPolicy } from './batch.ts';
import type { RulesInfo, ShownCells, ShownSplit } from './white.ts';

export type MaybePromise<T> = T | Promise<T>;

export interface ContextParams {
  /** KV cells of the context, shared by all sequences. */
  readonly n_ctx: number;
  readonly n_batch: number;
  readonly n_ubatch: number;
  /** Sequence ids are 0 .. n_seq_max-1; also the number of recurrent slots. */
  readonly n_seq_max: number;
  readonly split: SplitPolicy;
  /** Tail rule of the newer equal splits, 0 = off. */
  readonly n_keep_tail?: number;
  readonly type_kv?: TypeKv;
  /**
   * How many states before its last one are kept of each recurrent sequence, so that as many of its last tokens can be
   * removed again (rollback; spec: batching.md 4.4, 4.5). 0, the rule: none. Attention has no use for it.
   */
  readonly n_rs_seq?: number;
  /** Named implementation of the kernels; a subject without this choice ignores it. */
  readonly isa?: string;
  /** One cache for all sequences, or one for each. Only for subjects that offer it (`choices`), like all below. */
  readonly kv_unified?: boolean;
  /** Caches of sliding-window layers as large as the others, or only as large as the window needs. */
  readonly swa_full?: boolean;
  readonly flash_attn?: boolean;
  readonly n_threads?: number;
  /** Rows are embeddings (the hidden state after the last norm), n_embd wide, instead of logits; see `rowWidth`. */
  readonly embeddings?: boolean;
  /**
   * What becomes of the embeddings of a sequence in a batch. `none` (the rule if embeddings are asked for): each output
   * has its own. Else each output has that of its first sequence: their mean, the first, or the last.
   */
  readonly pooling?: Pooling;
}

export type Pooling = 'none' | 'mean' | 'cls' | 'last';

export const POOLINGS: readonly Pooling[] = ['none', 'mean', 'cls', 'last'];

/** In which order a subject adds up a sum. `any`: it does not say, or it differs from shape to shape. */
export type SumOrder =
  | { readonly order: 'any' }
  /** One chain, first term first. */
  | { readonly order: 'sequential' }
  /** Chains of `size` neighbouring terms, whose sums are added in order. */
  | { readonly order: 'blocks'; readonly size: number }
  /** Term n goes to lane n mod `lanes`; the lanes are folded pairwise. */
  | { readonly order: 'lanes'; readonly lanes: number }
  /** In float64, rounded to float32 once. */
  | { readonly order: 'double' };

/** Type in which K and V are kept. */
export type TypeKv = 'F32' | 'F16';

/**
 * How a subject rounds: all that the error bounds of `reference` need to know about it (spec: verdicts.md 5). What is
 * not said here is rounded to float32 after each operation.
 */
export interface RoundingProfile {
  /** Products are added with one rounding (fused multiply-add) instead of two. */
  readonly fma: boolean;
  /** Sums of matrix products, and of a query with a key. */
  readonly products: SumOrder;
  /** Sums over a row: norms, the states of a scan, the exponentials of a softmax. */
  readonly rows: SumOrder;
  /** Sums over the keys of a query: values times weights. */
  readonly keys: SumOrder;
  /** Angles of rotary positions: in double, or multiplied up in float32. */
  readonly rope: 'F64' | 'F32';
  /** What meets F16 weights, K or V in a product: as it is, or rounded to F16 too. */
  readonly f16_activations: 'F32' | 'F16';
  /** Accumulators of the sums over keys; F16 in some flash attention. */
  readonly attention: 'F32' | 'F16';
  /** softplus by log1p(exp(x)), or by log(1 + exp(x)), which loses what is small. */
  readonly softplus: 'log1p' | 'log';
  /**
   * GELU: x / (1 + e^-2y); x (1 + tanh y) / 2, which loses what cancels; or a table of F16 (ggml on a CPU), to which x is
   * rounded, and 0 or x beyond 10.
   */
  readonly gelu: 'logistic' | 'tanh' | 'F16 table';
  /** K and V: as the context was asked for (`type_kv`), or always F16 (flash attention of ggml). */
  readonly kv: 'as asked' | 'F16';
}

/** Context parameters that a subject offers, with the values that may be asked for; the first is the plain one. */
export interface Choices {
  /** Where the model keeps states (`ModelInfo.rollback`). */
  readonly n_rs_seq?: readonly number[];
  readonly kv_unified?: readonly boolean[];
  readonly swa_full?: readonly boolean[];
  readonly flash_attn?: readonly boolean[];
  readonly n_threads?: readonly number[];
  readonly embeddings?: readonly boolean[];
  /** Not drawn: property `pooling` asks for it. */
  readonly pooling?: readonly Pooling[];
}

/**
 * Where a subject may answer otherwise than our engine without being wrong: legal differences (DESIGN "Legal input").
 * Generators stay inside them and comparisons respect them. What is not said is as our engine does it.
 */
export interface LegalDifferences {
  /** Kinds of illegal calls that it is held to refuse; calls of any other kind are undefined there and never made. */
  readonly refuses?: readonly string[];
  /** Tokens of several sequences, and copies of a range, need one cache for all (`kv_unified`). */
  readonly shared_needs_unified?: boolean;
  /** No tokens of several sequences with these kinds of memory. */
  readonly unshared?: readonly MemoryKind[];
  /** Removing an empty range of a state that has reached it is refused as a part would be. */
  readonly no_empty_ranges?: boolean;
  /** After states were rolled back they are not rolled back again until the sequence has a new token. */
  readonly rollback_once?: boolean;
  /** A ubatch has room for more tokens than a sequence keeps states (n_ubatch above n_rs_seq + 1). */
  readonly rollback_in_ubatch?: boolean;
  /** Moving an entry moves it for all sequences that own it: never asked of shared ones. */
  readonly moves_all_owners?: boolean;
  /** Kinds of memory whose positions are not moved, though others are. */
  readonly unmoved?: readonly MemoryKind[];
  /** Largest position of a sequence without tokens, if not -1. */
  readonly pos_of_empty?: Pos;
  /**
   * Windows forget without a word: a removal or copy after which the next token would see what a window has forgotten is
   * done and not refused (`ops.partial`), so only whole sequences are removed and copied there.
   */
  readonly silent_windows?: boolean;
  /** It does not tell the smallest position of a sequence. */
  readonly no_pos_min?: boolean;
  /**
   * With pooling, ids of sequences are smaller than the number of tokens in their ubatch, which is the batch, or one
   * sequence where memory has states.
   */
  readonly pooled_ids_below_tokens?: boolean;
  /** By name of a rule: the releases that it holds for and where it is written. For people. */
  readonly sources?: Readonly<Record<string, string>>;
}

export interface SubjectInfo {
  readonly name: string;
  readonly version: string;
  readonly protocol: number;
  /** Architectures that it runs (`general.architecture`). */
  readonly architectures: readonly string[];
  /** Split policies that a context can be asked for, by kind of memory. Empty: the subject chooses by itself. */
  readonly splits: Readonly<Partial<Record<MemoryKind, readonly SplitPolicy[]>>>;
  /** Named kernel implementations, best last; empty if there is no choice. */
  readonly isas: readonly string[];
  readonly types_kv: readonly TypeKv[];
  /** The answer has the same bits for every batch shape. */
  readonly bit_invariant: boolean;
  /** Tokens that belong to several sequences are accepted. */
  readonly shared_tokens: boolean;
  /** Middle and prefix removal for attention. */
  readonly remove_anywhere: boolean;
  /** How it rounds; without it there are no bounds, and `reference` is skipped. */
  readonly rounding?: RoundingProfile;
  /** How it rounds with flash attention, if that is a choice. */
  readonly rounding_flash?: RoundingProfile;
  readonly choices?: Choices;
  readonly legal?: LegalDifferences;
  /** It takes whole histories at once (verb `script` of the protocol). */
  readonly scripts?: boolean;
  /** It moves positions (`seqAdd`, `seqDiv`). */
  readonly shifts?: boolean;
  /** It saves and restores the state of contexts and of single sequences. */
  readonly state?: boolean;
  /** Types to which it quantizes model files (`Subject.quantize`), by its own names. */
  readonly quantizes?: readonly string[];
  /** What it shows of its rules, filled in by whoever has asked for it (`Subject.rules`). */
  readonly rules?: RulesInfo;
}

/**
 * What a query at position p sees of what lies before it (spec: batching.md 6.2): the last `size` positions, its own
 * among them, or those of its chunk of `size` positions.
 */
export interface Window {
  readonly kind: 'sliding' | 'chunked';
  readonly size: number;
}

export interface ModelInfo {
  readonly arch: string;
  readonly memory: MemoryKind;
  readonly n_vocab: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_params: number;
  /** Some layers see only a window, and forget what lies before it. */
  readonly windowed?: boolean;
  /** The windows of its layers, each once, where they are told: then it can be told what is forgotten. */
  readonly windows?: readonly Window[];
  /** Its states are kept as far as the context asks for it (`ContextParams.n_rs_seq`). */
  readonly rollback?: boolean;
  /** It has an encoder whose output the decoder sees (T5), or is one (BERT). */
  readonly encoder?: 'only' | 'with decoder';
}

/** Numbers in a row of an answer: n_vocab logits, or an embedding of n_embd. */
export function rowWidth(
  model: Pick<ModelInfo, 'n_vocab' | 'n_embd'>,
  params: Pick<ContextParams, 'embeddings'>,
): number {
  return params.embeddings === true ? model.n_embd : model.n_vocab;
}

/** What a decode answers: the logits (or embedding) of every output row, ascending by batch index. */
export interface DecodeResult {
  readonly n_outputs: number;
  /** n_outputs x `rowWidth`. Belongs to the context: valid until its next call, so copy what you keep. */
  readonly logits: Float32Array;
}

/** A model that is loaded. */
export interface SubjectModel {
  readonly info: ModelInfo;
  open(params: ContextParams): MaybePromise<SubjectContext>;
  /**
   * A context for calls that are all known before: it may run them at once and only give out the answers, which must be
   * asked for in this order. `ask`: [call, seq]: positions that will be asked for after a call.
   */
  openFor?(
    params: ContextParams,
    calls: readonly unknown[],
    ask: readonly (readonly [number, number, ...unknown[]])[],
  ): MaybePromise<SubjectContext>;
  close(): MaybePromise<void>;
}

/**
 * One context: memory plus outputs. Every refusal throws an `IsobatchError` and changes nothing.
 *
 * Ranges are [p0, p1); a negative p0 means 0, a negative p1 means the end.
 */
export interface SubjectContext {
  decode(batch: Batch): MaybePromise<DecodeResult>;
  /** Removes positions of one sequence; seq -1 removes from all. Throws `ops.partial` where a part cannot be removed. */
  seqRm(seq: SeqId, p0: Pos, p1: Pos): MaybePromise<void>;
  /** Makes `to` own what `from` owns in the range; `to` must be empty. */
  seqCp(from: SeqId, to: SeqId, p0: Pos, p1: Pos): MaybePromise<void>;
  seqKeep(seq: SeqId): MaybePromise<void>;
  clear(): MaybePromise<void>;
  /**
   * Adds `delta` to the positions of one sequence in the range; keys are turned to where they stand now. Throws
   * `ops.range` where entries would change their order or stand below 0, `ops.partial` where a part cannot be moved.
   * Only where `SubjectInfo.shifts` says so, like `seqDiv`.
   */
  seqAdd?(seq: SeqId, p0: Pos, p1: Pos, delta: number): MaybePromise<void>;
  /** Divides positions by `divisor` (at least 1), rounding down; two may become equal. Throws as `seqAdd`. */
  seqDiv?(seq: SeqId, p0: Pos, p1: Pos, divisor: number): MaybePromise<void>;
  /** Smallest and largest position that memory holds, -1 if none. */
  seqPosMin(seq: SeqId): MaybePromise<Pos>;
  seqPosMax(seq: SeqId): MaybePromise<Pos>;
  /** Runs the encoder; only for models that have one. The answer has rows of n_embd numbers if embeddings are asked for. */
  encode?(batch: Batch): MaybePromise<DecodeResult>;
  /** Everything that memory holds, or what it holds of one sequence. Only where `SubjectInfo.state` says so. */
  stateGet?(seq?: SeqId): MaybePromise<Uint8Array>;
  /** Replaces what memory holds (of `seq`). Throws `state` for bytes that it does not take; nothing changes then. */
  stateSet?(bytes: Uint8Array, seq?: SeqId): MaybePromise<void>;
  /** The recurrent cells as they lie now. Only with the kinds of memory that `Subject.cells` names. */
  cells?(): MaybePromise<ShownCells>;
  close(): MaybePromise<void>;
}

export interface Subject {
  readonly info: SubjectInfo;
  /** Loads a GGUF file given as bytes; `name` is for messages. Throws `gguf` or `model`. */
  load(bytes: Uint8Array, name: string): MaybePromise<SubjectModel>;
  /** The same from a path, for files that are too large to be passed around. */
  loadFile?(path: string, name: string): MaybePromise<SubjectModel>;
  /** Writes a quantized copy of a model file. Throws `usage` for an unknown type, `refused` for a model it refuses. */
  quantize?(from: string, to: string, type: string): MaybePromise<void>;
  /** Which of its rules it shows without a model. Throws `refused` with the reason if it shows none. */
  rules?(): MaybePromise<RulesInfo>;
  /** How it splits a batch. Throws `batch.coupled` where the policy cannot, `refused` where it does not take the batch. */
  split?(batch: CompleteBatch, options: SplitOptions): MaybePromise<ShownSplit>;
  /** Kinds of memory whose recurrent cells its contexts show. Throws `refused` with the reason if there is none. */
  cells?(): MaybePromise<readonly MemoryKind[]>;
  close(): MaybePromise<void>;
}

/**
 * What a property is, what a case is, and what comes out of one. Campaigns, workers, replay and reports know
 * properties only through these records.
 */
import type { Batch, SplitPolicy } from '../contract/batch.ts';
import type {
  ContextParams,
  MaybePromise,
  ModelInfo,
  SubjectInfo,
  SubjectModel,
} from '../contract/subject.ts';
import type { ShownRules, WhiteBox } from '../contract/white.ts';
import type { BoundsBy } from './bounds-by.ts';
import type { FirstLook } from './first-look.ts';
import type { BoundsTally } from './verdict.ts';

/** One call of a history. An injected illegal call carries the kind of error that must come back. */
export type Call =
  | { readonly op: 'decode'; readonly batch: Batch; readonly refused?: string }
  | {
      readonly op: 'seqRm';
      readonly seq: number;
      readonly p0: number;
      readonly p1: number;
      readonly refused?: string;
    }
  | {
      readonly op: 'seqCp';
      readonly from: number;
      readonly to: number;
      readonly p0: number;
      readonly p1: number;
      readonly refused?: string;
    }
  | { readonly op: 'seqKeep'; readonly seq: number; readonly refused?: string }
  | MoveCall
  | { readonly op: 'clear' }
  /** What decoders attend to from now on (T5): whole sequences, from position 0 on. It leaves memory alone. */
  | { readonly op: 'encode'; readonly batch: Batch; readonly refused?: string }
  | StateCall;

/** Positions of a sequence are moved: `by` is added to them, or divides them. */
export type MoveCall = Moving<'seqAdd'> | Moving<'seqDiv'>;

interface Moving<Op extends string> {
  readonly op: Op;
  readonly seq: number;
  readonly p0: number;
  readonly p1: number;
  readonly by: number;
  readonly refused?: string;
}

/**
 * State that is kept outside of memory. A slot is a name for kept bytes; contexts come and go, slots stay. None is
 * called on a subject that saves no state.
 */
export type StateCall =
  /** Keeps what memory holds, all of it or that of one sequence. */
  | { readonly op: 'stateSave'; readonly slot: string; readonly seq?: number; readonly refused?: string }
  /** Gives it back: all of it, or to a sequence, whatever that is called. `cut`: without so many bytes of the end. */
  | {
      readonly op: 'stateLoad';
      readonly slot: string;
      readonly seq?: number;
      readonly cut?: number;
      readonly refused?: string;
    }
  /** Goes on in a new context of the same model, which differs from that of the script in `params`. */
  | { readonly op: 'newContext'; readonly params?: Partial<ContextParams>; readonly refused?: string };

/** A context and what is done with it. Self-contained: together with the model file it can be run anywhere. */
export interface Script {
  readonly params: ContextParams;
  readonly calls: readonly Call[];
}

/**
 * One generated case of a property: plain JSON, self-contained beside the model file.
 *
 * An end-to-end case holds two scripts and says which answers must be equal; a white-box case holds the input of one
 * rule in `white`.
 */
export interface Case {
  /** Version of this record. */
  readonly version: 1;
  readonly property: string;
  /** `recipe:NAME`, `golden:NAME` or a file; for white-box cases `rules`. */
  readonly model: string;
  readonly seed: string;
  readonly index: number;
  /** The history that is checked ... */
  readonly script?: Script;
  /** ... what it is checked against: another history, or nothing if each row is compared with the sequence alone ... */
  readonly base?: Script;
  /** ... and which rows must be equal: [call, batch index] of `script`, [call, batch index] of `base`. */
  readonly pairs?: readonly (readonly [number, number, number, number])[];
  /** Rows that are compared with the sequence alone: [call, batch index], and the tokens that it has seen. */
  readonly alone?: readonly {
    readonly call: number;
    readonly index: number;
    readonly tokens: readonly number[];
  }[];
  /** Positions that memory must report after a call: [call, seq, min, max]. */
  readonly positions?: readonly (readonly [number, number, number, number])[];
  readonly white?: unknown;
  /** What a property needs to know besides to rebuild `base` and `pairs` from a smaller `script`; plain JSON. */
  readonly plan?: unknown;
}

/** The first thing that differs. Numbers are given so that nobody has to run anything to see them. */
export interface Difference {
  /** What was compared, in words: "logits of token 3 of call 2 (sequence 1, position 4)". */
  readonly what: string;
  readonly index?: number;
  readonly got?: number | string;
  readonly want?: number | string;
  /** Where it was seen: call of the script and index in its batch. */
  readonly at?: { readonly call: number; readonly index: number };
  /** If a derived bound was missed. */
  readonly missed?: MissedBound;
  /** What the oracle says of two answers of the subject that should be one. Filled in after shrinking. */
  readonly truth?: Truth;
}

/** Which of two answers that differ is right, by the oracle and the derived bound. */
export interface Truth {
  readonly value: number;
  readonly bound: number;
  readonly wrong: 'got' | 'want' | 'both' | 'neither';
}

/** A difference beyond its derived bound (spec: verdicts.md 1). */
export interface MissedBound {
  /** The bound of this element. */
  readonly bound: number;
  /** Size of the difference in derived standard deviations. */
  readonly sigmas: number;
  /** Part of the worst case that roundings can make at all, by Cauchy runs; beyond 4 no roundings explain it. */
  readonly worst_case?: number;
  readonly grade: 'no roundings explain it' | 'a conspiracy of roundings' | 'not graded';
  /** Where the bound is from: the oracle's formulas (if nothing is said), or measured on copies with noise. */
  readonly by?: 'oracle' | 'copies';
}

/** What matters for a failure and what does not, found by running variations of its case. */
export interface Explanation {
  /** One or two sentences for people. */
  readonly sentence: string;
  readonly facts: readonly ExplainedFact[];
  /** Variations that were run. */
  readonly runs: number;
  readonly seconds: number;
  /** The time was up before all variations were run. */
  readonly cut: boolean;
}

export interface ExplainedFact {
  /** "n_ubatch", "order", "sequence 1", "call 2 (remove ...)", "instruction set", ... */
  readonly what: string;
  /** "any value fails", "fails only up to 3", "must be there", "does not matter", ... */
  readonly verdict: string;
  readonly runs: number;
}

export interface Failure {
  readonly case: Case;
  /** One sentence. */
  readonly message: string;
  readonly difference: Difference;
  /** Groups failures: property, model family, what differs first. */
  readonly signature: string;
  /** Filled in after shrinking. */
  readonly explanation?: Explanation;
  /** What probe models say about the same history: "query 1@0: state holds 0@0, which it must not". */
  readonly probe?: readonly string[];
}

/** What one case gave. */
export interface Outcome {
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped. */
  readonly reason?: string;
  /** Elements that were compared, and how they came out. */
  readonly compared: number;
  readonly equal: number;
  readonly rounding: number;
  readonly divergent: number;
  /** Tokens that the subject evaluated under test (not counting the base). */
  readonly tokens: number;
  /** If derived bounds were used. */
  readonly bounds?: BoundsTally;
  /** Not all rows were judged in full (`Env.first_look`). */
  readonly looked?: true;
  readonly failure?: Failure;
}

/** Classes that a campaign has reached: name of a histogram -> class -> count. Every class named by `classes` must occur. */
export type Coverage = Record<string, Record<string, number>>;

/** What `reference` compares with. */
export type Reference = 'oracle' | 'self';

/** What a property gets to run with. One a worker, property and model. */
export interface Env {
  readonly seed: string;
  readonly subject: SubjectInfo;
  readonly model: ModelInfo;
  readonly modelName: string;
  readonly loaded: SubjectModel;
  /** The file of the model, if it is one: the user's, or one that the subject has quantized. */
  readonly modelFile?: string;
  /** Loads another model given as bytes: copies with noise, for bounds without a formula. */
  readonly load?: (bytes: Uint8Array, name: string) => MaybePromise<SubjectModel>;
  /** The same by path, if the subject takes that: for large files. */
  readonly loadFile?: (path: string, name: string) => MaybePromise<SubjectModel>;
  /** Where bounds are from, if not from the first that can be had (`bounds-by.ts`). */
  readonly bounds?: BoundsBy;
  /** `self`: the property `reference` compares the subject with itself, token by token. */
  readonly reference?: Reference;
  /** The rules of the subject, if it shows them, and those of the oracle. */
  readonly white?: WhiteBox;
  /** Those of a subject in another process, if it shows any. */
  readonly shown?: ShownRules;
  readonly oracle: WhiteBox;
  readonly coverage: Coverage;
  /** Chance of a false alarm in one comparison with a derived bound; default 1e-10. */
  readonly p?: number;
  /** The property is about tokens of several sequences, so they are drawn where a subject refuses them, too. */
  readonly about_sharing?: boolean;
  /** While a case is made smaller or explained: its bounds are measured for itself alone, or it is only looked at. */
  readonly first_look?: FirstLook;
  /** Restricts the generator; empty: everything that is legal. */
  readonly restrict: {
    readonly isa?: string;
    readonly split?: SplitPolicy;
    readonly type_kv?: 'F32' | 'F16';
    /** Numbers of threads to choose from, the plain one first, where the subject offers them. */
    readonly n_threads?: readonly number[];
  };
}

/** A property: a statement, what it needs, how a case is generated, and how a case is run. */
export interface Property {
  readonly name: string;
  /** One sentence for people. */
  readonly statement: string;
  /** White-box properties look at rules, without a model; they run once, not per model. */
  readonly white: boolean;
  /** Classes of the coverage histogram that a campaign of a few thousand cases must reach. */
  readonly classes: Readonly<Record<string, readonly string[]>>;
  /** Null if it applies, else the reason for skipping it. */
  skip(subject: SubjectInfo, model: ModelInfo, asked?: Pick<Env, 'reference'>): string | null;
  /** White-box properties that can ask a subject in another process, too (`Env.shown`). */
  readonly asks?: boolean;
  /** Properties that look at the recurrent cells of contexts (`Subject.cells`). */
  readonly looks?: boolean;
  /** White-box properties: the same, by what the subject shows of its rules. */
  skipRules?(white: WhiteBox): string | null;
  /** Case number `index` of a campaign: depends on (env.seed, name, model family, index) only. */
  generate(env: Env, index: number): Case;
  run(env: Env, c: Case): Outcome | Promise<Outcome>;
  /** Smaller cases that might fail in the same way, most promising first. Some may name another model. */
  shrink(env: Env, c: Case): Iterable<Case>;
  /**
   * The case with something changed, what it demands derived anew; null if it would not be legal or demand nothing.
   * Only end-to-end properties have it.
   */
  rebuild?(env: Env, c: Case, change: Change): Case | null;
}

/** What becomes of a case; the rest stays. */
export interface Change {
  readonly script?: Script;
  readonly base?: Script;
  /** Another model of the same architecture; tokens must be in its vocabulary. */
  readonly model?: string;
  /** New names of sequences that the script was rewritten with, for what else names sequences. */
  readonly names?: ReadonlyMap<number, number>;
}

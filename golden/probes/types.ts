/** What a probe is, and what its decoder reads from one row of logits. */
import type { MemoryKind } from '../../contract/batch.ts';

/** Logits of one output row, {n_vocab}. */
export type Row = Float32Array | Float64Array;

/** A row that does not spell anything: the decoder says why, and never guesses. */
export interface Unreadable {
  readonly kind: 'unreadable';
  readonly reason: string;
  /** All logits are zero: nothing was written into the row. */
  readonly blank: boolean;
}

/** Which keys a query saw in one layer of attention. */
export interface SeenSet {
  /** How often each visible key was seen: id -> count. Empty: nothing at all was seen. */
  readonly counts: ReadonlyMap<number, number>;
  /** Sum of the attention weights that lie on keys of the probe; 1 in a correct engine, null where it is not read. */
  readonly mass: number | null;
  /** Distance of the worst element from an integer. */
  readonly margin: number;
}

/** Which keys a query of attention saw. */
export interface SetReading extends SeenSet {
  readonly kind: 'set';
  /** Id of the token that was evaluated. */
  readonly own: number;
}

/** Which keys a query saw in a layer with a window and in one without. */
export interface WindowReading {
  readonly kind: 'window';
  readonly own: number;
  readonly local: SeenSet;
  readonly global: SeenSet;
  readonly margin: number;
}

/** How far away a query of attention saw its keys. */
export interface PositionReading {
  readonly kind: 'positions';
  readonly own: number;
  /** Position of the query less that of the key, not rounded: id -> distance; itself is left out. */
  readonly distances: ReadonlyMap<number, number>;
  /** Distance of the worst one from an integer, in positions. */
  readonly margin: number;
}

/** What a recurrent state held after its query. */
export interface HeldState {
  /** How often each token went into the state since its start: id -> count. */
  readonly counts: ReadonlyMap<number, number>;
  /** Steps since a token went in, for tokens that are there once: id -> age, 0 for the last. Null: not read. */
  readonly ages: ReadonlyMap<number, number> | null;
  /** Ages beyond this are not read: a token that is there without an age is older. */
  readonly oldest: number;
  /** Lags at which the convolution saw a token, 0 for the last: id -> lags. Null: not read. */
  readonly lags: ReadonlyMap<number, readonly number[]> | null;
  /** Tokens that the token shifts of a layer held as the one before: name of the shift -> ids. Null: not read. */
  readonly shifts: ReadonlyMap<string, readonly number[]> | null;
  readonly margin: number;
}

export interface StateReading extends HeldState {
  readonly kind: 'state';
  readonly own: number;
}

/** What the attention of a hybrid saw, and what its state held. */
export interface HybridReading {
  readonly kind: 'hybrid';
  readonly own: number;
  readonly set: SeenSet;
  readonly state: HeldState;
  readonly margin: number;
}

export type Reading =
  | SetReading
  | WindowReading
  | PositionReading
  | StateReading
  | HybridReading
  | Unreadable;

interface ProbeOf<Kind extends Reading['kind']> {
  /** After `probe:`. */
  readonly name: string;
  readonly reads: Kind;
  /** `general.architecture` of the file. */
  readonly arch: string;
  readonly memory: MemoryKind;
  /** One line for people. */
  readonly describe: string;
  /** Events that it can tell apart. */
  readonly n_ids: number;
  readonly n_vocab: number;
  /** The token of an event. */
  token(id: number): number;
  /** The bytes of the GGUF file. */
  build(): Uint8Array;
  read(row: Row): Extract<Reading, { kind: Kind }> | Unreadable;
}

export type SetProbe = ProbeOf<'set'>;
/** `window`: a key is visible to the local layer if its position is less than this behind the query's. */
export type WindowProbe = ProbeOf<'window'> & { readonly window: number };
export type PositionProbe = ProbeOf<'positions'>;
export type StateProbe = ProbeOf<'state'>;
export type HybridProbe = ProbeOf<'hybrid'>;
export type Probe = SetProbe | WindowProbe | PositionProbe | StateProbe | HybridProbe;

/** What a forward pass is here: one token at a time, from what its sequence holds to what the token adds to it. */
import type { MemoryKind, Pos } from '../../../contract/batch.ts';

/**
 * What a token leaves in memory. It is never changed afterwards, so sequences can share it and a failed call needs to
 * forget only its own.
 */
export interface Entry {
  readonly pos: Pos;
}

/** The key that a query misses; only in a planted deviation. */
export interface Missing {
  readonly layer: number;
  /** Index in the list of keys. */
  readonly key: number;
}

/** One token and what it is evaluated in. */
export interface Step {
  readonly token: number;
  readonly pos: Pos;
  /** What its sequence holds; recurrent memory: at most one entry, the state. */
  readonly before: readonly Entry[];
  readonly type_kv: 'F32' | 'F16';
  readonly missing: Missing | null;
  /** The row after the last norm is wanted instead of logits. */
  readonly embeddings: boolean;
}

export interface Forward {
  readonly memory: MemoryKind;
  /**
   * Evaluates a token: its entry, and its logits (n_vocab) or embedding (n_embd) in `out` unless that is null.
   *
   * Throws `memory.overflow`.
   */
  step(step: Step, out: Float32Array | null): Entry;
}

/**
 * Every refusal of the project is an `IsobatchError`: a kind that tools can match, a sentence for people, and the
 * offending numbers. Users never see a stack trace of one.
 */

/** Kinds, by family. `batch.*`: illegal batch. `memory.*`: legal, but does not fit. `ops.*`: a refused operation. */
export type ErrorKind =
  | 'batch.empty'
  | 'batch.size' // more tokens than n_batch, or field lengths that differ
  | 'batch.token' // token outside the vocabulary
  | 'batch.seq_id' // id out of range, listed twice, or an empty set
  | 'batch.position' // not consecutive from memory
  | 'batch.shared' // a shared token whose sequences do not own the same cells
  | 'batch.whole' // policy whole, and a set is longer than n_ubatch
  | 'batch.coupled' // policy equal-sequential, and the batch has shared tokens
  | 'memory.full' // no free cells
  | 'memory.overflow' // K or V too large for F16
  | 'ops.seq_id'
  | 'ops.range'
  | 'ops.copy' // the destination is not empty
  | 'ops.partial' // recurrent memory cannot remove a part
  | 'refused' // a subject refused without saying which rule; counts as any kind that was expected
  | 'state' // bytes that are no state of this model, or do not fit
  | 'params' // context parameters
  | 'gguf' // malformed model file
  | 'model' // well-formed file, but not a model that we know
  | 'file'
  | 'protocol'
  | 'subject' // a subject died, hung or answered nonsense
  | 'usage'
  | 'native'
  | 'internal';

export class IsobatchError extends Error {
  readonly kind: ErrorKind;
  readonly detail: Readonly<Record<string, unknown>>;

  constructor(kind: ErrorKind, message: string, detail: Record<string, unknown> = {}) {
    super(message);
    this.name = 'IsobatchError';
    this.kind = kind;
    this.detail = detail;
  }
}

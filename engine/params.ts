/** Context parameters: what is legal, and messages that name what is not (DESIGN.md "Legal input"). */
import { type MemoryKind, SPLIT_POLICIES, type SplitPolicy } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams } from '../contract/subject.ts';
import { MAX_SEQ } from './sets.ts';

/** Recurrent memory would need a slot a token under `simple`. */
const WITH_STATES = SPLIT_POLICIES.filter((policy) => policy !== 'simple');

/** Legal policies by kind of memory. */
export const LEGAL_SPLITS: Readonly<Record<MemoryKind, readonly SplitPolicy[]>> = {
  // What sees to both sides is never cut.
  none: ['whole'],
  attention: SPLIT_POLICIES,
  recurrent: WITH_STATES,
  hybrid: WITH_STATES,
};

/** 2^20 cells, tokens or sequences are beyond anything that this engine is for. */
const LARGEST = 1 << 20;

function checkCount(name: string, value: unknown, least: number, most: number): void {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return;
  throw new IsobatchError(
    'params',
    `${name} is ${String(value)}, not a whole number from ${least} to ${most}`,
    { [name]: value },
  );
}

/** The tail rule needs room for more than the tail. */
export function checkSplit(n_ubatch: number, n_keep_tail: number): void {
  checkCount('n_ubatch', n_ubatch, 1, LARGEST);
  checkCount('n_keep_tail', n_keep_tail, 0, LARGEST);
  if (n_keep_tail > 0 && n_ubatch <= n_keep_tail) {
    throw new IsobatchError('params', `n_ubatch = ${n_ubatch} must be above n_keep_tail = ${n_keep_tail}`, {
      n_ubatch,
      n_keep_tail,
    });
  }
}

/** Throws `params`, naming the first parameter that is not legal for this kind of memory. */
export function checkParams(params: ContextParams, memory: MemoryKind, isas: readonly string[]): void {
  checkCount('n_ctx', params.n_ctx, 1, LARGEST);
  checkCount('n_batch', params.n_batch, 1, LARGEST);
  checkCount('n_seq_max', params.n_seq_max, 1, MAX_SEQ);
  checkSplit(params.n_ubatch, params.n_keep_tail ?? 0);
  checkCount('n_rs_seq', params.n_rs_seq ?? 0, 0, LARGEST);
  const legal = LEGAL_SPLITS[memory];
  if (!legal.includes(params.split)) {
    throw new IsobatchError(
      'params',
      `split policy ${params.split} is not legal for ${memory} memory (legal: ${legal.join(', ')})`,
      {
        split: params.split,
      },
    );
  }
  if (params.type_kv !== undefined && params.type_kv !== 'F32' && params.type_kv !== 'F16') {
    throw new IsobatchError('params', `type_kv is ${String(params.type_kv)}, not F32 or F16`, {
      type_kv: params.type_kv,
    });
  }
  if (params.isa !== undefined && !isas.includes(params.isa)) {
    throw new IsobatchError('params', `no kernels named ${params.isa} here (there are: ${isas.join(', ')})`, {
      isa: params.isa,
    });
  }
}

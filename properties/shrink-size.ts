/**
 * How large a case is. Shrinking only takes steps that make this number smaller, so that it ends; the weights say
 * what is worth more to somebody who reads the case: a plainer model, then a call less, a token less, plainer
 * parameters, smaller numbers.
 */
import type { SplitPolicy } from '../contract/batch.ts';
import type { ContextParams } from '../contract/subject.ts';
import { rankOfChoices } from './choices.ts';
import type { Facts } from './facts.ts';
import { modelRank } from './shrink-model.ts';
import { idsOf, isOutput } from './trace.ts';
import type { Call, Case } from './types.ts';

/** Split policies, plainest first. */
export const PLAIN_SPLITS: readonly SplitPolicy[] = [
  'simple',
  'equal',
  'sequence',
  'equal-batch',
  'equal-sequential',
  'whole',
];

export function sizeOf(c: Case, facts: Facts): number {
  const { params, calls } = c.script!;
  let n = 100_000 * modelRank(c.model) + sizeOfParams(params, facts);
  for (const call of calls) n += 40 + sizeOfCall(call);
  // A base is either derived from the script or has parameters of its own; both tell most when they differ least.
  if (c.base !== undefined) {
    n += sizeOfParams(c.base.params, facts);
    for (const field of FIELDS) if (c.base.params[field] !== params[field]) n++;
  }
  return n;
}

const FIELDS = [
  'n_ctx',
  'n_batch',
  'n_ubatch',
  'n_seq_max',
  'split',
  'n_keep_tail',
  'type_kv',
  'isa',
  'kv_unified',
  'swa_full',
  'flash_attn',
  'n_threads',
  'embeddings',
  'n_rs_seq',
] as const satisfies readonly (keyof ContextParams)[];

function sizeOfParams(p: ContextParams, facts: Facts): number {
  const numbers = (p.n_ctx + p.n_batch + p.n_ubatch + p.n_seq_max) / 64;
  const tail = (p.n_keep_tail ?? 0) > 0 ? 2 + p.n_keep_tail! / 64 : 0;
  const type = p.type_kv === 'F16' ? 2 : 0;
  const isa = p.isa === undefined ? 0 : (facts.isas.indexOf(p.isa) + 1) / 8;
  return numbers + tail + type + isa + rankOfChoices(p, facts) + PLAIN_SPLITS.indexOf(p.split) / 2;
}

function sizeOfCall(call: Call): number {
  switch (call.op) {
    case 'clear':
      return 0;
    case 'seqKeep':
      return 8 + call.seq / 64;
    case 'seqRm':
      return (call.seq < 0 ? 4 : call.seq / 64) + sizeOfRange(call.p0, call.p1);
    case 'seqCp':
      return (call.from + call.to) / 64 + sizeOfRange(call.p0, call.p1);
    case 'seqAdd':
    case 'seqDiv': {
      const by = Math.abs(call.by) / 16 + (call.by < 0 ? 0.5 : 0) + (call.op === 'seqDiv' ? 1 : 0);
      return 2 + call.seq / 64 + by + sizeOfRange(call.p0, call.p1);
    }
    case 'stateSave':
      return 1 + (call.seq ?? 0) / 64;
    case 'stateLoad':
      return 1 + (call.seq ?? 0) / 64 + (call.cut ?? 0) / 64;
    case 'newContext':
      return 2 + Object.keys(call.params ?? {}).length;
    case 'encode':
    case 'decode':
      return sizeOfBatch(call);
  }
}

/** 0 for a whole sequence. */
function sizeOfRange(p0: number, p1: number): number {
  return (p0 === 0 ? 0 : 1 + Math.max(p0, 0) / 64) + (p1 < 0 ? 0 : 1 + p1 / 64);
}

function sizeOfBatch({ batch }: Extract<Call, { op: 'decode' | 'encode' }>): number {
  const { token, pos, seq_id, logits } = batch;
  let n = 20 * token.length;
  for (const field of [pos, seq_id, logits]) if (field === undefined) n++;
  for (let i = 0; i < token.length; i++) {
    n += Math.max(token[i]!, 0) / 65536 + (isOutput(batch, i) ? 1 : 0);
    const ids = idsOf(batch, i);
    n += 4 * ids.length;
    for (const id of ids) n += Math.max(id, 0) / 64;
    // Sequences one after the other are easier to read.
    if (i > 0 && idsOf(batch, i - 1)[0]! > (ids[0] ?? 0)) n += 1 / 16;
  }
  return n;
}

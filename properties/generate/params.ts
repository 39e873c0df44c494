/** Context parameters for a history: every legal policy, full caches, ubatches from one token up. */
import type { SplitPolicy } from '../../contract/batch.ts';
import type { ContextParams } from '../../contract/subject.ts';
import { drawChoices, leastUbatch } from '../choices.ts';
import type { Facts } from '../facts.ts';
import type { Random } from '../random.ts';
import { idsOf, longestSet } from '../trace.ts';
import type { Call } from '../types.ts';

/** What the calls of a script ask of a context. */
export interface Needs {
  /** Most cells in use at once. */
  readonly peak: number;
  readonly longest_call: number;
  /** Most tokens of one exact set in a call. */
  readonly longest_set: number;
  readonly coupled: boolean;
  /** Most tokens that are encoded at once: they are one ubatch. */
  readonly longest_source: number;
}

export function needsOf(calls: readonly Call[], peak: number): Needs {
  let longest_call = 1;
  let longest_set = 1;
  let coupled = false;
  let longest_source = 0;
  for (const call of calls) {
    if (call.op === 'encode') longest_source = Math.max(longest_source, call.batch.token.length);
    if (call.op !== 'decode' || call.refused !== undefined) continue;
    const { batch } = call;
    longest_call = Math.max(longest_call, batch.token.length);
    const sets = batch.token.map((_, i) => idsOf(batch, i));
    longest_set = Math.max(longest_set, longestSet(sets));
    coupled ||= sets.some((ids) => ids.length > 1);
  }
  return { peak: Math.max(peak, 1), longest_call, longest_set, coupled, longest_source };
}

/** Policies with which calls like these are not refused, if n_ubatch may be chosen. */
export function legalPolicies(facts: Facts, needs: Needs): readonly SplitPolicy[] {
  const legal = needs.coupled ? facts.policies.filter((p) => p !== 'equal-sequential') : facts.policies;
  return legal.length > 0 ? legal : facts.policies;
}

export function drawParams(
  r: Random,
  facts: Facts,
  calls: readonly Call[],
  peak: number,
  { n_seq_max, n_rs_seq = 0 }: Pick<ContextParams, 'n_seq_max' | 'n_rs_seq'>,
): ContextParams {
  const needs = needsOf(calls, peak);
  const split = r.pick(legalPolicies(facts, needs));
  const kept = facts.legal.rollback_in_ubatch ? leastUbatch({ n_rs_seq }) : 1;
  const n_ubatch = Math.max(drawUbatch(r, needs, split), needs.longest_source, kept);
  const n_ctx = drawCells(r, needs.peak);
  const n_batch = Math.max(n_ubatch, r.chance(0.5) ? needs.longest_call : needs.longest_call + r.below(8));
  const params: { -readonly [K in keyof ContextParams]: ContextParams[K] } = {
    n_ctx,
    n_batch,
    n_ubatch,
    n_seq_max,
    split,
  };
  if (n_rs_seq > 0) params.n_rs_seq = n_rs_seq;
  if ((split === 'equal-batch' || split === 'equal-sequential') && n_ubatch > 1 && r.chance(0.3)) {
    params.n_keep_tail = r.between(1, Math.min(4, n_ubatch - 1));
  }
  const type_kv = facts.types_kv.includes('F16') && r.chance(0.15) ? 'F16' : 'F32';
  params.type_kv = facts.types_kv.includes(type_kv) ? type_kv : facts.types_kv[0];
  const isa = drawIsa(r, facts);
  if (isa !== undefined) params.isa = isa;
  // A release that cannot open such a context shall not hide everything else behind that.
  if (facts.choices.embeddings !== undefined && n_batch < n_seq_max && !r.chance(0.03))
    params.n_batch = n_seq_max;
  Object.assign(params, drawChoices(r, calls, facts));
  // Flash attention keeps K and V in F16, and some releases know no other there.
  if (params.flash_attn && facts.types_kv.includes('F16')) params.type_kv = 'F16';
  return params;
}

/** Half of the caches are full to the last cell at some moment. */
function drawCells(r: Random, peak: number): number {
  const x = r.below(4);
  return x < 2 ? peak : x === 2 ? peak + r.between(1, 8) : peak + r.between(9, 80);
}

function drawUbatch(r: Random, needs: Needs, split: SplitPolicy): number {
  const { longest_call, longest_set } = needs;
  const sizes = [
    1,
    r.between(2, 4),
    r.between(5, 16),
    longest_set + r.below(3) - 1,
    r.between(1, longest_call),
    longest_call,
  ];
  const n_ubatch = Math.max(1, Math.min(sizes[r.weighted([10, 22, 22, 14, 16, 16])]!, longest_call));
  return split === 'whole' ? Math.max(n_ubatch, longest_set) : n_ubatch;
}

/** Shares of the slow, plain kernels: enough to be held against the others, too few to eat the time. */
const PLAIN_SHARE: Readonly<Record<string, number>> = { portable: 0.004, scalar: 0.04 };

/** One of the offered implementations; the plain ones rarely, and more rarely still on larger models. */
export function drawIsa(r: Random, { isas, small }: Facts): string | undefined {
  let x = r.u32() / 4294967296;
  for (const isa of isas) {
    const share = (PLAIN_SHARE[isa] ?? 0) * (small ? 1 : 0.1);
    if (x < share) return isa;
    x -= share;
  }
  const fast = isas.filter((isa) => PLAIN_SHARE[isa] === undefined);
  return fast.length === 0 ? isas[0] : fast[r.below(fast.length)];
}

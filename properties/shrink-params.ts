/**
 * Plainer parameters of a context: the plainest split policy, no extras, F32, the plainest kernels, and no more cells,
 * ids and batch than the history needs.
 */
import type { ContextParams } from '../contract/subject.ts';
import { plainerChoices } from './choices.ts';
import type { Facts } from './facts.ts';
import { needsOf } from './generate/params.ts';
import { Lists } from './lists.ts';
import { sequencesOf, smallerNumbers } from './shrink-calls.ts';
import { PLAIN_SPLITS } from './shrink-size.ts';
import { applyCall } from './trace.ts';
import type { Script } from './types.ts';

type Part = Partial<ContextParams>;

/**
 * One function for each thing that can be chosen, most telling first; what each yields is tried as it stands. (Threads
 * join the list when contexts have them.)
 */
const CONFIGURATION: readonly ((p: ContextParams, script: Script, facts: Facts) => Iterable<Part>)[] = [
  function* split(p, _, { policies }) {
    for (const plain of PLAIN_SPLITS) {
      if (plain === p.split) return;
      if (policies.includes(plain)) yield { split: plain, n_keep_tail: undefined };
    }
  },
  function* tail({ n_keep_tail = 0 }) {
    for (const n of smallerNumbers(n_keep_tail, 0)) yield { n_keep_tail: n || undefined };
  },
  function* typeKv({ type_kv }, _, { types_kv }) {
    if (type_kv === 'F16' && types_kv.includes('F32')) yield { type_kv: 'F32' };
  },
  (p, _, facts) => plainerChoices(p, facts),
  function* ubatch({ n_ubatch }) {
    for (let n = 1; n < Math.min(n_ubatch, 5); n++) yield { n_ubatch: n };
    for (const n of smallerNumbers(n_ubatch, 5)) yield { n_ubatch: n };
  },
  function* ids({ n_seq_max }, { calls }) {
    // A refused id must stay out of range, so only the ids that are no mistake count.
    const used = sequencesOf(calls).filter((id) => id < n_seq_max);
    for (const n of smallerNumbers(n_seq_max, Math.max(0, ...used) + 1)) yield { n_seq_max: n };
  },
  function* cells({ n_ctx }) {
    for (const n of smallerNumbers(n_ctx, 1)) yield { n_ctx: n };
  },
  function* batch(p, _, facts) {
    const least = Math.max(p.n_ubatch, opensFrom(p, facts));
    for (const n of smallerNumbers(p.n_batch, least)) yield { n_batch: n };
  },
];

/**
 * The smallest n_batch that is worth a try: some releases of llama.cpp die of one below n_seq_max, and each death costs
 * as much as dozens of other steps. Where it is below already, that may be the finding.
 */
function opensFrom({ n_batch, n_seq_max }: ContextParams, { choices }: Facts): number {
  return choices.embeddings !== undefined && n_batch >= n_seq_max ? n_seq_max : 1;
}

/** With some fields replaced; those that are undefined then are left out. */
export function changed(params: ContextParams, part: Part): ContextParams {
  const all = Object.entries({ ...params, ...part }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(all) as unknown as ContextParams;
}

/** `like`: parameters of the history that this one is compared with; the less they differ, the plainer. */
export function* plainerParams(script: Script, facts: Facts, like?: ContextParams): Generator<Script> {
  const { params, calls } = script;
  const change = (part: Part): Script => ({ params: changed(params, part), calls });
  if (like !== undefined) {
    yield change({ ...like, n_ubatch: params.n_ubatch, n_batch: Math.max(like.n_batch, params.n_ubatch) });
    yield change({ ...like, split: params.split, n_keep_tail: params.n_keep_tail });
    const { split, n_keep_tail, isa, n_ctx, n_seq_max } = like;
    for (const part of [{ split, n_keep_tail }, { isa }, { n_ctx }, { n_seq_max }]) yield change(part);
  }
  for (const parts of CONFIGURATION) for (const part of parts(params, script, facts)) yield change(part);
}

/** Plainer kernels. To be tried late: the plainest are the slowest, and every later try would run on them. */
export function* plainerKernels({ params, calls }: Script, { isas }: Facts): Generator<Script> {
  const { isa: own } = params;
  if (own === undefined) return;
  for (const isa of isas.slice(0, Math.max(0, isas.indexOf(own))))
    yield { params: { ...params, isa }, calls };
}

/** Most cells in use at once, at least 1. */
export function peakOf({ params, calls }: Script, facts: Facts): number {
  const lists = new Lists(params.n_seq_max, facts.memory);
  let peak = 1;
  for (const call of calls) {
    applyCall(lists, call);
    peak = Math.max(peak, lists.used);
  }
  return peak;
}

/** No more cells and batch than the calls need. */
export function tightened(script: Script, facts: Facts): ContextParams {
  const { params, calls } = script;
  const peak = peakOf(script, facts);
  const least = Math.max(needsOf(calls, peak).longest_call, opensFrom(params, facts));
  const n_batch = Math.min(params.n_batch, least);
  return {
    ...params,
    n_ctx: Math.min(params.n_ctx, peak),
    n_batch,
    n_ubatch: Math.min(params.n_ubatch, n_batch),
  };
}

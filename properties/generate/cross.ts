/**
 * Histories of a decoder behind an encoder: sources are encoded, each sequence its own or all of them one, then the
 * sequences are decoded for a while; then other sources, which the same sequences go on with or new ones begin with.
 * There are no tokens of several sequences in the decoder, which would see the sources of all of them.
 */
import type { Batch } from '../../contract/batch.ts';
import type { Facts } from '../facts.ts';
import type { Random } from '../random.ts';
import { idsOf } from '../trace.ts';
import type { Call, Script } from '../types.ts';
import type { Draft } from './draft.ts';
import { fill, newDraft, scriptOf } from './history.ts';

/** Mostly short: an ubatch is at least as large as what is encoded, and small ubatches are wanted. */
function sourceLength(r: Random): number {
  return r.chance(0.75) ? r.between(1, 4) : r.between(5, 20);
}

/** Tokens from the start of a path, so that sources share beginnings. */
function drawSource(r: Random, facts: Facts): readonly number[] {
  return r.pick(facts.tree.paths).slice(0, sourceLength(r));
}

/** A batch with the source of each sequence, or one source for all of them, in any order of sequences. */
function drawBatch({ r, facts, ids }: Draft): Batch {
  const one = ids.length > 1 && r.chance(0.3);
  const owners = one ? [[...ids]] : r.shuffle(ids.map((id) => [id]));
  const runs = owners.map((seq_id) => ({ seq_id, source: drawSource(r, facts), at: 0 }));
  const batch = { token: [] as number[], pos: [] as number[], seq_id: [] as (readonly number[])[] };
  const mixed = r.chance(0.5);
  for (let left = runs; left.length > 0; left = left.filter(({ source, at }) => at < source.length)) {
    const run = mixed ? r.pick(left) : left[0]!;
    batch.token.push(run.source[run.at]!);
    batch.pos.push(run.at++);
    batch.seq_id.push(run.seq_id);
  }
  // Every row of an encoder goes to the decoder, whether it is an output or not.
  return { ...batch, logits: batch.token.map(() => true) };
}

export function drawCross(r: Random, facts: Facts): Script {
  // Few sequences often: they need the smallest ubatches.
  const sequences = r.chance(0.5) ? r.between(1, 3) : r.between(2, 8);
  const d = newDraft(r, { ...facts, shared: false }, sequences);
  for (let rounds = r.between(1, 3); rounds > 0; rounds--) {
    d.calls.push({ op: 'encode', batch: drawBatch(d) });
    fill(d, { tokens: r.between(4, 44), calls: r.between(1, 3), copy: 0 });
    if (rounds > 1 && r.chance(0.4)) d.clear();
  }
  const { params, calls } = scriptOf(d);
  // Releases that cannot open such a context shall not hide everything else behind that.
  const divided = params.kv_unified === false && params.n_seq_max > 1;
  return { params: divided && !r.chance(0.1) ? { ...params, kv_unified: true } : params, calls };
}

/** Whether every sequence that is decoded has a source, and tokens have one sequence. */
export function isCross({ calls }: Script): boolean {
  let sources: ReadonlySet<number> = new Set();
  return calls.every((call: Call) => {
    if (call.op === 'encode') {
      sources = new Set(call.batch.token.flatMap((_, i) => idsOf(call.batch, i)));
      return call.refused === undefined;
    }
    if (call.op === 'seqCp' || call.op === 'stateLoad' || call.op === 'newContext') return false;
    if (call.op !== 'decode') return true;
    return call.batch.token.every((_, i) => {
      const ids = idsOf(call.batch, i);
      return ids.length === 1 && sources.has(ids[0]!);
    });
  });
}

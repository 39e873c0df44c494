/**
 * `cross`: a decoder sees what the encoder said of its own sequence, however both are batched. Each row is compared with
 * the same token where its sequence is encoded and decoded alone, or sequences stand in another order under other names,
 * or contexts are cut otherwise, or decodes are, or every cleared context is a new one. For models with an encoder and
 * a decoder (T5).
 *
 * What llama.cpp promises: the output of llama_encode is kept for the decoder's cross-attention with the sequence ids of
 * its tokens, and a token of the decoder attends to those that it shares a sequence with; each encode replaces all of it
 * (`llama_context::encode`, `llama_cross`). A sequence that was not in the last encode may not be decoded.
 */
import type { Batch } from '../contract/batch.ts';
import { HISTORY_CLASSES } from './coverage.ts';
import { type Demands, endToEnd, samePairs } from './end-to-end.ts';
import { drawCross, isCross } from './generate/cross.ts';
import { drawParams } from './generate/params.ts';
import { changed } from './shrink-params.ts';
import { idsOf, type Trace } from './trace.ts';
import { canonical, fitted, merged, onlyCalls, singly, type Twin } from './transform.ts';
import type { Call, Script } from './types.ts';

const BASES = ['alone', 'order', 'params', 'merged', 'singly', 'fresh'] as const;
type Base = (typeof BASES)[number];

function partOf(batch: Batch, places: readonly number[], pos: readonly number[]): Batch {
  return {
    token: places.map((i) => batch.token[i]!),
    pos: places.map((i) => pos[i]!),
    seq_id: places.map(() => [0]),
    logits: places.map((i) => batch.logits?.[i] ?? i === batch.token.length - 1),
  };
}

function placesOf(batch: Batch, seq: number): number[] {
  return batch.token.map((_, i) => i).filter((i) => idsOf(batch, i).includes(seq));
}

/** Each sequence in a context of its own, with its part of every source. */
function alone({ params, calls }: Script, t: Trace): Twin {
  const own: Call[] = [];
  const pairs: [number, number, number, number][] = [];
  const decoded = new Set(t.calls.flatMap(({ tokens }) => tokens.map(({ ids }) => ids[0]!)));
  for (const seq of decoded) {
    if (own.length > 0) own.push({ op: 'newContext' });
    for (const [c, call] of calls.entries()) {
      if (call.op === 'encode' || call.op === 'decode') {
        const places = placesOf(call.batch, seq);
        if (places.length === 0) continue;
        const traced = t.calls[c]!.tokens;
        const pos = call.op === 'encode' ? call.batch.pos! : traced.map((token) => token.pos);
        if (call.op === 'decode')
          for (const [k, i] of places.entries()) if (traced[i]!.output) pairs.push([c, i, own.length, k]);
        own.push({ op: call.op, batch: partOf(call.batch, places, pos) });
      } else if (call.op === 'clear') own.push(call);
      else if (call.op === 'seqRm' && (call.seq === seq || call.seq < 0))
        own.push({ ...call, seq: call.seq < 0 ? -1 : 0 });
    }
  }
  return { base: { params: fitted({ ...params, n_seq_max: 1 }, own, t.peak), calls: own }, pairs };
}

/** Sources in the order of their sequences, too. */
function ordered(script: Script, t: Trace): Twin {
  const { base, pairs } = canonical(script, t, false);
  const calls = base.calls.map((call): Call => {
    if (call.op !== 'encode') return call;
    const { batch } = call;
    const order = batch.token.map((_, i) => i).sort((a, b) => batch.seq_id![a]![0]! - batch.seq_id![b]![0]!);
    const moved = <T>(list: readonly T[]): T[] => order.map((i) => list[i]!);
    return {
      ...call,
      batch: {
        token: moved(batch.token),
        pos: moved(batch.pos!),
        seq_id: moved(batch.seq_id!),
        logits: batch.logits,
      },
    };
  });
  return { base: { params: base.params, calls }, pairs };
}

/** A new context instead of a cleared one, where something is encoded next; null if there is none. */
function fresh(script: Script, t: Trace): Twin | null {
  const renews = (c: number): boolean =>
    script.calls[c]!.op === 'clear' && script.calls[c + 1]?.op === 'encode';
  if (!script.calls.some((_, c) => renews(c))) return null;
  const { base, pairs } = onlyCalls(script, t, () => true);
  const calls = base.calls.map((call, c): Call => (renews(c) ? { op: 'newContext' } : call));
  return { base: { params: base.params, calls }, pairs };
}

function twinOf(base: Base, script: Script, t: Trace): Twin | null {
  switch (base) {
    case 'alone':
      return alone(script, t);
    case 'order':
      return ordered(script, t);
    case 'fresh':
      return fresh(script, t);
    case 'merged':
      return merged(script, t);
    default:
      return singly(script, t);
  }
}

/** The same calls under the other parameters of the case. */
function otherParams({ params, calls }: Script, t: Trace, base: Script): Demands {
  const { n_seq_max, type_kv, flash_attn } = params;
  const other = fitted(changed(base.params, { n_seq_max, type_kv, flash_attn }), calls, t.peak);
  return { base: { params: other, calls }, pairs: samePairs(t) };
}

export const cross = endToEnd({
  name: 'cross',
  statement: 'a decoder sees what the encoder said of its own sequence, however both are batched',
  encodes: true,
  classes: {
    sequences: HISTORY_CLASSES.sequences!,
    outputs: HISTORY_CLASSES.outputs!,
    operations: ['encode', 'clear', 'seqRm'],
    chunks: ['1', '2', '3-4', '5-8'],
  },
  skip(_subject, model) {
    return model.encoder === 'with decoder' ? null : 'the model is not an encoder with a decoder';
  },
  draw(r, facts) {
    const script = drawCross(r, facts);
    const plan = { base: BASES[r.weighted([6, 3, 3, 2, 2, 3])] };
    if (plan.base !== 'params') return { script, plan };
    const { n_ctx, n_seq_max, kv_unified } = script.params;
    const drawn = drawParams(r, facts, script.calls, n_ctx, { n_seq_max });
    return { script, plan, base: { params: changed(drawn, { kv_unified }), calls: script.calls } };
  },
  demand({ script, base, plan }, t) {
    if (!isCross(script)) return null;
    const { base: way } = plan as { base: Base };
    if (way === 'params') {
      if (base === undefined) return null;
      const demands = otherParams(script, t, base);
      return demands.pairs!.length === 0 ? null : { ...demands, plan };
    }
    const twin = twinOf(way, script, t);
    return twin === null || twin.pairs.length === 0 ? null : { ...twin, plan };
  },
});

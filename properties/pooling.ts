/**
 * `pooling`: the pooled embedding of a sequence does not depend on what shares its batch, nor on order, names, and what
 * the context did before. Each batch holds whole sequences from position 0 on and finds memory empty; n_ubatch is at
 * least its number of tokens.
 *
 * What llama.cpp promises: `llama_get_embeddings_seq` (llama.h) gives the embedding of a sequence after llama_decode,
 * used so by its embedding example and server, which clear memory before each batch. Memory with states is told not to
 * cut sequences ("Pooled embeddings cannot be split across ubatches (yet)"), so sequences over several ubatches or
 * calls are never asked for. Up to b5640 an id is an index into the tokens of an ubatch (`pooled_ids_below_tokens`).
 */
import type { Batch, MemoryKind } from '../contract/batch.ts';
import type { ContextParams, Pooling } from '../contract/subject.ts';
import { runCase } from './compare.ts';
import { coverScript, HISTORY_CLASSES, note } from './coverage.ts';
import { BASES, type Base, encodedTwin } from './encoder.ts';
import { encoderOf } from './encoder-view.ts';
import { endToEnd } from './end-to-end.ts';
import { drawEncoding, isEncoding } from './generate/encoder.ts';
import { uncopied } from './noise-rows.ts';
import { pickWhere } from './shrink-batch.ts';
import { idsOf, type Trace, trace } from './trace.ts';
import type { Case, Env, Outcome, Property, Script } from './types.ts';

const KINDS = ['mean', 'cls', 'last'] as const satisfies readonly Pooling[];

/** Tokens of each sequence. */
function lengthsOf(batch: Batch): Map<number, number> {
  const lengths = new Map<number, number>();
  for (const i of batch.token.keys())
    for (const id of idsOf(batch, i)) lengths.set(id, (lengths.get(id) ?? 0) + 1);
  return lengths;
}

/** Whether an id may be asked of such releases. */
function isBelow(id: number, batch: Batch, states: boolean): boolean {
  return id < (states ? lengthsOf(batch).get(id)! : batch.token.length);
}

function areBelow({ calls }: Script, states: boolean): boolean {
  return calls.every(
    (call) =>
      call.op !== 'decode' ||
      [...lengthsOf(call.batch).keys()].every((id) => isBelow(id, call.batch, states)),
  );
}

/** Only sequences with ids that may be asked for, and every token an output: it is one of its sequence. */
function tame({ params, calls }: Script, below: 'any' | 'states' | 'tokens'): Script {
  const tamed = calls.flatMap((call) => {
    if (call.op !== 'decode') return [];
    let { batch } = call;
    while (below !== 'any') {
      const wrong = [...lengthsOf(batch).keys()].filter((id) => !isBelow(id, batch, below === 'states'));
      if (wrong.length === 0) break;
      batch = pickWhere(batch, (i) => !wrong.includes(idsOf(batch, i)[0]!));
    }
    if (batch.token.length === 0) return [];
    return [{ ...call, batch: { ...batch, logits: batch.token.map(() => true) } }];
  });
  return { params, calls: tamed };
}

/** One pair for each sequence of each batch: that of its last token. */
function onePerSequence(pairs: NonNullable<Case['pairs']>, t: Trace): NonNullable<Case['pairs']> {
  const last = new Map(
    pairs.map((pair) => [`${pair[0]} ${t.calls[pair[0]]!.tokens[pair[1]]!.ids[0]}`, pair]),
  );
  return [...last.values()];
}

/** An ubatch of as many tokens for each sequence. */
function evened(params: ContextParams): ContextParams {
  const { n_seq_max } = params;
  const n_ubatch = Math.ceil(params.n_ubatch / n_seq_max) * n_seq_max;
  return { ...params, n_ubatch, n_batch: Math.max(params.n_batch, n_ubatch) };
}

/** With states a sequence is an ubatch of its own. */
function hasStates(memory: MemoryKind): boolean {
  return memory === 'recurrent' || memory === 'hybrid';
}

function framed(below: 'any' | 'states' | 'tokens') {
  return endToEnd({
    name: 'pooling',
    statement: 'the pooled embedding of a sequence does not depend on what shares its batch',
    classes: {
      sequences: HISTORY_CLASSES.sequences!,
      lengths: HISTORY_CLASSES.lengths!,
      chunks: ['1', '2', '3-4'],
      pooling: KINDS,
    },
    draw(r, facts) {
      const drawn = tame(drawEncoding(r, facts, r.pick(KINDS)), below);
      // v0.5.0 cannot open a context for means otherwise, which shall not hide everything else.
      const script = r.chance(0.9) ? { ...drawn, params: evened(drawn.params) } : drawn;
      return { script, plan: { base: BASES[r.weighted([2, 1, 1])] } };
    },
    demand({ script, plan }, t) {
      if (script.calls.length === 0 || !isEncoding(script) || script.params.pooling === 'none') return null;
      if (below !== 'any' && !areBelow(script, below === 'states')) return null;
      const twin = encodedTwin((plan as { base: Base }).base, script, t);
      const even = script.params.n_ubatch % script.params.n_seq_max === 0;
      const base = even ? { ...twin.base, params: evened(twin.base.params) } : twin.base;
      if (below !== 'any' && !areBelow(base, below === 'states')) return null;
      const pairs = onePerSequence(twin.pairs, t);
      return pairs.length === 0 ? null : { base, pairs, plan };
    },
  });
}

const frames = { any: framed('any'), states: framed('states'), tokens: framed('tokens') } as const;

function frameOf({ subject, model }: Pick<Env, 'subject' | 'model'>): Property {
  if (subject.legal?.pooled_ids_below_tokens !== true) return frames.any;
  return hasStates(model.memory) ? frames.states : frames.tokens;
}

export const pooling: Property = {
  ...frames.any,
  skip(subject, model) {
    if (subject.choices?.pooling === undefined) return 'the subject does not pool embeddings';
    if (model.encoder === 'with decoder') return 'what its encoder says goes to the decoder';
    if (subject.rounding === undefined && !subject.bit_invariant)
      return 'the subject does not state how it rounds';
    return subject.bit_invariant ? null : uncopied(model);
  },
  generate: (env, index) => frameOf(env).generate(encoderOf(env), index),
  shrink: (env, c) => frameOf(env).shrink(encoderOf(env), c),
  rebuild: (env, c, change) => frameOf(env).rebuild!(encoderOf(env), c, change),
  async run(env, c) {
    const view = encoderOf(env);
    const script = c.script!;
    coverScript(env.coverage, script, trace(script, view.model.memory));
    note(env.coverage, 'pooling', script.params.pooling!);
    return named(await runCase(view, c));
  },
};

/** Signatures say what is wrong. */
function named(outcome: Outcome): Outcome {
  const { failure } = outcome;
  if (failure === undefined) return outcome;
  const kind = failure.case.script!.params.pooling!;
  return {
    ...outcome,
    failure: { ...failure, signature: failure.signature.replace(/\/logits$/, `/embedding, ${kind}`) },
  };
}

/**
 * `encoder`: a sequence that is encoded with others says what it says alone. Every row is compared with the same token
 * of its sequence alone in a context of its own, or of the same batches in another order and under other names, or of
 * each batch in a new context. For models that are encoders or have one; rows are embeddings without pooling.
 */
import { runCase } from './compare.ts';
import { coverScript, HISTORY_CLASSES } from './coverage.ts';
import { encoderOf } from './encoder-view.ts';
import { endToEnd } from './end-to-end.ts';
import { drawEncoding, isEncoding } from './generate/encoder.ts';
import { uncopied } from './noise-rows.ts';
import { type Trace, trace } from './trace.ts';
import { canonical, type Twin } from './transform.ts';
import type { Call, Outcome, Property, Script } from './types.ts';

/** What a batch of whole sequences is compared with. */
export const BASES = ['alone', 'order', 'fresh'] as const;
export type Base = (typeof BASES)[number];

/** Each sequence of each batch in a context of its own. */
function alone({ params, calls }: Script, t: Trace): Twin {
  const own: Call[] = [];
  const pairs: [number, number, number, number][] = [];
  let longest = 1;
  t.calls.forEach(({ tokens }, c) => {
    const batch = (calls[c] as Extract<Call, { op: 'decode' }>).batch;
    for (const seq of new Set(tokens.map(({ ids }) => ids[0]!))) {
      const places = tokens.map((_, i) => i).filter((i) => tokens[i]!.ids[0] === seq);
      if (own.length > 0) own.push({ op: 'newContext' });
      for (const [k, i] of places.entries()) if (tokens[i]!.output) pairs.push([c, i, own.length, k]);
      own.push({
        op: 'decode',
        batch: {
          token: places.map((i) => batch.token[i]!),
          pos: places.map((i) => tokens[i]!.pos),
          seq_id: places.map(() => [0]),
          logits: places.map((i) => tokens[i]!.output),
        },
      });
      longest = Math.max(longest, places.length);
    }
  });
  const room = { n_ctx: longest, n_batch: longest, n_ubatch: longest, n_seq_max: 1 };
  return { base: { params: { ...params, ...room }, calls: own }, pairs };
}

/** Each batch in a new context. */
function fresh({ params }: Script, t: Trace): Twin {
  const own: Call[] = [];
  const pairs: [number, number, number, number][] = [];
  t.calls.forEach(({ call, tokens }, c) => {
    if (c > 0) own.push({ op: 'newContext' });
    for (const [i, { output }] of tokens.entries()) if (output) pairs.push([c, i, own.length, i]);
    own.push(call);
  });
  return { base: { params, calls: own }, pairs };
}

export function encodedTwin(base: Base, script: Script, t: Trace): Twin {
  if (base === 'order') return canonical(script, t, false);
  return base === 'alone' ? alone(script, t) : fresh(script, t);
}

const framed = endToEnd({
  name: 'encoder',
  statement: 'a sequence that is encoded with others says what it says alone',
  classes: {
    sequences: HISTORY_CLASSES.sequences!,
    lengths: HISTORY_CLASSES.lengths!,
    outputs: HISTORY_CLASSES.outputs!,
    chunks: ['1', '2', '3-4'],
  },
  draw(r, facts) {
    const script = drawEncoding(r, facts);
    return { script, plan: { base: BASES[r.weighted([2, 1, 1])] } };
  },
  demand({ script, plan }, t) {
    if (!isEncoding(script) || script.params.pooling !== 'none') return null;
    const twin = encodedTwin((plan as { base: Base }).base, script, t);
    return twin.pairs.length === 0 ? null : { ...twin, plan };
  },
});

export const encoder: Property = {
  ...framed,
  skip(subject, model) {
    if (model.encoder === undefined) return 'the model has no encoder';
    if (subject.bit_invariant) return null;
    return subject.rounding === undefined ? 'the subject does not state how it rounds' : uncopied(model);
  },
  generate: (env, index) => framed.generate(encoderOf(env), index),
  shrink: (env, c) => framed.shrink(encoderOf(env), c),
  rebuild: (env, c, change) => framed.rebuild!(encoderOf(env), c, change),
  async run(env, c) {
    const view = encoderOf(env);
    coverScript(env.coverage, c.script!, trace(c.script!, view.model.memory));
    return named(await runCase(view, c));
  },
};

/** Here rows are never anything but embeddings, and signatures say so. */
function named(outcome: Outcome): Outcome {
  const { failure } = outcome;
  if (failure === undefined) return outcome;
  const signature = failure.signature.replace(/\/logits$/, '/embedding');
  return { ...outcome, failure: { ...failure, signature } };
}

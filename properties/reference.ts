/**
 * `reference`: every answer is the oracle's, within the bound that is derived for that element from its operands and
 * from how the subject says that it rounds. Histories of every kind: batches of many sequences, removals, copies,
 * cleared and refilled contexts; after a removal inside, the oracle follows the entries. With `--reference self` every
 * answer is what the subject itself says token by token (`self-reference.ts`).
 */
import { IsobatchError } from '../contract/errors.ts';
import { rowWidth } from '../contract/subject.ts';
import { architectures } from '../oracle/forward.ts';
import { BoundedRows } from './bounded.ts';
import { describeToken, failureOf } from './compare.ts';
import { coverScript, HISTORY_CLASSES, REFILL_CLASSES } from './coverage.ts';
import { encoderOf } from './encoder-view.ts';
import { endToEnd } from './end-to-end.ts';
import { drawEncoding, isEncoding } from './generate/encoder.ts';
import { newDraft, scriptOf } from './generate/history.ts';
import { operate } from './generate/operations.ts';
import { mayOverflow, type OracleRow, oracleRowsOf } from './oracle-rows.ts';
import { unprofiled } from './profiles.ts';
import { runScript } from './run-script.ts';
import { isLarge } from './sample.ts';
import { compareWithSelf } from './self-reference.ts';
import { skipped } from './skipped.ts';
import { trace } from './trace.ts';
import type { Case, Difference, Env, Outcome, Property, Script } from './types.ts';

const framed = endToEnd({
  name: 'reference',
  statement: "every answer is the oracle's, within the rounding error that is derived for that element",
  classes: { ...HISTORY_CLASSES, ...REFILL_CLASSES, operations: ['seqRm', 'seqCp', 'seqKeep', 'clear'] },
  draw(r, facts) {
    const d = newDraft(r, facts);
    const rounds = r.between(1, 5);
    let left = r.between(8, 96);
    for (let i = 0; i < rounds && left > 0; i++) {
      left -= d.decode(i === rounds - 1 ? left : r.between(1, Math.ceil((1.5 * left) / (rounds - i))));
      if (i === rounds - 1) break;
      for (let k = r.below(5); k > 0; k--) operate(d);
    }
    return { script: scriptOf(d) };
  },
  demand(_drawn, t) {
    return t.calls.some(({ tokens }) => tokens.some((x) => x.output)) ? {} : null;
  },
});

/** The same of an encoder, which is given batches of whole sequences and remembers none. */
const encoding = endToEnd({
  name: framed.name,
  statement: framed.statement,
  classes: framed.classes,
  draw: (r, facts) => ({ script: drawEncoding(r, facts) }),
  demand: ({ script }, t) =>
    isEncoding(script) && t.calls.some(({ tokens }) => tokens.some((x) => x.output)) ? {} : null,
});

function encodes({ model, reference: what }: Env): boolean {
  return model.encoder === 'only' && what !== 'self';
}

export const reference: Property = {
  ...framed,
  generate: (env, index) =>
    encodes(env) ? encoding.generate(encoderOf(env), index) : framed.generate(env, index),
  shrink: (env, c) => (encodes(env) ? encoding.shrink(encoderOf(env), c) : framed.shrink(env, c)),
  rebuild: (env, c, change) =>
    encodes(env) ? encoding.rebuild!(encoderOf(env), c, change) : framed.rebuild!(env, c, change),
  skip(subject, model, asked) {
    // With itself it is compared as by any other property.
    if (asked?.reference === 'self') return framed.skip(subject, model);
    const reason = unprofiled(subject, {});
    if (reason !== null) return reason;
    if (!architectures.includes(model.arch))
      return `the oracle has no forward pass for ${model.arch} yet; --reference self compares the subject with itself`;
    if (isLarge(model))
      return `${model.n_params} parameters are too many for the oracle; --reference self compares the subject with itself`;
    return null;
  },
  async run(env, c) {
    coverScript(env.coverage, c.script!, trace(c.script!, env.model.memory));
    if (env.reference === 'self') return compareWithSelf(env, c);
    return compareWithOracle(encodes(env) ? encoderOf(env) : env, c);
  },
};

/** The oracle's rows, or why it has none: the model has a tensor that its formulas do not know. */
function rowsOrReason(env: Env, script: Script): Map<string, OracleRow> | string {
  try {
    return oracleRowsOf(env, script);
  } catch (error) {
    // A tensor that the formulas do not know, or a type of weights that we do not read.
    if (error instanceof IsobatchError && (error.kind === 'model' || error.kind === 'gguf'))
      return error.message;
    throw error;
  }
}

const OVERFLOW = 'refused.memory.overflow';

async function compareWithOracle(env: Env, c: Case): Promise<Outcome> {
  const script = c.script!;
  const unbounded = unprofiled(env.subject, script.params);
  if (unbounded !== null) return skipped(unbounded, 0);
  const run = await runScript(env.loaded, script);
  const rows = rowsOrReason(env, script);
  if (typeof rows === 'string') return skipped(rows, run.tokens);
  const judged = new BoundedRows(env, script.params);
  const width = rowWidth(env.model, script.params);
  const counts = { compared: run.refusals, equal: run.refusals, rounding: 0, divergent: 0 };
  let first: Difference | null = null;
  for (const [key, row] of rows) {
    const [call, index] = key.split('/').map(Number) as [number, number];
    const answer = run.rows[call];
    if (answer === undefined || answer === null) continue; // the run ended before
    const at = answer.row[index]! * width;
    const pair = { got: new Float32Array(answer.bits.buffer), at, want: row.carried.v, wantAt: 0 } as const;
    const verdict = judged.judge({ ...pair, routes: 1 }, row);
    counts.compared += width;
    for (const kind of ['equal', 'rounding', 'divergent'] as const) counts[kind] += verdict[kind];
    if (verdict.miss === null || first !== null) continue;
    const { miss } = verdict;
    first = { what: describeToken(script, env, call, index), at: { call, index }, ...miss };
  }
  const { unexpected, tokens } = run;
  const outcome = { ...counts, tokens, bounds: judged.tally };
  if (first === null && unexpected !== null) {
    const { kind, ...difference } = unexpected;
    const allowed = kind === OVERFLOW && mayOverflow(env, script, run.rows.length);
    if (!allowed) return { status: 'failed', ...outcome, failure: failureOf(env, c, difference, kind) };
    judged.tally.overflow++;
  }
  if (first === null) return { status: 'passed', ...outcome };
  return { status: 'failed', ...outcome, failure: failureOf(env, c, first, 'logits') };
}

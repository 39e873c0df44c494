/**
 * Compares what a script gave with what its case demands: rows with rows of the base or with the sequence alone, and
 * positions. A subject that promises the same bits is held to them; for another, two of its answers may differ by what
 * it rounds, within the bound that is derived for each element. Counts every element; the first difference makes the
 * failure.
 */
import { IsobatchError } from '../contract/errors.ts';
import { rowWidth } from '../contract/subject.ts';
import { answersOf } from './answers.ts';
import { familyOf, isUnwatched } from './facts.ts';
import { Near, type Pair } from './near.ts';
import { mayOverflow } from './oracle-rows.ts';
import { unprofiled } from './profiles.ts';
import { rowName, runScript, type ScriptRun } from './run-script.ts';
import { skipped } from './skipped.ts';
import { trace } from './trace.ts';
import type { Case, Difference, Env, Failure, MissedBound, Outcome, Script } from './types.ts';

interface Tally {
  compared: number;
  rounding: number;
  divergent: number;
  /** For a subject that does not promise bits. */
  readonly near: Near | null;
  first: { readonly difference: Difference; readonly kind: string } | null;
}

/** Runs an end-to-end case and compares everything that it names. */
export async function runCase(env: Env, c: Case): Promise<Outcome> {
  const script = c.script!;
  const unbounded = env.subject.bit_invariant ? null : unprofiled(env.subject, script.params);
  if (unbounded !== null) return skipped(unbounded, 0);
  const run = await runScript(env.loaded, script, c.positions);
  const near = env.subject.bit_invariant ? null : new Near(env, script);
  const tally: Tally = { compared: 0, rounding: 0, divergent: 0, near, first: null };
  if (run.unexpected !== null) {
    const { kind, ...difference } = run.unexpected;
    if (kind === 'refused.memory.overflow' && mayOverflow(env, script, run.rows.length))
      return overflown(run);
    // What memory said before tells more than what it refused afterwards.
    comparePositions(env, c, run, tally);
    tally.first ??= { difference, kind };
    return outcome(env, c, run, tally);
  }
  // A refusal that came as it should is an answer that was compared.
  tally.compared += run.refusals;
  comparePositions(env, c, run, tally);
  try {
    const alone = await alonePairs(env, c, run);
    const base = await basePairs(env, c, run);
    await near?.prepare([...alone, ...base.pairs]);
    for (const pair of [...alone, ...base.pairs]) compareRow(env, c, pair, tally);
    tally.first ??= base.unexpected;
  } catch (error) {
    // Nearly at the end of F16 a subject may take the history and refuse the sequence alone, if the oracle says so.
    const overflow = error instanceof IsobatchError && error.kind === 'memory.overflow';
    if (overflow && script.calls.some((_, call) => mayOverflow(env, script, call))) return overflown(run);
    // Not of every file can copies be made.
    if (error instanceof IsobatchError && (error.kind === 'gguf' || error.kind === 'model'))
      return skipped(error.message, run.tokens);
    throw error;
  }
  return outcome(env, c, run, tally);
}

/** F16 cannot hold this history, and the subject says so: right, and nothing more to compare. */
function overflown(run: ScriptRun): Outcome {
  return skipped('F16 cannot hold K or V of this history, and the subject refused it', run.tokens);
}

function outcome(env: Env, c: Case, run: ScriptRun, tally: Tally): Outcome {
  const { compared, rounding, divergent, first, near } = tally;
  const equal = compared - rounding - divergent;
  const counts = {
    ...{ compared, equal, rounding, divergent, tokens: run.tokens, bounds: near?.rows.tally },
    ...(near?.looked === true ? { looked: true as const } : {}),
  };
  if (first === null) return { status: 'passed', ...counts };
  return { status: 'failed', ...counts, failure: failureOf(env, c, first.difference, first.kind) };
}

/** One sentence and a signature for a difference. */
export function failureOf(env: Env, c: Case, difference: Difference, kind: string): Failure {
  const { what, index, got, want, missed } = difference;
  const where = index === undefined ? what : `${what}, element ${index}`;
  const far = missed === undefined ? '' : ` (${missedInWords(missed)})`;
  return {
    case: c,
    message: `${c.property}: ${where}: got ${got ?? 'nothing'}, want ${want ?? 'nothing'}${far}`,
    difference,
    signature: `${c.property}/${c.model === 'rules' ? 'rules' : familyOf(env)}/${kind}`,
  };
}

/** "1.23e+3 derived standard deviations off; the bound is 4.5e-6; no roundings explain it". */
export function missedInWords({ bound, sigmas, grade, by }: MissedBound): string {
  const graded = grade === 'not graded' ? '' : `; ${GRADES[grade]}`;
  if (bound === 0 || sigmas === Number.MAX_VALUE)
    return `nothing is rounded here, so it must be equal${graded}`;
  const how = by === 'copies' ? 'measured' : 'derived';
  return `${sigmas.toPrecision(3)} ${how} standard deviations off; the bound is ${bound.toPrecision(3)}${graded}`;
}

const GRADES = {
  'no roundings explain it': 'no roundings explain it',
  'a conspiracy of roundings': 'only a conspiracy of roundings could explain it',
} as const;

function comparePositions(env: Env, c: Case, run: ScriptRun, tally: Tally): void {
  c.positions?.slice(0, run.positions.length).forEach(([call, seq, min, max], k) => {
    const got = run.positions[k]!;
    const { no_pos_min, pos_of_empty } = env.subject.legal ?? {};
    for (const [name, have, want] of [
      ['smallest', got[0], min],
      ['largest', got[1], max === -1 ? (pos_of_empty ?? -1) : max],
    ] as const) {
      // A window has forgotten what lies before it, and how soon is the subject's business.
      if (name === 'smallest' && (no_pos_min || (isUnwatched(env.subject, env.model) && min >= 0))) continue;
      tally.compared++;
      if (have === want) continue;
      tally.divergent++;
      tally.first ??= {
        kind: 'position',
        difference: { what: `${name} position of sequence ${seq} after call ${call}`, got: have, want },
      };
    }
  });
}

/** Rows with what their sequences say alone. */
async function alonePairs(env: Env, { alone = [], script }: Case, run: ScriptRun): Promise<Pair[]> {
  const answers = answersOf(env);
  const { params } = script!;
  if (env.first_look !== undefined)
    await answers.prepare(
      alone.map(({ tokens }) => tokens),
      params,
    );
  const pairs: Pair[] = [];
  for (const { call, index, tokens } of alone) {
    const found = answers.row(tokens, params);
    // Nearly always kept already, and then no turn of the event loop is spent.
    const want = found instanceof Uint32Array ? found : await found;
    pairs.push({ rows: run.rows[call]!, call, index, want, wantAt: 0 });
  }
  return pairs;
}

/** Rows with those of the base, or what the base did instead of answering. */
async function basePairs(
  env: Env,
  c: Case,
  run: ScriptRun,
): Promise<{ readonly pairs: Pair[]; readonly unexpected: Tally['first'] }> {
  if (c.base === undefined) return { pairs: [], unexpected: null };
  const other = await runScript(env.loaded, c.base);
  if (other.unexpected !== null) {
    const { kind, ...difference } = other.unexpected;
    const what = `base history: ${difference.what}`;
    return { pairs: [], unexpected: { kind: `base.${kind}`, difference: { ...difference, what } } };
  }
  const width = rowWidth(env.model, c.script!.params);
  const pairs = (c.pairs ?? []).map(([call, index, baseCall, baseIndex]) => {
    const { bits, row } = other.rows[baseCall]!;
    return { rows: run.rows[call]!, call, index, want: bits, wantAt: row[baseIndex]! * width };
  });
  return { pairs, unexpected: null };
}

function compareRow(env: Env, c: Case, pair: Pair, tally: Tally): void {
  const width = rowWidth(env.model, c.script!.params);
  const { rows, call, index, want, wantAt } = pair;
  const at = rows.row[index]! * width;
  // An index without a row would compare nothing at all: that is a broken case, not a pass.
  if (at < 0 || wantAt < 0) throw new RangeError(`token ${index} of call ${call} is not an output`);
  tally.compared += width;
  if (tally.near !== null) {
    compareNear(env, c, pair, tally, tally.near);
    return;
  }
  for (let v = 0; v < width; v++) {
    if (rows.bits[at + v] === want[wantAt + v]) continue;
    tally.divergent++;
    tally.first ??= {
      kind: 'logits',
      difference: {
        what: describeToken(c.script!, env, call, index),
        index: v,
        got: float(rows.bits[at + v]!),
        want: float(want[wantAt + v]!),
        at: { call, index },
      },
    };
  }
}

function compareNear(env: Env, c: Case, pair: Pair, tally: Tally, near: Near): void {
  const verdict = near.judge(pair);
  tally.rounding += verdict.rounding;
  tally.divergent += verdict.divergent;
  if (verdict.miss === null || tally.first !== null) return;
  const { call, index } = pair;
  const what = describeToken(c.script!, env, call, index);
  tally.first = { kind: 'logits', difference: { what, at: { call, index }, ...verdict.miss } };
}

/**
 * "logits of token 3 of call 2 (sequence 1, position 4)", or "embedding of ...". Signatures say "logits" of both: what a
 * context answers is a parameter like others, which shrinking takes away where it does not matter.
 */
export function describeToken(script: Script, env: Env, call: number, index: number): string {
  const { ids, pos } = trace(script, env.model.memory).calls[call]!.tokens[index]!;
  const name = ids.length === 1 ? `sequence ${ids[0]}` : `sequences ${ids.join(', ')}`;
  return `${rowName(script.params)} of token ${index} of call ${call} (${name}, position ${pos})`;
}

const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);
function float(bits: number): number {
  word[0] = bits;
  return real[0]!;
}

/**
 * Runs a script on a model of a subject: a new context, every call in order, every output row kept. What the subject
 * does against the script (a refusal, an acceptance, a missing row) ends the run with a difference.
 */
import type { Batch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import {
  type ContextParams,
  type DecodeResult,
  type MaybePromise,
  rowWidth,
  type SubjectContext,
  type SubjectModel,
} from '../contract/subject.ts';
import { doCall, SCRIPT_OPS } from './subjects/script.ts';
import { isOutput } from './trace.ts';
import type { Call, Difference, Script, StateCall } from './types.ts';

/** The output rows of one decode. */
export interface Rows {
  /** By batch index: its row, or -1. */
  readonly row: Int32Array;
  /** The bits of n_outputs rows of `rowWidth` numbers. */
  readonly bits: Uint32Array;
}

export interface ScriptRun {
  /** By call; null for what is not a decode. */
  readonly rows: readonly (Rows | null)[];
  /** What memory reported, in the order of the questions: min and max. */
  readonly positions: readonly (readonly [number, number])[];
  /** Tokens that were evaluated. */
  readonly tokens: number;
  /** Calls that were refused as they should be. */
  readonly refusals: number;
  readonly unexpected: Unexpected | null;
}

export interface Unexpected extends Difference {
  /** For the signature: what kind of surprise it was. */
  readonly kind: string;
}

/** Questions about memory after a call: [call, seq, ...], ascending by call. */
export type Questions = readonly (readonly [number, number, ...unknown[]])[];

function isPromise<T>(x: MaybePromise<T>): x is Promise<T> {
  return typeof (x as Promise<T> | null)?.then === 'function';
}

/** `look` sees the context after every call, which then are made one by one; what it finds ends the run. */
export async function runScript(
  model: SubjectModel,
  script: Script,
  ask: Questions = [],
  look?: (ctx: SubjectContext, call: number) => Promise<Unexpected | null>,
): Promise<ScriptRun> {
  const rows: (Rows | null)[] = [];
  const positions: [number, number][] = [];
  const run = { rows, positions, tokens: 0, refusals: 0, unexpected: null as Unexpected | null };
  let session: Session;
  try {
    const whole = look === undefined ? model.openFor?.(script.params, script.calls, ask) : undefined;
    const opened = whole ?? model.open(script.params);
    session = new Session(model, script, isPromise(opened) ? await opened : opened);
  } catch (error) {
    run.unexpected = surprise('open', 'opening the context', error);
    return run;
  }
  try {
    let next = 0;
    for (let c = 0; c < script.calls.length; c++) {
      const call = script.calls[c]!;
      const answer = await runCall(session, call, c);
      if ('what' in answer) {
        run.unexpected = answer;
        return run;
      }
      rows.push(answer.rows);
      if (refusedKind(call) !== undefined) run.refusals++;
      else if (call.op === 'decode') run.tokens += call.batch.token.length;
      for (; next < ask.length && ask[next]![0] === c; next++) {
        const min = session.ctx.seqPosMin(ask[next]![1]);
        const max = session.ctx.seqPosMax(ask[next]![1]);
        positions.push([isPromise(min) ? await min : min, isPromise(max) ? await max : max]);
      }
      if (look === undefined) continue;
      run.unexpected = await look(session.ctx, c);
      if (run.unexpected !== null) return run;
    }
  } catch (error) {
    // Questions about memory are never refused.
    run.unexpected = surprise('positions', 'asking memory for positions', error);
  } finally {
    const closed = session.ctx.close();
    if (isPromise(closed)) await closed;
  }
  return run;
}

/** What a row of an answer is. */
export function rowName({ embeddings }: Pick<ContextParams, 'embeddings'>): 'logits' | 'embedding' {
  return embeddings === true ? 'embedding' : 'logits';
}

/** The context that the calls go to, and the states that were kept. */
class Session {
  ctx: SubjectContext;
  /** Numbers in a row, and what it is called. */
  readonly width: number;
  readonly row: string;
  readonly #model: SubjectModel;
  readonly #script: Script;
  readonly #slots = new Map<string, Uint8Array>();

  constructor(model: SubjectModel, script: Script, ctx: SubjectContext) {
    this.#model = model;
    this.#script = script;
    this.ctx = ctx;
    this.width = rowWidth(model.info, script.params);
    this.row = rowName(script.params);
  }

  async state(call: StateCall): Promise<void> {
    if (call.op === 'newContext') {
      // Opened first: whoever is refused another context still has one to close.
      const next = await this.#model.open({ ...this.#script.params, ...call.params });
      await this.ctx.close();
      this.ctx = next;
      return;
    }
    const { ctx } = this;
    if (ctx.stateGet === undefined || ctx.stateSet === undefined)
      throw new IsobatchError('protocol', 'this subject saves no state');
    if (call.op === 'stateSave') {
      // A copy: the bytes belong to the context.
      this.#slots.set(call.slot, (await ctx.stateGet(call.seq)).slice());
      return;
    }
    const bytes = this.#slots.get(call.slot);
    if (bytes === undefined) throw new RangeError(`nothing was saved as ${call.slot}`);
    const kept = bytes.subarray(0, Math.max(0, bytes.length - (call.cut ?? 0)));
    await ctx.stateSet(kept.slice(), call.seq);
  }
}

function refusedKind(call: Call): string | undefined {
  return call.op === 'clear' ? undefined : call.refused;
}

async function runCall(
  session: Session,
  call: Call,
  c: number,
): Promise<{ readonly rows: Rows | null } | Unexpected> {
  const refused = refusedKind(call);
  let result: DecodeResult | undefined;
  try {
    const answer = callOf(session, call);
    const value = isPromise(answer) ? await answer : answer;
    if (call.op === 'decode') result = value as DecodeResult;
  } catch (error) {
    if (refused !== undefined && error instanceof IsobatchError && isRefusal(error.kind, refused))
      return { rows: null };
    const found = surprise(`call.${call.op}`, `${call.op}, call ${c}`, error);
    return refused === undefined ? found : { ...found, want: `refused: ${refused}` };
  }
  if (refused !== undefined) {
    return {
      kind: `accepted.${refused}`,
      what: `${call.op}, call ${c}`,
      got: 'accepted',
      want: `refused: ${refused}`,
    };
  }
  if (call.op !== 'decode') return { rows: null };
  return keepRows(call.batch, result!, c, session);
}

/** `refused` is what a subject says that does not tell which rule was broken. */
function isRefusal(got: string, want: string): boolean {
  return got === want || got === 'refused';
}

function callOf(session: Session, call: Call): MaybePromise<DecodeResult> | MaybePromise<void> {
  return isStateCall(call) ? session.state(call) : doCall(session.ctx, call);
}

function isStateCall(call: Call): call is StateCall {
  return !SCRIPT_OPS.includes(call.op);
}

/** Copies the answer, which belongs to the context, and finds each token's row. */
function keepRows(
  batch: Batch,
  result: DecodeResult,
  c: number,
  { width, row: name }: Pick<Session, 'width' | 'row'>,
): { readonly rows: Rows } | Unexpected {
  const n = batch.token.length;
  const row = new Int32Array(n).fill(-1);
  let outputs = 0;
  for (let i = 0; i < n; i++) if (isOutput(batch, i)) row[i] = outputs++;
  if (result.n_outputs !== outputs) {
    return { kind: 'rows', what: `number of outputs of call ${c}`, got: result.n_outputs, want: outputs };
  }
  if (result.logits.length < outputs * width) {
    return { kind: 'rows', what: `${name} of call ${c}`, got: result.logits.length, want: outputs * width };
  }
  const bits = new Uint32Array(outputs * width);
  new Float32Array(bits.buffer).set(result.logits.subarray(0, bits.length));
  for (let k = 0; k < bits.length; k++) {
    if ((bits[k]! & 0x7f800000) !== 0x7f800000) continue;
    const i = row.indexOf(Math.floor(k / width));
    return {
      kind: 'not-finite',
      what: `${name} of token ${i} of call ${c}`,
      index: k % width,
      got: String(result.logits[k]),
      want: 'a finite number',
    };
  }
  return { rows: { row, bits } };
}

/** An assertion of a C or C++ program, without the number of its line, which differs between versions. */
const ASSERTION = /([\w.-]+\.(?:cpp|cc|c|h|hpp|cu)):\d+: (.*)/;
const MOST_MARK = 90;

/**
 * What tells one death or unnamed refusal from another: the assertion among the last words, or what the subject marked
 * its refusal with. Numbers are left out: they differ from case to case.
 */
function markOf({ kind, detail }: IsobatchError): string {
  if (kind === 'refused') return plainMark(detail.mark);
  if (kind !== 'subject') return '';
  const [, file, text] = ASSERTION.exec(String(detail.log ?? '')) ?? [];
  return file === undefined ? plainMark(detail.end) : `${file}: ${plainMark(text)}`;
}

function plainMark(text: unknown): string {
  return typeof text === 'string' ? text.replace(/\d+/g, '#').slice(0, MOST_MARK).trim() : '';
}

/** Refusals and deaths by what they look like in a run. */
const causes = new WeakMap<Unexpected, IsobatchError>();

/**
 * An error of kind `subject` for a script that only helps to judge another one, and that did not run to its end: with
 * how the process died, if that was it.
 */
export function helperError(what: string, unexpected: Unexpected): IsobatchError {
  const cause = causes.get(unexpected);
  const died = cause?.kind === 'subject' ? cause.detail : { did: `failed at ${what}` };
  return new IsobatchError('subject', `${what}: ${unexpected.what}: ${unexpected.got}`, died);
}

/** What is told of a call that was refused or threw against the script; `kind` begins its signature if it threw. */
export function surprise(kind: string, what: string, error: unknown): Unexpected {
  if (error instanceof IsobatchError) {
    const mark = markOf(error);
    const found: Unexpected = {
      kind: mark === '' ? `refused.${error.kind}` : `refused.${error.kind}: ${mark}`,
      what,
      got: `refused: ${error.kind}: ${error.message}`,
      want: 'accepted',
    };
    causes.set(found, error);
    return found;
  }
  const message = error instanceof Error ? error.message : String(error);
  return { kind: `${kind}.threw`, what, got: `threw: ${message}`, want: 'accepted' };
}

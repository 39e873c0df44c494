/**
 * A whole history in one request. Between processes each call costs far more than most decodes of a tiny model, so a
 * subject that our own server serves takes all calls of a script at once; the answers are then given out one by one, as
 * a context would have given them. If the process dies on the way, the history is run again call by call, to say where.
 */

import type { Batch } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';
import {
  type DecodeResult,
  type MaybePromise,
  rowWidth,
  type SubjectContext,
  type SubjectModel,
} from '../../contract/subject.ts';
import { type ErrorRecord, errorOf, errorRecord } from '../protocol.ts';
import type { Call, MoveCall } from '../types.ts';

/** What a script asks of a context; `refused`: an error is expected, and the history goes on after it. */
export type ScriptCall = Extract<
  Call,
  { readonly op: 'decode' | 'encode' | 'seqRm' | 'seqCp' | 'seqKeep' | 'seqAdd' | 'seqDiv' | 'clear' }
>;

export const SCRIPT_OPS: readonly string[] = [
  'decode',
  'encode',
  'seqRm',
  'seqCp',
  'seqKeep',
  'seqAdd',
  'seqDiv',
  'clear',
];

/** Answers in the order of the calls; after each call the positions that were asked for. */
export interface ScriptAnswers {
  readonly calls: readonly ({ readonly n_outputs?: number } | { readonly error: ErrorRecord })[];
  readonly positions: readonly (readonly [number, number])[];
  /** Rows of all decodes, one after another. */
  readonly rows: Float32Array;
}

/** [call, seq, ...]: the smallest and largest position of a sequence after a call; ascending by call. */
export type ScriptQuestions = readonly (readonly [number, number, ...unknown[]])[];

/** Makes one call on a context. */
export function doCall(
  ctx: SubjectContext,
  call: ScriptCall,
): MaybePromise<DecodeResult> | MaybePromise<void> {
  switch (call.op) {
    case 'decode':
      return ctx.decode(call.batch);
    case 'encode':
      return encode(ctx, call.batch);
    case 'seqRm':
      return ctx.seqRm(call.seq, call.p0, call.p1);
    case 'seqCp':
      return ctx.seqCp(call.from, call.to, call.p0, call.p1);
    case 'seqKeep':
      return ctx.seqKeep(call.seq);
    case 'seqAdd':
    case 'seqDiv':
      return move(ctx, call);
    case 'clear':
      return ctx.clear();
  }
}

function move(ctx: SubjectContext, { op, seq, p0, p1, by }: MoveCall): MaybePromise<void> {
  if (ctx.seqAdd === undefined || ctx.seqDiv === undefined)
    throw new IsobatchError('protocol', 'this subject moves no positions', { op });
  return op === 'seqAdd' ? ctx.seqAdd(seq, p0, p1, by) : ctx.seqDiv(seq, p0, p1, by);
}

function encode(ctx: SubjectContext, batch: Batch): MaybePromise<DecodeResult> {
  if (ctx.encode === undefined) throw new IsobatchError('protocol', 'this subject has no encode');
  return ctx.encode(batch);
}

/** The serving end. Stops after the first call that did not go as the script says; errors of `open` are thrown. */
export async function answerScript(
  model: SubjectModel,
  params: Parameters<SubjectModel['open']>[0],
  calls: readonly ScriptCall[],
  ask: ScriptQuestions,
): Promise<ScriptAnswers> {
  const ctx = await model.open(params);
  const width = rowWidth(model.info, params);
  const out: ScriptAnswers['calls'][number][] = [];
  const positions: [number, number][] = [];
  const rows: Float32Array[] = [];
  let next = 0;
  try {
    for (const [c, call] of calls.entries()) {
      let failed = false;
      try {
        const answer = (await doCall(ctx, call)) as DecodeResult | undefined;
        // Rows of an encoder are told by the verb of that name.
        if (call.op === 'decode') rows.push(answer!.logits.slice(0, answer!.n_outputs * width));
        out.push(call.op === 'decode' ? { n_outputs: answer!.n_outputs } : {});
      } catch (error) {
        failed = true;
        out.push({ error: errorRecord(error) });
      }
      if (failed !== (call.op !== 'clear' && call.refused !== undefined)) break;
      for (; next < ask.length && ask[next]![0] === c; next++) {
        const seq = ask[next]![1];
        positions.push([await ctx.seqPosMin(seq), await ctx.seqPosMax(seq)]);
      }
    }
  } finally {
    await ctx.close();
  }
  const all = new Float32Array(rows.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of rows) {
    all.set(part, at);
    at += part.length;
  }
  return { calls: out, positions, rows: all };
}

/** A context that has all its answers already and gives them out in order. */
export class AnsweredContext implements SubjectContext {
  readonly #answers: ScriptAnswers;
  readonly #width: number;
  #call = 0;
  #at = 0;
  #position = 0;

  constructor(answers: ScriptAnswers, width: number) {
    this.#answers = answers;
    this.#width = width;
  }

  #next(): { readonly n_outputs?: number } {
    const answer = this.#answers.calls[this.#call++];
    if (answer === undefined) throw new RangeError('a call beyond those that were asked for');
    if ('error' in answer) throw errorOf(answer.error);
    return answer;
  }

  decode(): DecodeResult {
    const { n_outputs = 0 } = this.#next();
    const from = this.#at;
    this.#at += n_outputs * this.#width;
    return { n_outputs, logits: this.#answers.rows.subarray(from, this.#at) };
  }

  encode(): DecodeResult {
    this.#next();
    return { n_outputs: 0, logits: new Float32Array(0) };
  }

  seqRm(): void {
    this.#next();
  }
  seqCp(): void {
    this.#next();
  }
  seqKeep(): void {
    this.#next();
  }
  seqAdd(): void {
    this.#next();
  }
  seqDiv(): void {
    this.#next();
  }
  clear(): void {
    this.#next();
  }
  /** Asked before the largest, which goes on to the next question. */
  seqPosMin(): number {
    return this.#answers.positions[this.#position]![0];
  }
  seqPosMax(): number {
    return this.#answers.positions[this.#position++]![1];
  }
  close(): void {}
}

/**
 * What `reference` compares with where there is no oracle, or none is wanted (`--reference self`): the subject itself,
 * one token a call. A row whose list is plain is held against that list alone in a context of one sequence (kept along
 * the token tree, so equal beginnings run once). After a removal inside there is no such list: those rows are held
 * against the same history with one token a call.
 */

import type { Batch } from '../contract/batch.ts';
import { leastUbatch } from './choices.ts';
import { runCase } from './compare.ts';
import { aloneRows } from './end-to-end.ts';
import { idsOf, type Trace, trace } from './trace.ts';
import type { Call, Case, Env, Outcome, Script } from './types.ts';

/** Runs a case; failures are told of the case as it was given. */
export async function compareWithSelf(env: Env, c: Case): Promise<Outcome> {
  const outcome = await runCase(env, { ...c, ...selfDemands(c.script!, env) });
  if (outcome.failure === undefined) return outcome;
  return { ...outcome, failure: { ...outcome.failure, case: c } };
}

/** The rows that a script demands of the subject itself. */
export function selfDemands(script: Script, env: Pick<Env, 'model'>): Pick<Case, 'alone' | 'base' | 'pairs'> {
  const t = trace(script, env.model.memory);
  const bent = t.calls.some(({ tokens }) => tokens.some(({ output, seen }) => output && seen === null));
  return { alone: aloneRows(t), ...(bent ? tokenByToken(script, t) : {}) };
}

/** The same history with one token a call, without the refused calls; and the rows that are no plain lists. */
function tokenByToken(script: Script, t: Trace): { base: Script; pairs: NonNullable<Case['pairs']> } {
  const calls: Call[] = [];
  const pairs: [number, number, number, number][] = [];
  script.calls.forEach((call, c) => {
    if (call.op !== 'clear' && call.refused !== undefined) return;
    if (call.op !== 'decode') {
      calls.push(call);
      return;
    }
    t.calls[c]!.tokens.forEach(({ pos, output, seen }, i) => {
      if (output && seen === null) pairs.push([c, i, calls.length, 0]);
      calls.push({ op: 'decode', batch: single(call.batch, i, pos) });
    });
  });
  const n_ubatch = leastUbatch(script.params);
  return { base: { params: { ...script.params, n_ubatch, n_keep_tail: undefined }, calls }, pairs };
}

function single(batch: Batch, i: number, pos: number): Batch {
  return { token: [batch.token[i]!], pos: [pos], seq_id: [idsOf(batch, i)], logits: [true] };
}

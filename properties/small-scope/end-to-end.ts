/**
 * Small scope, end to end: every legal batch of up to 4 tokens over 3 sequences, in a new context, with every policy
 * and n_ubatch 1 .. 4; each row must say what its sequence says alone, bit by bit. Illegal batches must be refused
 * with the kind of the rules, and policies that the memory does not allow when the context is opened.
 */
import { SPLIT_POLICIES, type SplitPolicy } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';
import type { ContextParams } from '../../contract/subject.ts';
import { completeBatch } from '../../oracle/batch.ts';
import { runCase } from '../compare.ts';
import { aloneRows } from '../end-to-end.ts';
import { factsOf } from '../facts.ts';
import { Lists } from '../lists.ts';
import { refusalOf, trace } from '../trace.ts';
import type { Call, Case, Env, Failure, Outcome } from '../types.ts';
import { completionOf, EMPTY_MEMORY, forEachPattern, patternCount } from './enumerate.ts';
import { ToldFailures } from './result.ts';

export interface EndToEndScope {
  readonly enumerated: number;
  readonly formula: number;
  readonly legal: number;
  readonly refused: number;
  /** Elements of logits, and refusals. */
  readonly compared: number;
  readonly failed: number;
  /** The first failures, and the first of each signature; their cases are cases of `solo` and `validity` and can be replayed. */
  readonly failures: readonly Failure[];
}

export async function smallScopeEndToEnd(
  env: Env,
  { n_seq = 3, max_tokens = 4, max_ubatch = 4 } = {},
): Promise<EndToEndScope> {
  const counts = { enumerated: 0, legal: 0, refused: 0, compared: 0, failed: 0 };
  const failures: Failure[] = [];
  const told = new ToldFailures();
  const facts = factsOf(env);
  const path = facts.tree.paths[0]!;
  const params = (split: SplitPolicy, n_ubatch: number): ContextParams => ({
    n_ctx: max_tokens,
    n_batch: max_tokens,
    n_ubatch,
    n_seq_max: n_seq,
    split,
  });
  const take = (outcome: Outcome): void => {
    counts.compared += outcome.compared;
    if (outcome.failure === undefined) return;
    counts.failed++;
    if (told.tell(outcome.failure.signature)) failures.push(outcome.failure);
  };
  const caseOf = (property: string, split: SplitPolicy, n_ubatch: number, calls: readonly Call[]): Case => {
    const script = { params: params(split, n_ubatch), calls };
    const alone = aloneRows(trace(script, facts.memory));
    return { version: 1, property, model: env.modelName, seed: env.seed, index: -1, script, alone };
  };

  const legal: Call[] = [];
  const illegal: Call[] = [];
  forEachPattern(n_seq, max_tokens, (seq_id) => {
    const batch = {
      token: seq_id.map((_, i) => path[i]!),
      seq_id: [...seq_id],
      logits: seq_id.map(() => true),
    };
    const limits = { n_vocab: facts.n_vocab, n_batch: max_tokens, n_seq_max: n_seq };
    const done = completionOf(() => completeBatch(batch, EMPTY_MEMORY, limits));
    if ('refused' in done) illegal.push({ op: 'decode', batch, refused: done.refused });
    else legal.push({ op: 'decode', batch });
  });

  const cutsByItself = (env.subject.splits[facts.memory] ?? []).length === 0;
  for (const split of SPLIT_POLICIES) {
    for (let n_ubatch = 1; n_ubatch <= max_ubatch; n_ubatch++) {
      counts.enumerated += legal.length + illegal.length;
      if (!facts.policies.includes(split)) {
        counts.refused += legal.length + illegal.length;
        // A subject that chooses by itself does not look at the name.
        if (!cutsByItself) take(await refusedPolicy(env, caseOf('validity', split, n_ubatch, [])));
        continue;
      }
      // Refused calls change nothing, so all of them can be asked of one context.
      counts.refused += illegal.length;
      take(await runCase(env, caseOf('validity', split, n_ubatch, illegal)));
      for (const call of legal) {
        const lists = new Lists(n_seq, facts.memory);
        const script = { params: params(split, n_ubatch), calls: [] };
        const refused = refusalOf(lists, call, script, facts.n_vocab);
        if (refused === null) counts.legal++;
        else counts.refused++;
        const stated: Call = refused === null ? call : ({ ...call, refused } as Call);
        take(await runCase(env, caseOf(refused === null ? 'solo' : 'validity', split, n_ubatch, [stated])));
      }
    }
  }
  const formula = patternCount(n_seq, max_tokens) * SPLIT_POLICIES.length * max_ubatch;
  return { ...counts, formula, failures };
}

/** A policy that the memory does not allow is refused with `params`. */
async function refusedPolicy(env: Env, c: Case): Promise<Outcome> {
  const counts = { compared: 1, rounding: 0, tokens: 0 };
  let got = 'accepted';
  try {
    await (await env.loaded.open(c.script!.params)).close();
  } catch (error) {
    got = error instanceof IsobatchError ? error.kind : String(error);
  }
  if (got === 'params') return { status: 'passed', ...counts, equal: 1, divergent: 0 };
  const difference = { what: `opening a context with policy ${c.script!.params.split}`, got, want: 'params' };
  const message = `validity: ${difference.what}: got ${got}, want params`;
  const failure = { case: c, message, difference, signature: `validity/${env.model.arch}/open` };
  return { status: 'failed', ...counts, equal: 0, divergent: 1, failure };
}

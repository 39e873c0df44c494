/**
 * The exhaustive small scope in a worker, part by part: the rules from empty memory, slots from every start, and a
 * model end to end. Each part counts what it has looked at, and how many that must be by a formula.
 */
import { kindOf } from './small-scope/result.ts';
import type { OpenSubject } from './subjects/registry.ts';
import type { Case, Env, Failure } from './types.ts';
import { skipReason, type WorkerState } from './worker-env.ts';
import type { ScopeAnswer } from './worker-messages.ts';

/** Name of the small scope, where a property is named. */
export const SMALL_SCOPE = 'small-scope';
/** Parts that look at rules; every other part is the name of a model. */
export const SCOPE_RULES = ['rules', 'slots'] as const;

export async function runScopePart(s: WorkerState, part: string): Promise<ScopeAnswer> {
  const open = await s.subject();
  const rules = (SCOPE_RULES as readonly string[]).includes(part);
  return rules ? rulesPart(s, open, part) : modelPart(s, open, part);
}

async function rulesPart(s: WorkerState, open: OpenSubject, part: string): Promise<ScopeAnswer> {
  if (open.white === undefined) return { skipped: 'the subject does not show its rules' };
  const { smallScopeRules, smallScopeSlots } = await import('./small-scope/index.ts');
  const { oracleWhite } = await import('../oracle/white.ts');
  const { completeBatch } = await import('../oracle/batch.ts');
  const scope = {
    subject: open.white,
    oracle: oracleWhite,
    complete: { subject: open.complete ?? completeBatch, oracle: completeBatch },
  };
  const result = part === 'slots' ? smallScopeSlots(scope) : smallScopeRules(scope);
  const failures = result.failures.map((f): Failure => {
    const white = { where: f.where, rule: f.rule };
    const c: Case = {
      version: 1,
      property: SMALL_SCOPE,
      model: part,
      seed: s.setting.seed,
      index: -1,
      white,
    };
    return {
      case: c,
      message: `${f.where}: ${f.what}: got ${f.got}, want ${f.want}`,
      difference: { what: f.what, got: f.got, want: f.want },
      signature: `${SMALL_SCOPE}/${part}/${kindOf(f.rule, f.what)}`,
    };
  });
  return { ...result, failures };
}

async function modelPart(s: WorkerState, open: OpenSubject, model: string): Promise<ScopeAnswer> {
  const property = await s.property('solo');
  const env: Env = await s.env(property, model);
  const skip = skipReason(property, open, env.model);
  if (skip !== null) return { skipped: skip };
  const { smallScopeEndToEnd } = await import('./small-scope/index.ts');
  return smallScopeEndToEnd(env);
}
